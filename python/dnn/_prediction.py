"""Predictions of arrays that are not ready to be read as they are: converted, scaled, told of if not finite.

In: a built model and what a user passes. Out: an array. What is ready goes to the core at once, see
`Sequential.predict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dnn import _arrays, _threads, _warn

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from dnn._model import Sequential


def predicted(
    model: Sequential, x: ArrayLike, out: NDArray[Any] | None, n_threads: int | None
) -> NDArray[Any]:
    """The outputs for the rows of x, in `out` or a new array."""
    network = model._built()
    table = _arrays.table(x, "x", network.n_inputs)
    preparation = model._preparation.named(x)
    preparation.must_be_ready()
    map = None if preparation.x is None else preparation.x.apply
    outputs = preparation.outputs(model._task())
    is_users = out is not None
    out = _arrays.output(out, (len(table), network.n_outputs), model.dtype, table)
    threads = _threads.count(n_threads)
    if not model._scales and _arrays.is_plain(table, model.dtype):
        ready = network.predict_ready(table, out if is_users else None, threads)
        if ready is not None:
            return ready
    if is_users:  # it stays as it is if x is refused
        _arrays.refuse_non_finite(table, "x", model.dtype, map=map)
    are_finite = True
    for start, block in _arrays.finite_blocks(table, "x", model.dtype, map=map):
        part = out[start : start + len(block)]
        are_finite &= network.predict(block, part, threads)
        if outputs is not None:
            outputs.undo(part)
            are_finite &= bool(np.isfinite(part).all())
    if not are_finite:
        tell()
    return out


def tell() -> None:
    """Warn of outputs that are not finite; the core calls it too."""
    _warn.warn(
        "predict gives NaN or infinity: outputs are too large for the type of the model. Train with a "
        "smaller learning rate, scale x and y, or use dtype='float64'",
        RuntimeWarning,
    )
