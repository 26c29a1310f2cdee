"""Schedules that react to what an epoch measured, and all schedules by name.

A state, plain numbers, comes in with what was measured, and goes out: the schedules themselves stay frozen.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dnn import _checks, _cycles, _decays
from dnn._dataclass import dataclass
from dnn._schedule import Schedule, Span, State, hold

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Reacting(Schedule):
    """Base of schedules whose rate depends on a measure: its state has the rate, the best and a count."""

    learning_rate: float
    _: KW_ONLY
    monitor: str | None = None
    mode: str = "min"

    reacts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.monitor is not None and not isinstance(self.monitor, str):
            raise TypeError(f"monitor must be the name of a measure, got {_checks.shown(self.monitor)}")
        if not isinstance(self.mode, str):
            raise TypeError(f"mode must be 'min' or 'max', got {_checks.shown(self.mode)}")
        _checks.name_in(self.mode, "mode", ("min", "max"))

    def of(self, span: Span, state: State) -> NDArray[np.float64]:
        """The rates of a span of steps."""
        return np.full(span.n, state["rate"])

    def begin(self) -> State:
        """The state before the first epoch."""
        return {"rate": self.learning_rate, "best": None, "count": 0.0}

    def _measured(self, logs: dict[str, float]) -> float:
        """What `logs` has of the measure, turned so that lower is better."""
        name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        if name not in logs:
            raise ValueError(
                f"the schedule {type(self).__name__} watches {name!r}, which this fit does not measure; it "
                f"measures {', '.join(logs)}"
            )
        return logs[name] if self.mode == "min" else -logs[name]


@dataclass(frozen=True)
class ReduceOnPlateau(Reacting):
    """The rate is multiplied by a factor when a measure has stopped to improve: PyTorch's ReduceLROnPlateau.

    An epoch is better if its measure is below best (1 - threshold), or with threshold_mode="abs" below
    best - threshold (for mode "max" above 1 + and +). After more than `patience` epochs in a row that are
    not, r = max(r factor, min_learning_rate).

    Parameters
    ----------
    learning_rate : float
        r at first, above 0.
    factor : float, default 0.1
        Above 0 and below 1.
    patience : int, default 10
        Epochs without improvement that are waited for, from 0.
    monitor : str, optional
        What of `History.history` is watched. None is the validation loss, or without validation the loss.
    mode : {"min", "max"}, default "min"
        Whether lower or higher is better.
    threshold : float, default 1e-4
        At least 0.
    threshold_mode : {"rel", "abs"}, default "rel"
        See above.
    cooldown : int, default 0
        Epochs after a change that are not counted, from 0.
    min_learning_rate : float, default 0.0
        At least 0.
    epsilon : float, default 1e-8
        Smaller changes of the rate are not made, at least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> falling = dnn.SGD(dnn.ReduceOnPlateau(0.1, factor=0.5, patience=3), momentum=0.9)
    """

    name: ClassVar[str] = "reduce_on_plateau"
    factor: float = 0.1
    patience: int = 10
    _: KW_ONLY
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_learning_rate: float = 0.0
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        hold(self, "factor", _checks.number(self.factor, "factor", above=0.0, below=1.0))
        hold(self, "patience", _checks.integer(self.patience, "patience", 0))
        hold(self, "cooldown", _checks.integer(self.cooldown, "cooldown", 0))
        for name in ("threshold", "min_learning_rate", "epsilon"):
            hold(self, name, _checks.number(getattr(self, name), name, at_least=0.0))
        if not isinstance(self.threshold_mode, str):
            raise TypeError(
                f"threshold_mode must be 'rel' or 'abs', got {_checks.shown(self.threshold_mode)}"
            )
        _checks.name_in(self.threshold_mode, "threshold_mode", ("rel", "abs"))

    def begin(self) -> State:
        """The state before the first epoch."""
        return {**super().begin(), "cooling": 0.0}

    def after(self, state: State, logs: dict[str, float]) -> tuple[State, bool]:
        """The state after an epoch that measured `logs`."""
        measured = self._measured(logs)
        rate, best, count, cooling = state["rate"], state["best"], state["count"], state["cooling"]
        assert rate is not None
        assert count is not None
        assert cooling is not None
        if best is None or math.isnan(best):
            is_better = True
        elif self.threshold_mode == "abs":
            is_better = measured < best - self.threshold
        else:
            # A measure of mode "max" was turned: best (1 + threshold) of PyTorch, seen from below.
            is_better = measured < best * (
                1.0 - self.threshold if self.mode == "min" else 1.0 + self.threshold
            )
        best, count = (measured, 0.0) if is_better else (best, count + 1.0)
        if cooling > 0.0:
            cooling, count = cooling - 1.0, 0.0
        if count > self.patience:
            lower = max(rate * self.factor, self.min_learning_rate)
            rate = lower if rate - lower > self.epsilon else rate
            cooling, count = float(self.cooldown), 0.0
        return {"rate": rate, "best": best, "count": count, "cooling": cooling}, False


@dataclass(frozen=True)
class Adaptive(Reacting):
    """The rate is divided by 5 where training would stop: scikit-learn's learning_rate="adaptive".

    An epoch counts where its measure is not below best - tol (for mode "max" above best + tol); one that is
    ends the count. When more than `n_iter_no_change` in a row have counted, r = r / 5 and the count begins
    anew; where r was at most 1e-6 already, training ends.

    Parameters
    ----------
    learning_rate : float
        r at first, above 0.
    tol : float, default 1e-4
        At least 0.
    n_iter_no_change : int, default 10
        From 1.
    monitor : str, optional
        What of `History.history` is watched. None is the validation loss, or without validation the loss.
    mode : {"min", "max"}, default "min"
        Whether lower or higher is better.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.Adaptive(0.1).n_iter_no_change
    10
    """

    name: ClassVar[str] = "adaptive"
    tol: float = 1e-4
    n_iter_no_change: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        hold(self, "tol", _checks.number(self.tol, "tol", at_least=0.0))
        hold(self, "n_iter_no_change", _checks.integer(self.n_iter_no_change, "n_iter_no_change", 1))

    def after(self, state: State, logs: dict[str, float]) -> tuple[State, bool]:
        """The state after an epoch that measured `logs`, and whether the rate has become too small."""
        measured = self._measured(logs)
        rate, best, count = state["rate"], state["best"], state["count"]
        assert rate is not None
        assert count is not None
        # As scikit-learn compares, so that an epoch of just best - tol ends the count of a loss.
        counts = best is not None and (
            measured > best - self.tol if self.mode == "min" else -measured < -best + self.tol
        )
        count = count + 1.0 if counts else 0.0
        best = measured if best is None or math.isnan(best) else min(best, measured)
        is_over = count > self.n_iter_no_change and rate <= 1e-6
        if count > self.n_iter_no_change and not is_over:
            rate, count = rate / 5.0, 0.0
        return {"rate": rate, "best": best, "count": count}, is_over


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.name: schedule
    for schedule in (
        _decays.StepDecay,
        _decays.MultiStepDecay,
        _decays.ExponentialDecay,
        _decays.InverseTimeDecay,
        _decays.PolynomialDecay,
        _cycles.CosineDecay,
        _cycles.CosineRestarts,
        _cycles.OneCycle,
        _cycles.CosLog4,
        _decays.Piecewise,
        _decays.InverseScaling,
        _cycles.WarmUp,
        ReduceOnPlateau,
        Adaptive,
    )
}
