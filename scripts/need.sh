#!/bin/sh
# Checks what a build needs. In: the Python to use. Out: nothing, or one line that says what to get and how.
# The versions it asks for are those in Cargo.toml and pyproject.toml.
set -eu

python=$1
here=$(dirname "$0")/..
want_rust=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$here/Cargo.toml")
want_python=$(sed -n 's/^requires-python *= *">=\(.*\)"/\1/p' "$here/pyproject.toml")

stop() {
    echo "dnn $*" >&2
    exit 1
}

# Whether version $1 is at least version $2; both are like 1.89 or 1.89.0.
at_least() {
    [ "$(($(part "$1" 1) * 1000 + $(part "$1" 2)))" -ge "$(($(part "$2" 1) * 1000 + $(part "$2" 2)))" ]
}
part() {
    number=$(echo "$1" | cut -d. -f"$2" | sed 's/[^0-9].*//')
    echo "${number:-0}"
}

get_python="install it from https://www.python.org/downloads/ or with your package manager; if it has another name, give it: make PYTHON=python$want_python"
has_python=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    stop "needs Python $want_python or newer, but there is no $python that runs: $get_python"
at_least "$has_python" "$want_python" ||
    stop "needs Python $want_python or newer, but $python is $has_python: $get_python"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    stop "needs Python's venv module, which $python lacks: on Debian and Ubuntu run apt install python$has_python-venv"

get_rust="get it with rustup (https://rustup.rs): rustup update stable"
has_rust=$(rustc --version 2>/dev/null | cut -d' ' -f2) || true
[ -n "$has_rust" ] && command -v cargo >/dev/null ||
    stop "needs Rust $want_rust or newer, but there is no rustc and cargo that run: $get_rust"
at_least "$has_rust" "$want_rust" ||
    stop "needs Rust $want_rust or newer, but rustc is $has_rust: $get_rust"
command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null ||
    stop "needs a C linker for Rust, but there is no cc: on Debian and Ubuntu run apt install gcc, on macOS xcode-select --install"
