"""Callbacks that set the learning rate: by the number of the epoch, or when nothing improves any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dnn import _checks
from dnn._callbacks import Callback, Logs, Monitor


class LearningRateScheduler(Callback):
    """Set the learning rate of each epoch by a function of its number. Keras's.

    A rate that is a function of the step, as in `SGD(lambda step: ...)`, or a schedule, needs no callback.

    Parameters
    ----------
    schedule : callable (epoch, rate) -> float
        Takes the number of the epoch, from 0, and the rate so far; returns the rate, above 0.
    verbose : {0, 1}, default 0
        1 prints a line for each epoch, on standard error.

    Raises
    ------
    TypeError, ValueError
        If `schedule` can't be called, or returns no rate; if the optimizer has no rate that is one number.

    Examples
    --------
    >>> import dnn
    >>> slower = dnn.LearningRateScheduler(lambda epoch, rate: rate * 0.5 if epoch % 2 else rate)
    >>> model = dnn.Sequential([dnn.Dense(1)], seed=1)
    >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=4, optimizer=dnn.SGD(0.1), callbacks=[slower])
    >>> history.history["rate"]
    [0.1, 0.05, 0.05, 0.025]
    """

    def __init__(self, schedule: Callable[[int, float], float], verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(f"schedule must be a function (epoch, rate), got {_checks.shown(schedule)}")
        self.schedule = schedule
        self.verbose = _checks.integer(verbose, "verbose", 0, 1)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Set the rate of this epoch."""
        before = rate_of(self.model.learning_rate, "LearningRateScheduler")
        name = f"LearningRateScheduler: schedule({epoch}, {before:g})"
        rate = _checks.number(self.schedule(epoch, before), name, above=0.0)
        self.model.learning_rate = rate
        if self.verbose:
            from dnn import _progress

            _progress.say(f"epoch {epoch + 1}: learning rate {rate:g}")


class ReduceLROnPlateau(Callback):
    """Lower the learning rate when what is monitored gets no better. Keras's.

    Parameters
    ----------
    monitor : str, default "val_loss"
        What to watch: loss, val_loss, a metric, ...
    factor : float, default 0.1
        What the rate is multiplied by; above 0 and below 1.
    patience : int, default 10
        Epochs without a better value before the rate is lowered, from 1.
    verbose : {0, 1}, default 0
        1 prints a line when the rate changes, on standard error.
    mode : {"auto", "min", "max"}, default "auto"
        Which of two values is better; see `ModelCheckpoint`.
    min_delta : float, default 1e-4
        How much better than the best a value must be to count, 0 or more.
    cooldown : int, default 0
        Epochs after a change in which nothing is counted, 0 or more.
    min_lr : float, default 0.0
        The rate is never lowered below this, 0 or more.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range; at the end of an epoch, if `monitor` was not
        measured or the optimizer has no rate that is one number.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1)], seed=1)
    >>> slower = dnn.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=10.0)
    >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=4, optimizer=dnn.SGD(0.1), callbacks=[slower])
    >>> history.history["rate"]
    [0.1, 0.1, 0.05, 0.025]
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        self.factor = _checks.number(factor, "factor", above=0.0, below=1.0)
        self.patience = _checks.integer(patience, "patience", 1)
        self.verbose = _checks.integer(verbose, "verbose", 0, 1)
        self.cooldown = _checks.integer(cooldown, "cooldown", 0)
        self.min_lr = _checks.number(min_lr, "min_lr", at_least=0.0)
        self._monitor = Monitor(monitor, mode, _checks.number(min_delta, "min_delta", at_least=0.0))
        self._waited = 0
        self._cooling = 0

    def on_train_begin(self, logs: Logs) -> None:
        """Count from the beginning, unless training goes on."""
        names = self.params.get("measured")
        if names is not None:
            self._monitor.check(names, "ReduceLROnPlateau")
        if not self.goes_on:
            self._monitor.reset()
            self._waited = self._cooling = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Count, and lower the rate of the coming epochs when it is time."""
        if self._cooling > 0:
            self._cooling -= 1
            self._waited = 0
        if self._monitor.is_better(logs, "ReduceLROnPlateau"):
            self._waited = 0
            return
        if self._cooling > 0:
            return
        self._waited += 1
        if self._waited < self.patience:
            return
        before = rate_of(self.model.learning_rate, "ReduceLROnPlateau")
        after = max(before * self.factor, self.min_lr)
        self._cooling, self._waited = self.cooldown, 0
        if 0.0 < after < before:
            self.model.learning_rate = after
            if self.verbose:
                from dnn import _progress

                _progress.say(f"epoch {epoch + 1}: learning rate lowered from {before:g} to {after:g}")

    def get_state(self) -> dict[str, Any]:
        """What going on needs: the best value so far, and what was counted."""
        return {"best": self._monitor.best, "waited": self._waited, "cooling": self._cooling}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` gave."""
        self._monitor.best = float(state["best"])
        self._waited, self._cooling = int(state["waited"]), int(state["cooling"])


def rate_of(rate: Any, who: str) -> float:
    """`rate`, if it is one number."""
    if not isinstance(rate, float):
        raise ValueError(
            f"{who} changes a rate that is one number, but the optimizer's is {_checks.shown(rate)}; give it "
            "a number, or leave out the callback"
        )
    return rate
