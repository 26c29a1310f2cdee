"""Users' arrays: whatever has numbers comes in; checked arrays, and rows for the extension, go out.

The only place that touches what users pass in. Never writes to it. What the extension can't read as it is
gets converted a block at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from dnn import _checks, _core
from dnn._checks import counted
from dnn._core import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Check = Callable[[Array, int], None]
    Map = Callable[[Array], Array]

# Rows are converted in blocks of about this size: they stay in the cache between conversion and copy, and a
# table on disk never has to fit in memory twice.
BLOCK_BYTES = 1 << 20

_WRONG_KINDS = {
    "c": (
        "has complex numbers ({dtype}), which a network can't take",
        "pass real numbers; of x the parts can be columns: np.column_stack([x.real, x.imag])",
    ),
    "S": ("has strings", "a network takes numbers: encode them first"),
    "U": ("has strings", "a network takes numbers: encode them first"),
    "T": ("has strings", "a network takes numbers: encode them first"),
    "M": ("has dates ({dtype})", "turn them into numbers, for example days since a first day"),
    "m": ("has durations ({dtype})", "turn them into numbers: {name} / np.timedelta64(1, 's')"),
    "V": ("has records or a foreign type ({dtype})", "pass a plain table of numbers"),
}


def numeric(value: Any, name: str) -> Array:
    """`value` as an array of booleans, integers or real numbers. An ndarray is not copied."""
    if value is None or isinstance(value, (str, bytes, dict, set, frozenset)):
        raise TypeError(f"{name} must be an array of numbers, got {_checks.shown(value)}")
    # If it was never imported, or another thread is importing it just now, nobody has a masked array.
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    if masked is not None and isinstance(value, masked):
        raise TypeError(
            f"{name} is a masked array, whose mask would be lost; fill it in ({name}.filled(0.0)) or leave "
            "out its masked rows"
        )
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(f"{name} is a sparse matrix; pass {name}.toarray()")
    try:
        array: Array = np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise ValueError(f"{name} can't be read as an array: {error}") from error
        raise ValueError(
            f"{name} is ragged: its rows have different lengths; give each row the same"
        ) from None
    if array.dtype.kind == "O" and array.ndim == 2 and hasattr(value, "iloc"):
        return _of_frame(value, name)
    if array.dtype.kind not in "biuf":
        _refuse_kind(array, value, name)
    return array


def _of_frame(frame: Any, name: str) -> Array:
    """A DataFrame of pandas whose columns are numbers of several kinds, or may lack some, as float64."""
    for column, dtype in frame.dtypes.items():
        if getattr(dtype, "kind", "O") not in "biuf":
            raise TypeError(
                f"{name} has a column that is not of numbers, {column!r} ({dtype}); a network takes numbers: "
                "encode it first, or leave it out"
            )
    # What a column lacks becomes NaN, which is refused with its place.
    array: Array = frame.to_numpy(dtype="float64", na_value=np.nan)
    return array


def _refuse_kind(array: Array, value: Any, name: str) -> NoReturn:
    if array.dtype.kind == "O":
        _refuse_objects(array, value, name)
    problem, cure = _WRONG_KINDS.get(array.dtype.kind, ("has the type {dtype}", "pass numbers"))
    raise TypeError(f"{name} {problem.format(dtype=array.dtype)}; {cure.format(name=name)}")


def _refuse_objects(array: Array, value: Any, name: str) -> NoReturn:
    if array.ndim == 0:
        raise TypeError(
            f"{name} must be an array of numbers, got {_checks.shown(value)} ({type(value).__name__})"
        )
    content, cure = "which may hold anything", f"convert it first: np.asarray({name}, dtype=float)"
    odd = next((item for item in array.flat if not isinstance(item, (int, float, np.number))), 0)
    if not isinstance(odd, int):
        content = f"among them {_checks.shown(odd)} ({type(odd).__name__})"
    elif any(abs(item) > sys.float_info.max for item in array.flat if isinstance(item, int)):
        content, cure = "with an integer that no float64 holds", "scale it first"
    if not isinstance(odd, int) and odd is not None:  # which a float may stand for
        cure = "a network takes numbers: encode them first"
    raise TypeError(f"{name} is an array of Python objects, {content}; {cure}")


def table(value: Any, name: str, n_columns: int | None = None) -> Array:
    """`value` as an array of (rows, columns), neither of them zero; `n_columns` if it is known."""
    array = numeric(value, name)
    if array.ndim and array.shape[0] == 0:
        raise ValueError(f"{name} has no rows (shape {array.shape}); at least one is needed")
    if array.ndim == 1:
        raise ValueError(
            f"{name} is 1-D with shape {array.shape}, but needs (rows, columns); one row is "
            f"{name}.reshape(1, -1), one column {name}.reshape(-1, 1)"
        )
    if array.ndim not in (1, 2):
        flat = (
            f"flatten each row with {name}.reshape(len({name}), -1)"
            if array.ndim
            else "one number is [[number]]"
        )
        raise ValueError(
            f"{name} is {array.ndim}-D with shape {array.shape}, but needs two dimensions (rows, "
            f"columns); {flat}"
        )
    if array.shape[1] == 0:
        raise ValueError(f"{name} has no columns (shape {array.shape}); at least one is needed")
    if n_columns is not None and array.shape[1] != n_columns:
        columns, inputs = counted(array.shape[1], "column"), counted(n_columns, "input")
        raise ValueError(f"{name} has {columns}, but the network takes {inputs}")
    return array


def readable(
    array: Array,
    name: str,
    dtype: str,
    check: Check | None = None,
    n_threads: int = 1,
    map: Map | None = None,
    is_checked: bool = False,
) -> Rows | Array:
    """`array` (rows, columns) for the extension to read: itself where it is C-contiguous `dtype`, else rows.

    As for `rows`; what has a `map` is copied. `is_checked` where its values are known to be finite.
    """
    if map is not None or not isinstance(array, np.ndarray) or not is_plain(array, dtype):
        return rows(array, name, dtype, check, map)
    report = None if is_checked else _core.non_finite(array, n_threads)
    if report is not None:
        _refuse_non_finite(array, name, dtype, report[0], report[1:])
    if check is not None:
        for start, block in blocks(array, dtype):
            check(block, start)
    return apart(array)


def apart(array: Array) -> Array:
    """The same numbers, whose layout nobody changes: that of `array` may be, while it is read."""
    return array.view()


def rows(array: Array, name: str, dtype: str, check: Check | None = None, map: Map | None = None) -> Rows:
    """A copy of `array` (rows, columns), which may be sparse, as `dtype`, made block by block.

    `map(block)` changes blocks on their way; `check(block, start)` sees each and may refuse it. NaN, infinity
    and overflow are refused.
    """
    copy = Rows(array.shape[0], array.shape[1], dtype)
    count, first = 0, (0, 0)
    for start, block in blocks(array, dtype, map=map):
        report = copy.fill(start, block)
        if report is None:
            if check is not None:
                check(block, start)
            continue
        if count == 0:
            first = report[1:]
        count += report[0]
    if count:
        _refuse_non_finite(array, name, dtype, count, first)
    return copy


def blocks(
    array: Array, dtype: str, picked: NDArray[np.int64] | None = None, map: Map | None = None
) -> Iterator[tuple[int, Array]]:
    """The rows of `array` as C-contiguous blocks of `dtype`, each with the number of its first row."""
    step = _rows_in_block(array.shape[1], dtype)
    # An overflow shows as an infinity in the block, and is refused by name; a warning would say less.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, array.shape[0] if picked is None else len(picked), step):
            part = array[start : start + step] if picked is None else array[picked[start : start + step]]
            part = dense(part)
            yield start, np.require(part if map is None else map(part), dtype, ["C", "A"])


def dense(array: Any) -> Array:
    """A sparse matrix of SciPy as an array; an array as it is."""
    whole: Array = array.toarray() if hasattr(array, "toarray") else array
    return whole


def _refuse_non_finite(array: Array, name: str, dtype: str, count: int, first: tuple[int, ...]) -> NoReturn:
    value = array[first]
    place = f"row {first[0]}, column {first[1]}" if len(first) == 2 else f"position {first[0]}"
    many = f"{count} values, the first" if count > 1 else "1 value,"
    if np.isfinite(value):
        cure = "scale it, or use dtype='float64'" if dtype == "float32" else "scale it"
        raise ValueError(f"{name} overflows {dtype} in {many} {value!s} at {place}; {cure}")
    raise ValueError(
        f"{name} has NaN or infinity in {many} {value!s} at {place}; remove or replace what isn't finite"
    )


def is_plain(array: Array, dtype: str) -> bool:
    """Whether `array` is C-contiguous `dtype`, so that the extension can read it as it is."""
    return array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned


def is_finite(array: Array, n_threads: int) -> bool:
    """Whether all values of `array` (rows, columns) are, which `is_plain`; several threads look."""
    return _core.non_finite(array, n_threads) is None


def finite_blocks(
    array: Array,
    name: str,
    dtype: str,
    picked: NDArray[np.int64] | None = None,
    map: Map | None = None,
) -> Iterator[tuple[int, Array]]:
    """The rows of `array`, or its rows `picked`, as C-contiguous blocks of `dtype`, each with its first row.

    NaN, infinity and overflow are refused, once all of them are counted.
    """
    count, first = 0, (0, 0)
    for start, block in blocks(array, dtype, picked, map):
        finite = np.isfinite(block)
        if finite.all():
            if not count:
                yield start, block
            continue
        bad = np.argwhere(~finite)
        if not count:
            first = (start + int(bad[0, 0]), int(bad[0, 1]))
        count += len(bad)
    if count:
        row = first[0] if picked is None else int(picked[first[0]])
        _refuse_non_finite(array, name, dtype, count, (row, first[1]))


def refuse_non_finite(
    array: Array,
    name: str,
    dtype: str,
    picked: NDArray[np.int64] | None = None,
    map: Map | None = None,
) -> None:
    """Refuse NaN, infinity and overflow in `array` (rows, columns), or in its rows `picked`."""
    for _ in finite_blocks(array, name, dtype, picked, map):
        pass


def column_names(value: Any) -> tuple[str, ...] | None:
    """The names of the columns of a DataFrame, if all of them are strings; None of anything else."""
    if isinstance(value, np.ndarray) or not hasattr(value, "columns"):
        return None
    names = tuple(value.columns)
    return tuple(str(name) for name in names) if all(isinstance(name, str) for name in names) else None


def _rows_in_block(n_columns: int, dtype: str) -> int:
    return max(1, BLOCK_BYTES // (n_columns * np.dtype(dtype).itemsize))


def exact(value: Any, name: str, shape: tuple[int, ...], dtype: str) -> Array:
    """`value` as a new finite array of `dtype` with exactly this `shape` (1-D or 2-D)."""
    return np.array(fitting(value, name, shape, dtype), order="C")


def fitting(value: Any, name: str, shape: tuple[int, ...], dtype: str) -> Array:
    """`value` as a finite array of `dtype` and this `shape`: itself, if it is one. For weights."""
    array = numeric(value, name)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, but needs {shape}")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        # Of another type, in another order of bytes, or not aligned: copied.
        fits = np.require(array, dtype, "A")
        # NaN and infinity show in the extremes, which take no memory.
        is_finite = fits.size == 0 or bool(np.isfinite(fits.min()) and np.isfinite(fits.max()))
    if not is_finite:
        bad = np.argwhere(~np.isfinite(fits))
        _refuse_non_finite(array, name, dtype, len(bad), tuple(int(at) for at in bad[0]))
    return fits


def row_weights(
    value: Any, name: str, n_rows: int, picked: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """`value` as a new array of one weight for each of `n_rows` rows (of which `picked` are kept)."""
    array = numeric(value, name)
    if array.shape != (n_rows,):
        raise ValueError(
            f"{name} has shape {array.shape}, but needs ({n_rows},): one weight for each row of x"
        )
    weights = exact(array, name, (n_rows,), "float64")
    negative = np.flatnonzero(weights < 0)
    if len(negative):
        at = int(negative[0])
        raise ValueError(
            f"{name} has {counted(len(negative), 'negative weight')}, the first "
            f"{weights[at]:g} at row {at}; weights are 0 or more"
        )
    if picked is not None:
        weights = weights[picked]
    if not np.any(weights):
        which = "" if picked is None else " of one side of the validation split"
        raise ValueError(
            f"{name} is zero for all rows{which}, so there is nothing to learn from; give some a weight"
        )
    return weights


def row_numbers(value: Any, name: str, n_rows: int) -> NDArray[np.uint32]:
    """`value` as a new array of row numbers, from 0 and below `n_rows`; repeated or left out at will."""
    array = numeric(value, name)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{name} has shape {array.shape}, but needs (n,), with at least one row number")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be whole numbers of rows, got an array of {array.dtype}")
    bad = np.flatnonzero((array < 0) | (array >= n_rows))
    if len(bad):
        raise ValueError(
            f"{name} has the row number {array[bad[0]]} at position {bad[0]}; rows of x are 0 to {n_rows - 1}"
        )
    return array.astype(np.uint32)


def output(out: Any, shape: tuple[int, int], dtype: str, x: Array) -> Array:
    """A new array for predictions, or the user's `out` when it can take them as it is."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(
            f"out must be a NumPy array of shape {shape} and dtype {dtype}, got {type(out).__name__}"
        )
    need = f"but predictions need {shape} and {dtype}"
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out has shape {out.shape} and dtype {out.dtype}, {need}")
    if not (out.flags.c_contiguous and out.flags.aligned):
        problem = "aligned in memory" if out.flags.c_contiguous else "C-contiguous"
        raise ValueError(
            f"out isn't {problem}, so predictions can't be written straight into it; pass a whole array"
        )
    if not out.flags.writeable:
        raise ValueError("out is read-only; pass an array that can be written")
    if np.may_share_memory(out, x):
        raise ValueError(
            "out shares memory with x, which would be overwritten while it is read; pass another array"
        )
    return out
