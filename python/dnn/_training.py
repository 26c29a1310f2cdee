"""Training: the options of a fit, and what the extension calls back while it runs.

Hyper-parameters and callbacks come in; the options on the wire and the hook go out. Trains nothing itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dnn import _callbacks, _checks, _layers, _optimizer, _progress, _threads, _warn
from dnn._callbacks import Callback, EarlyStopping
from dnn._history import last_of
from dnn._normalization import BatchNormalization
from dnn._schedule import Schedule, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from numpy.typing import NDArray

    from dnn._averaging import Averaging
    from dnn._history import History
    from dnn._layers import Layer
    from dnn._losses import Task
    from dnn._model import Sequential
    from dnn._optimizer import Optimizer, Rate

    class RowOrder(Protocol):
        """Which rows an epoch takes, in which order: `length` of them."""

        length: int

        def __call__(self, epoch: int, /) -> NDArray[np.uint32]: ...


# What a fit has measured whose callbacks wanted none.
NOT_BEGUN: dict[str, Any] = {
    "history": {},
    "epochs": [],
    "stopped_because": "callback",
    "message": "stopped by a callback before the first epoch",
    "best_epoch": None,
    "arithmetic": "",
    "raised": None,
}


def metrics(given: Any, task: Task) -> tuple[Any, ...]:
    """`given`, a list of names, metrics and functions that go with `task`."""
    if isinstance(given, (list, tuple)) and not given:
        return ()
    from dnn import _metrics  # for who asks for any

    return _metrics.checked(given, task)


def functions(metrics: tuple[Any, ...]) -> list[Callable[..., float]] | None:
    """What the extension calls for metrics that are functions."""
    if not metrics:
        return None
    from dnn import _metrics

    return list(_metrics.functions(metrics)) or None


def early_stopping(
    given: Any, stoppers: list[EarlyStopping], metrics: tuple[Any, ...], validates: bool
) -> dict[str, Any]:
    """What `early_stopping` and the `stoppers` among the callbacks say, under the names it has on the wire.

    None keeps the best weights without stopping, False does neither.
    """
    if stoppers and given is not None:
        raise ValueError(
            "early stopping is asked for twice: with early_stopping and among the callbacks; leave one out"
        )
    if len(stoppers) > 1:
        from dnn import _stoppers  # for who asks for several

        for stopper in stoppers:
            _watched(stopper, metrics, validates)
        given = _stoppers.for_the_core(stoppers)
    elif stoppers:
        given = stoppers[0]
    if given is None or given is False:
        nothing = {"patience": None, "min_delta": 0.0, "watched": None, "baseline": None}
        return {**nothing, "restore_best": given is None}
    said = _early_stopping(given)
    return {
        "patience": None if said.patience is None else int(said.patience),
        "min_delta": float(said.min_delta),
        "restore_best": bool(said.restore_best_weights),
        "watched": _watched(said, metrics, validates),
        "baseline": None if said.baseline is None else float(said.baseline),
    }


def _early_stopping(given: Any) -> EarlyStopping:
    if isinstance(given, EarlyStopping):
        return given
    if given is True:
        return EarlyStopping()
    if isinstance(given, type):
        raise TypeError(f"early_stopping is the class {given.__name__}; make one of it: {given.__name__}()")
    return EarlyStopping(_checks.integer(given, "early_stopping", 1))


def _keys(metrics: Sequence[Any]) -> list[str]:
    """What the metrics are called in logs."""
    if not metrics:
        return []
    from dnn import _metrics  # for who asks for any

    return [_metrics.key(metric) for metric in metrics]


def _watched(said: EarlyStopping, metrics: tuple[Any, ...], validates: bool) -> dict[str, Any] | None:
    """What is watched, on the wire; None for the validation loss."""
    names = ["loss", *_keys(metrics)]
    is_plain = said.monitor in names
    name = said.monitor if is_plain else said.monitor.removeprefix("val_")
    if is_plain or (name in names and validates):
        place = names.index(name) - 1
        if (is_plain, place, said.higher) == (False, -1, False):
            return None
        metric = None if place < 0 else place
        return {"name": said.monitor, "validation": not is_plain, "metric": metric, "higher": said.higher}
    if name in names:
        raise ValueError(
            f"EarlyStopping watches {said.monitor!r}, but there is no validation; pass validation_split=0.1 "
            f"or validation_data=(x, y), or watch what is measured in training, monitor={name!r}"
        )
    there = [*names, *(f"val_{name}" for name in names if validates)]
    raise ValueError(
        f"EarlyStopping watches {said.monitor!r}, which is not measured; there are: {', '.join(there)}"
    )


def waiting(stoppers: list[EarlyStopping]) -> list[Callback]:
    """What counts for the `stoppers` that `early_stopping` leaves out: the core counts for one of them."""
    if len(stoppers) < 2:
        return []
    from dnn import _stoppers

    return [*_stoppers.others(stoppers)]


def told(measured: dict[str, Any], waits: list[Callback]) -> dict[str, Any]:
    """What the extension measured, with the reason of the one of them that stopped training."""
    if not waits:
        return measured
    from dnn import _stoppers

    return _stoppers.told(measured, waits)


def averaging(given: Any, optimizer: Optimizer) -> Averaging | None:
    """What `averaging` says; None for none."""
    if given is None:
        return None
    from dnn import _averaging  # for who asks for any

    return _averaging.checked(given, optimizer.name)


def names_of_logs(metrics: Sequence[Any], validates: bool) -> list[str]:
    """What an epoch will have measured."""
    names = ["loss", *_keys(metrics)]
    twins = [f"val_{name}" for name in names] if validates else []
    return [*names, *twins, "rate", "grad_norm", "seconds"]


def warn_if_no_average(average: Averaging | None, history: History) -> None:
    """Warn where training has ended by itself before an average that was asked for began."""
    if average is not None and history.epochs and history.stopped_because not in ("diverged", "callback"):
        from dnn import _averaging

        _averaging.warn_if_none(average, history.epochs[-1] + 1)


def warn_of_validation(history: History) -> None:
    """Warn where the last validation loss is no finite number, and nothing else was said of it."""
    loss = last_of(history).get("val_loss", 0.0)
    if not math.isfinite(loss) and history.stopped_because != "diverged":
        _warn.warn(
            f"the validation loss of the last epoch is {loss}: outputs or losses are too large for the type "
            "of the model. Train with a smaller learning rate, scale x and y, or use dtype='float64'",
            RuntimeWarning,
        )


def options(
    *,
    batch_size: Any,
    epochs: Any,
    initial_epoch: Any,
    shuffle: Any,
    tol: Any,
    n_iter_no_change: Any,
    stop_at_loss: Any,
    max_time: Any,
    accumulate: Any,
    n_threads: Any,
) -> dict[str, Any]:
    """The hyper-parameters of a fit, checked, under the names they have on the wire."""
    if batch_size is None:  # Keras's way to leave it out
        batch_size = 32
    elif isinstance(batch_size, str):
        if batch_size != "full":
            raise ValueError(f"batch_size must be a whole number from 1, or 'full', got {batch_size!r}")
    else:
        batch_size = _checks.integer(batch_size, "batch_size", 1)
    accumulate = _checks.integer(accumulate, "accumulate", 1)
    if accumulate > 1 and batch_size == "full":
        raise ValueError(
            f"batch_size='full' leaves nothing to accumulate, but accumulate is {accumulate}; give "
            "batch_size as a number of rows"
        )
    epochs = _checks.integer(epochs, "epochs", 1)
    initial_epoch = _checks.integer(initial_epoch, "initial_epoch", 0)
    if initial_epoch >= epochs:
        raise ValueError(
            f"initial_epoch is {initial_epoch}, but epochs is {epochs}; epochs is the number of the last "
            f"one, so {initial_epoch + epochs} would train {epochs} more"
        )
    return {
        "batch_size": batch_size,
        "epochs": epochs,
        "initial_epoch": initial_epoch,
        "shuffle": _checks.boolean(shuffle, "shuffle"),
        "tol": None if tol is None else _checks.number(tol, "tol", at_least=0.0),
        "n_iter_no_change": _checks.integer(n_iter_no_change, "n_iter_no_change", 1),
        "stop_at_loss": None if stop_at_loss is None else _checks.number(stop_at_loss, "stop_at_loss"),
        "max_time": None if max_time is None else _checks.number(max_time, "max_time", above=0.0),
        "accumulate": accumulate,
        "n_threads": _threads.count(n_threads),
    }


def check_batches(layers: Sequence[Layer], batch_size: int | str) -> None:
    """ValueError where layers go by the variance of a batch, and batches have a single row."""
    by_batch = any(
        isinstance(place.layer, BatchNormalization) and place.layer.trainable
        for place in _layers.placed(layers, None)
    )
    if by_batch and batch_size == 1:
        raise ValueError(
            "batch_size=1 leaves nothing to normalise with, since a row alone has no variance; give "
            "BatchNormalization batches of several rows, or use LayerNormalization, which looks at one row"
        )


class Hook:
    """What the extension calls during one fit, and no more often than needed: rates, callbacks, progress."""

    def __init__(
        self,
        model: Sequential,
        callbacks: list[Callback],
        rate: Rate,
        verbose: int,
        first: int,
        epochs: int,
        rows: int,
        order: RowOrder | None = None,
        measured: Sequence[str] | None = None,
    ) -> None:
        self._model = model
        self._callbacks = callbacks
        self._display: _progress.Bar | _progress.Lines | None = None
        if verbose:
            self._display = _progress.Bar(first, epochs) if verbose == 1 else _progress.Lines(epochs)
        self._params: dict[str, Any] = {"initial_epoch": first, "epochs": epochs}
        # A callback of the user may measure something else, and write it to the logs.
        if measured is not None and all(
            type(callback).__module__.startswith("dnn.") for callback in callbacks
        ):
            self._params["measured"] = list(measured)
        self._order = order
        self._at_epoch_begin = _callbacks.overriding(callbacks, "on_epoch_begin")
        self._at_epoch_end = _callbacks.overriding(_callbacks.savers_last(callbacks), "on_epoch_end")
        self._at_batch_begin = _callbacks.overriding(callbacks, "on_train_batch_begin")
        self._at_batch_end = _callbacks.overriding(callbacks, "on_train_batch_end")
        self._rows = rows
        self._end: int | None = None
        self._reacts = isinstance(rate, Schedule) and rate.reacts
        every_epoch = verbose == 2 or bool(self._at_epoch_end) or self._reacts
        # A callback may set the rate.
        is_fixed = isinstance(rate, float) and not callbacks
        self.options = {
            "learning_rate": rate if is_fixed else None,
            "order_rows": None if order is None else order.length,
            "epoch_hook": 0.0 if every_epoch else _progress.INTERVAL if verbose else None,
            "epoch_begin_hook": bool(self._at_epoch_begin),
            "batch_hook": bool(self._at_batch_begin or self._at_batch_end),
        }

    @property
    def first_epoch(self) -> int:
        """The number of the epoch that training begins with."""
        return int(self._params["initial_epoch"])

    @property
    def is_needed(self) -> bool:
        """Whether the extension has anything to call."""
        asked = self.options
        return (
            asked["learning_rate"] is None
            or asked["order_rows"] is not None
            or asked["epoch_hook"] is not None
            or asked["epoch_begin_hook"] is True
            or asked["batch_hook"] is True
        )

    def order(self, epoch: int, /) -> NDArray[np.uint32]:
        assert self._order is not None, "asked for only where there is one"
        return self._order(epoch)

    def rates(self, step: int, n: int, /) -> list[float]:
        if self._end is None:
            self._end = step + n * (self._params["epochs"] - self._params["initial_epoch"])
        span = Span(step, n, per_epoch=n, rows=self._rows, end=self._end)
        return _optimizer.rates_of(self._model.optimizer.learning_rate, span, self._model._state_of_rate())

    def train_begin(self, states: list[tuple[str, dict[str, Any]]] | None) -> bool:
        """Introduce the model to its callbacks; True if one wants no training at all.

        `states` is what callbacks had counted, where training goes on.
        """
        left = list(states or [])
        for callback in self._callbacks:
            callback.model, callback.params, callback.goes_on = self._model, self._params, states is not None
            at = next((at for at, (name, _) in enumerate(left) if name == type(callback).__name__), None)
            if at is not None:
                callback.set_state(left.pop(at)[1])
        return self._tell(self._callbacks, "on_train_begin", {})

    def states(self) -> list[tuple[str, dict[str, Any]]]:
        """What the callbacks have counted, with the names of their classes."""
        found = [(type(callback).__name__, callback.get_state()) for callback in self._callbacks]
        return [(name, state) for name, state in found if state is not None]

    def train_end(self, logs: dict[str, float]) -> None:
        self._tell(self._callbacks, "on_train_end", dict(logs))

    def epoch_begin(self, epoch: int, /) -> bool:
        return self._tell(self._at_epoch_begin, "on_epoch_begin", epoch, {})

    def epoch_end(self, epoch: int, logs: dict[str, float], /) -> bool:
        if self._display is not None:
            self._display.update(epoch, logs)
        rate = self._model.optimizer.learning_rate
        if self._reacts and isinstance(rate, Schedule):
            # Before the callbacks: one that saves the model saves the state of the coming epoch.
            state, is_over = rate.after(self._model._state_of_rate(), logs)
            self._model._rate_state = (rate, state)
            if is_over:
                self._model.stop_training = True
        return self._tell(self._at_epoch_end, "on_epoch_end", epoch, logs)

    def batch_begin(self, batch: int, /) -> bool:
        return self._tell(self._at_batch_begin, "on_train_batch_begin", batch, {})

    def batch_end(self, batch: int, logs: dict[str, float], /) -> bool:
        return self._tell(self._at_batch_end, "on_train_batch_end", batch, logs)

    def close(self) -> None:
        """Leave the display in order, whatever has happened."""
        if self._display is not None:
            self._display.close()

    def _tell(self, callbacks: list[Callback], method: str, *arguments: Any) -> bool:
        """Call `method` of all callbacks; True if any of them wants training to stop."""
        for callback in callbacks:
            answer = getattr(callback, method)(*arguments)
            if answer is not None and _callbacks.stops(answer, callback, method):
                self._model.stop_training = True
        return self._model.stop_training
