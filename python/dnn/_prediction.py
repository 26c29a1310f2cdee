"""Predictions of arrays that are not ready to be read as they are: converted, scaled, told of if not finite.

In: a built model and what a user passes. Out: an array. What is ready, rows of float32 or float64 in
any layout, goes to the core at once, by `at_once`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dnn import _arrays, _threads, _warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from dnn._model import Sequential


def at_once(
    ready: Callable[..., NDArray[Any] | None], *given: Any, n_threads: int | None
) -> NDArray[Any] | None:
    """What `ready(*given, threads)` gives, if it gives anything: a call of the core, see prediction.rs.

    Without `n_threads` it is asked with 0 first, because small predictions need no number, and take less time
    than counting the CPUs of this process.
    """
    if n_threads is not None:
        return ready(*given, _threads.count(n_threads))
    if not _threads.environment_is_checked:
        _threads.default()
    found = ready(*given, 0)
    return ready(*given, _threads.default()[0]) if found is None else found


def largest(model: Sequential, x: ArrayLike, n_threads: int | None) -> NDArray[np.int64]:
    """The number of the largest output for each row of x."""
    network = model._network
    if network is not None:
        found = at_once(network.largest_ready, x, model._scaled_by(), n_threads=n_threads)
        if found is not None:
            return found
    return np.asarray(np.argmax(model.predict(x, n_threads=n_threads), axis=1), dtype=np.int64)


def predicted(
    model: Sequential, x: ArrayLike, out: NDArray[Any] | None, n_threads: int | None
) -> NDArray[Any]:
    """The outputs for the rows of x, in `out` or a new array."""
    network = model._built()
    table = _arrays.table(x, "x", network.n_inputs)
    preparation = model._preparation.named(x)
    preparation.must_be_ready()
    map = None if preparation.x is None else preparation.x.apply
    outputs = None if preparation.y is None else preparation.outputs(model._task())
    is_users = out is not None
    out = _arrays.output(out, (len(table), network.n_outputs), model.dtype, table)
    threads = _threads.count(n_threads)
    # What came as an array has been tried.
    if table is not x:
        ready = network.predict_ready(table, out if is_users else None, model._scaled_by(), threads)
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
