"""Callbacks: users' code that runs while a model trains.

A callback may look at the model, change its weights and stop it. It costs only what it overrides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dnn import _checks
from dnn._dataclass import dataclass

if TYPE_CHECKING:
    from dnn._model import Sequential

Logs = dict[str, float]


class Callback:
    """Base of callbacks: override what you need; return True, or set `self.model.stop_training`, to stop.

    Attributes
    ----------
    model : Sequential
        The model that trains; set before `on_train_begin`. Its `learning_rate` may be set, for the coming
        epochs; in `on_epoch_begin` also for this one.
    params : dict
        "epochs" and "initial_epoch" of the `fit`; where it is known, the names of what an epoch has
        "measured".
    goes_on : bool
        Whether the `fit` goes on where an earlier one, or the file of one, ended.

    Notes
    -----
    Callbacks are called in the order of the list, but for `ModelCheckpoint`, which waits for all in the list
    that keep a state: its file has to have what they counted. What is neither None nor a bool is refused as
    an answer, of what `fit` is given: a "stop" would be lost.
    What a callback raises ends the `fit` and is raised from it; weights and optimizer are then those after
    the last finished step. A callback whose `get_state` returns a dict has it saved in the files of the
    model, and gets it back through `set_state` when a `fit` goes on.

    Examples
    --------
    >>> import dnn
    >>> class Print(dnn.Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         print(epoch, sorted(logs)[:2])
    >>> model = dnn.Sequential([dnn.Dense(1)], seed=1)
    >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=2, callbacks=[Print()], verbose=0)
    0 ['grad_norm', 'loss']
    1 ['grad_norm', 'loss']
    """

    model: Sequential
    params: Mapping[str, Any]
    goes_on: bool = False
    # Whether it saves the model at the end of epochs.
    _saves: ClassVar[bool] = False

    def get_state(self) -> dict[str, Any] | None:
        """What it needs to go on later: plain numbers, strings, lists and dicts; None for nothing."""
        return None

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` gave, before `on_train_begin` of a `fit` that goes on."""

    def on_train_begin(self, logs: Logs) -> bool | None:
        """Before the first epoch; `logs` is empty."""

    def on_train_end(self, logs: Logs) -> bool | None:
        """After the last epoch; `logs` has what it measured."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> bool | None:
        """Before epoch number `epoch`; `logs` is empty."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> bool | None:
        """After epoch number `epoch`; `logs` has what it measured: loss, metrics, val_loss, rate, ..."""

    def on_train_batch_begin(self, batch: int, logs: Logs) -> bool | None:
        """Before batch number `batch` of an epoch; `logs` is empty."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> bool | None:
        """After batch number `batch` of an epoch; `logs` has its loss."""


METHODS = (
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
)


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_train_begin, on_train_end : callable (logs), optional
    on_epoch_begin, on_epoch_end : callable (epoch, logs), optional
    on_train_batch_begin, on_train_batch_end : callable (batch, logs), optional
        Called as the methods of `Callback` are. A function that returns True stops training; what else a
        lambda returns counts for nothing.

    Raises
    ------
    TypeError
        If one is given that can't be called.

    Examples
    --------
    >>> import dnn
    >>> losses = []
    >>> note = dnn.LambdaCallback(on_epoch_end=lambda epoch, logs: losses.append(logs["loss"]))
    >>> model = dnn.Sequential([dnn.Dense(1)], seed=1)
    >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=3, callbacks=[note], verbose=0)
    >>> losses == history.history["loss"]
    True
    """

    def __init__(
        self,
        *,
        on_train_begin: Callable[[Logs], Any] | None = None,
        on_train_end: Callable[[Logs], Any] | None = None,
        on_epoch_begin: Callable[[int, Logs], Any] | None = None,
        on_epoch_end: Callable[[int, Logs], Any] | None = None,
        on_train_batch_begin: Callable[[int, Logs], Any] | None = None,
        on_train_batch_end: Callable[[int, Logs], Any] | None = None,
    ) -> None:
        given = (
            on_train_begin,
            on_train_end,
            on_epoch_begin,
            on_epoch_end,
            on_train_batch_begin,
            on_train_batch_end,
        )
        for name, function in zip(METHODS, given, strict=True):
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be a function, got {_checks.shown(function)}")
            if function is not None:
                setattr(self, name, function)


# What is better when it is higher; the rest is better when it is lower.
_HIGHER = (
    *("acc", "precision", "recall", "f1", "auc", "r2", "top", "score"),
    *("roc_auc", "binary_acc", "categorical_acc", "sparse_"),
)


class Monitor:
    """The best value so far of something that is measured each epoch, and whether another is better."""

    def __init__(self, name: Any, mode: Any, min_delta: float) -> None:
        if not isinstance(name, str):
            raise TypeError(f"monitor must be a name such as 'val_loss', got {_checks.shown(name)}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', got {_checks.shown(mode)}")
        self.name = name
        bare = name.removeprefix("val_")
        rises = bare.startswith(_HIGHER) or bare.endswith("_score")
        self.higher = mode == "max" or (mode == "auto" and rises)
        self.min_delta = min_delta
        self.reset()

    def reset(self) -> None:
        """Nothing seen yet."""
        self.best = -math.inf if self.higher else math.inf

    def check(self, names: Iterable[str], who: str) -> None:
        """ValueError where what is watched is not among what is measured."""
        if self.name not in names:
            hint = ""
            if self.name.startswith("val_"):
                hint = "; pass validation_split or validation_data"
                if "validation_score" in names:
                    hint = "; give monitor='validation_score', and mode='max'"
            raise ValueError(
                f"{who} monitors {self.name!r}, which was not measured; there are: "
                f"{', '.join(sorted(names))}{hint}"
            )

    def is_better(self, logs: Logs, who: str) -> bool:
        """Whether this epoch is better than all before, which is remembered."""
        self.check(logs, who)
        value = logs[self.name]
        better = value > self.best + self.min_delta if self.higher else value < self.best - self.min_delta
        if better:
            self.best = value
        return better


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when something measured gets no better, and take the best weights.

    For `fit(early_stopping=...)` or among `fit(callbacks=[...])`: the same either way. Arguments and meaning
    are Keras's, except that `patience` comes first, and that the best weights come back unless it is refused.
    An epoch is better if its value beats that of the last better one by more than `min_delta`, so that small
    gains add up. Training never ends with an epoch that is better, nor with epoch 0. The weights that come
    back are those of the best value of all. Of several among the callbacks each may stop training; the
    weights that come back are those of the last one in the list that wants its own, as in Keras.

    Parameters
    ----------
    patience : int or None, default 10
        Epochs in a row that are no better before training stops, from 1; None never stops.
    monitor : str, default "val_loss"
        What is watched: loss, a metric of the fit such as accuracy, or either with val_ in front. A loss
        without val_ is the mean over the steps of the epoch, each before its update.
    min_delta : float, default 0.0
        0 or more, in units of `monitor`.
    mode : {"auto", "min", "max"}, default "auto"
        Which of two values is better. "auto" is "max" for accuracy, precision, recall, f1, auc, r2 and their
        like, else "min".
    baseline : float, optional
        A better epoch ends the waiting only if it beats this, too, by more than `min_delta`.
    restore_best_weights : bool, default True
        Whether the weights of the best epoch come back at the end.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range; from `fit`, if `monitor` is not measured.

    Examples
    --------
    >>> import dnn
    >>> x, y = [[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 7.0]
    >>> model = dnn.Sequential([dnn.Dense(1)], seed=1)
    >>> stop = dnn.EarlyStopping(3, monitor="mae", min_delta=0.01)
    >>> history = model.fit(x, y, 4, 1000, metrics=["mae"], optimizer=dnn.SGD(0.1), callbacks=[stop])
    >>> history.stopped_because, len(history.epochs) < 200
    ('early_stopping', True)
    """

    patience: int | None = 10
    _: KW_ONLY
    monitor: str = "val_loss"
    min_delta: float = 0.0
    mode: str = "auto"
    baseline: float | None = None
    restore_best_weights: bool = True

    def __post_init__(self) -> None:
        if self.patience is not None:
            _checks.integer(self.patience, "patience", 1)
        Monitor(self.monitor, self.mode, 0.0)
        _checks.number(self.min_delta, "min_delta", at_least=0.0)
        if self.baseline is not None:
            _checks.number(self.baseline, "baseline")
        _checks.boolean(self.restore_best_weights, "restore_best_weights")

    @property
    def higher(self) -> bool:
        """Whether the higher of two values is the better one."""
        return Monitor(self.monitor, self.mode, 0.0).higher


def checked(callbacks: Any, stoppers: list[EarlyStopping] | None = None) -> list[Callback]:
    """`callbacks` as a list of `Callback`; a function is called as f(epoch, logs) when an epoch ends.

    An `EarlyStopping` goes to the list of `stoppers`, if there is one: training itself does what it says.
    """
    if callbacks is None:
        return []
    if isinstance(callbacks, Callback) or callable(callbacks):
        raise TypeError("callbacks must be a list; write callbacks=[...] around it")
    found = []
    for position, callback in enumerate(_checks.sequence(callbacks, "callbacks", "callbacks=[f]")):
        if isinstance(callback, type) and issubclass(callback, (Callback, EarlyStopping)):
            raise TypeError(
                f"callbacks[{position}] is the class {callback.__name__}; make one of it: "
                f"{callback.__name__}()"
            )
        if isinstance(callback, EarlyStopping):
            if stoppers is None:
                raise TypeError(
                    f"callbacks[{position}] is an EarlyStopping, which is for Sequential.fit; an estimator "
                    "has early_stopping=True and n_iter_no_change"
                )
            stoppers.append(callback)
        elif isinstance(callback, Callback):
            found.append(callback)
        elif callable(callback):
            found.append(LambdaCallback(on_epoch_end=callback))
        else:
            raise TypeError(
                f"callbacks[{position}] must be a Callback or a function (epoch, logs), got "
                f"{_checks.shown(callback)}"
            )
    return found


def stops(answer: Any, callback: Callback, method: str) -> bool:
    """Whether `answer`, what `method` of the callback returned, is to stop training."""
    if answer is None or isinstance(answer, (bool, np.bool_)):
        return bool(answer)
    function = vars(callback).get(method)
    # A lambda can't help returning something: in Keras's own example the length of the line that it writes.
    if getattr(function, "__name__", "") == "<lambda>":
        return False
    who = f"the function {getattr(function, '__name__', function)}" if function else type(callback).__name__
    raise TypeError(
        f"{method} of {who} returned {_checks.shown(answer)} ({type(answer).__name__}); return True to stop "
        "training, and None or False to go on"
    )


def savers_last(callbacks: list[Callback]) -> list[Callback]:
    """The same, those that save the model moved behind the last one that keeps a state.

    A state that was saved before its callback has seen the epoch would be one epoch late.
    """
    keep_state = overriding(callbacks, "get_state")
    behind = 1 + max((at for at, callback in enumerate(callbacks) if callback in keep_state), default=-1)
    before = callbacks[:behind]
    return [
        *(callback for callback in before if not callback._saves),
        *(callback for callback in before if callback._saves),
        *callbacks[behind:],
    ]


def overriding(callbacks: list[Callback], *names: str) -> list[Callback]:
    """Those of `callbacks` that do something in one of the methods `names`."""
    return [
        callback
        for callback in callbacks
        if any(
            name in vars(callback) or getattr(type(callback), name) is not getattr(Callback, name)
            for name in names
        )
    ]
