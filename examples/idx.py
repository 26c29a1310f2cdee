"""Reads MNIST and Fashion-MNIST from the IDX files they come in, packed with gzip or not."""

from __future__ import annotations

import argparse
import gzip
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Images(NamedTuple):
    """Images as rows of float32 from 0 to 1, and their labels."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def read(path: Path) -> Array:
    """Return the array of unsigned bytes in an IDX file.

    Two zero bytes, the type (8 for unsigned bytes), the number of dimensions, each dimension as a big-endian
    32-bit number, then the data.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise SystemExit(f"{path} is not an IDX file of unsigned bytes")
    start = 4 + 4 * data[3]
    shape = tuple(int(n) for n in np.frombuffer(data[4:start], ">u4"))
    if len(data) - start != math.prod(shape):
        raise SystemExit(f"{path} should hold {math.prod(shape)} bytes of data, but has {len(data) - start}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def find(folder: Path, part: str, kind: str) -> Path:
    for name in (f"{part}-{kind}-ubyte", f"{part}-{kind}-ubyte".replace("-idx", ".idx")):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise SystemExit(f"there is no {part}-{kind}-ubyte or {part}-{kind}-ubyte.gz in {folder}")


def load(folder: Path) -> Images:
    """Read the four files of a folder."""
    found = []
    for part in ("train", "t10k"):
        images, labels = read(find(folder, part, "images-idx3")), read(find(folder, part, "labels-idx1"))
        found += [images.reshape(len(images), -1).astype(np.float32) / 255, labels.astype(np.int64)]
    return Images(*found)


def folder(text: str) -> Path:
    """Check an argument of the command line."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}")
    return Path(text)
