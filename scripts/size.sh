#!/bin/sh
# Checks that the wheels of a folder are small. In: the folder, and how many bytes a wheel may have. Out: their sizes;
# it fails where one is larger, or where there is none.
set -eu

folder=$1
most=$2
found=0
for wheel in "$folder"/*.whl; do
    [ -f "$wheel" ] || continue
    found=1
    bytes=$(($(wc -c <"$wheel")))
    echo "$wheel: $bytes bytes, of $most"
    [ "$bytes" -le "$most" ] || {
        echo "dnn's wheel may have $most bytes: nm --size-sort on an unstripped build tells what fills it" >&2
        exit 1
    }
done
[ "$found" -eq 1 ] || {
    echo "no wheel in $folder" >&2
    exit 1
}
