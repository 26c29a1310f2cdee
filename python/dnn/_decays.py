"""Schedules whose rate falls from the beginning on, as frozen dataclasses.

In the formulas r is the rate given, t the number of the step (or epoch) from 0 in the life of the optimizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dnn import _checks
from dnn._dataclass import dataclass
from dnn._schedule import Schedule, Span, State, Timed, hold, hold_boundaries, hold_steps, needed, power

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class StepDecay(Timed):
    """The rate is multiplied by a factor every so many steps.

    r decay_rate^floor(t / decay_steps): PyTorch's StepLR.

    Parameters
    ----------
    learning_rate : float
        r, above 0.
    decay_steps : int
        Steps between two falls, from 1.
    decay_rate : float, default 0.1
        Above 0, at most 1.
    per : {"step", "epoch"}, default "step"
        What lengths and t count. With "epoch" the rate stays the same during an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.StepDecay(1.0, 2).rates(5).round(6).tolist()
    [1.0, 1.0, 0.1, 0.1, 0.01]
    """

    name: ClassVar[str] = "step"
    learning_rate: float
    decay_steps: int
    decay_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        hold_steps(self, "decay_steps")
        hold(self, "decay_rate", _checks.number(self.decay_rate, "decay_rate", above=0.0, at_most=1.0))

    def at(self, t: NDArray[np.float64], end: int | None) -> NDArray[np.float64]:
        """The rates at the times `t`."""
        return self.learning_rate * power(self.decay_rate, np.floor(t / self.decay_steps))


@dataclass(frozen=True)
class MultiStepDecay(Timed):
    """The rate is multiplied by a factor at given steps.

    r decay_rate^k, where k of the boundaries are at most t: PyTorch's MultiStepLR.

    Parameters
    ----------
    learning_rate : float
        r, above 0.
    boundaries : list of int
        Numbers of steps, rising.
    decay_rate : float, default 0.1
        Above 0, at most 1.
    per : {"step", "epoch"}, default "step"
        What lengths and t count. With "epoch" the rate stays the same during an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.MultiStepDecay(1.0, [1, 3]).rates(5).round(6).tolist()
    [1.0, 0.1, 0.1, 0.01, 0.01]
    """

    name: ClassVar[str] = "multi_step"
    learning_rate: float
    boundaries: tuple[int, ...]
    decay_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        hold_boundaries(self)
        hold(self, "decay_rate", _checks.number(self.decay_rate, "decay_rate", above=0.0, at_most=1.0))

    def at(self, t: NDArray[np.float64], end: int | None) -> NDArray[np.float64]:
        """The rates at the times `t`."""
        passed = np.searchsorted(self.boundaries, t, side="right")
        return self.learning_rate * power(self.decay_rate, passed.astype(np.float64))


@dataclass(frozen=True)
class ExponentialDecay(Timed):
    """The rate falls by the same share in every step.

    r decay_rate^(t / decay_steps): Keras's; with decay_steps=1 PyTorch's ExponentialLR.

    Parameters
    ----------
    learning_rate : float
        r, above 0.
    decay_steps : int
        Steps in which the rate is multiplied by decay_rate once, from 1.
    decay_rate : float
        Above 0, at most 1.
    staircase : bool, default False
        Round t / decay_steps down, so that the rate falls in steps.
    per : {"step", "epoch"}, default "step"
        What lengths and t count. With "epoch" the rate stays the same during an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.ExponentialDecay(1.0, 1, 0.5).rates(4).tolist()
    [1.0, 0.5, 0.25, 0.125]
    """

    name: ClassVar[str] = "exponential"
    learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        hold_steps(self, "decay_steps")
        hold(self, "decay_rate", _checks.number(self.decay_rate, "decay_rate", above=0.0, at_most=1.0))
        hold(self, "staircase", _checks.boolean(self.staircase, "staircase"))

    def at(self, t: NDArray[np.float64], end: int | None) -> NDArray[np.float64]:
        """The rates at the times `t`."""
        times = t / self.decay_steps
        return self.learning_rate * power(self.decay_rate, np.floor(times) if self.staircase else times)


@dataclass(frozen=True)
class InverseTimeDecay(Timed):
    """The rate falls like 1 / t.

    r / (1 + decay_rate t / decay_steps): Keras's.

    Parameters
    ----------
    learning_rate : float
        r, above 0.
    decay_steps : int
        From 1.
    decay_rate : float
        0 or more.
    staircase : bool, default False
        Round t / decay_steps down, so that the rate falls in steps.
    per : {"step", "epoch"}, default "step"
        What lengths and t count. With "epoch" the rate stays the same during an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.InverseTimeDecay(1.0, 1, 1.0).rates(4).round(4).tolist()
    [1.0, 0.5, 0.3333, 0.25]
    """

    name: ClassVar[str] = "inverse_time"
    learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        hold_steps(self, "decay_steps")
        hold(self, "decay_rate", _checks.number(self.decay_rate, "decay_rate", at_least=0.0))
        hold(self, "staircase", _checks.boolean(self.staircase, "staircase"))

    def at(self, t: NDArray[np.float64], end: int | None) -> NDArray[np.float64]:
        """The rates at the times `t`."""
        times = t / self.decay_steps
        return self.learning_rate / (1.0 + self.decay_rate * (np.floor(times) if self.staircase else times))


@dataclass(frozen=True)
class PolynomialDecay(Timed):
    """The rate falls along a power of the time that is left.

    e + (r - e) (1 - t / T)^power up to t = T: Keras's, and with e = 0 PyTorch's PolynomialLR. Power 1 is a
    straight line.

    Parameters
    ----------
    learning_rate : float
        r, above 0.
    decay_steps : int, optional
        T, from 1. None is the whole of the training, up to the end of the `fit` that asks.
    end_learning_rate : float, default 0.0
        e, the rate from t = T on; at least 0.
    power : float, default 1.0
        Above 0.
    per : {"step", "epoch"}, default "step"
        What lengths and t count. With "epoch" the rate stays the same during an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.PolynomialDecay(1.0, 4).rates(6).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    name: ClassVar[str] = "polynomial"
    learning_rate: float
    decay_steps: int | None = None
    end_learning_rate: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        hold_steps(self, "decay_steps", optional=True)
        hold(
            self,
            "end_learning_rate",
            _checks.number(self.end_learning_rate, "end_learning_rate", at_least=0.0),
        )
        hold(self, "power", _checks.number(self.power, "power", above=0.0))

    def at(self, t: NDArray[np.float64], end: int | None) -> NDArray[np.float64]:
        """The rates at the times `t`."""
        left = 1.0 - np.minimum(t / self._all(self.decay_steps, end), 1.0)
        with np.errstate(under="ignore"):
            return self.end_learning_rate + (self.learning_rate - self.end_learning_rate) * left**self.power


@dataclass(frozen=True)
class Piecewise(Timed):
    """One rate up to each of some steps.

    values[i] where i of the boundaries are below t: Keras's PiecewiseConstantDecay, in which a boundary still
    has the rate before it.

    Parameters
    ----------
    boundaries : list of int
        Numbers of steps, rising.
    values : list of float
        Rates, at least 0, one more than boundaries.
    per : {"step", "epoch"}, default "step"
        What lengths and t count. With "epoch" the rate stays the same during an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.Piecewise([1, 3], [0.3, 0.2, 0.1]).rates(5).tolist()
    [0.3, 0.3, 0.2, 0.2, 0.1]
    """

    name: ClassVar[str] = "piecewise"
    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        boundaries = hold_boundaries(self)
        given = _checks.sequence(self.values, "values", "values=[0.1, 0.01, 0.001]")
        if len(given) != len(boundaries) + 1:
            raise ValueError(
                f"values has {len(given)} rates for {len(boundaries)} boundaries; it needs one more"
            )
        rates = tuple(_checks.number(value, f"values[{i}]", at_least=0.0) for i, value in enumerate(given))
        hold(self, "values", rates)

    def at(self, t: NDArray[np.float64], end: int | None) -> NDArray[np.float64]:
        """The rates at the times `t`."""
        return np.asarray(self.values, dtype=np.float64)[np.searchsorted(self.boundaries, t, side="left")]


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """The rate of an epoch falls with the rows seen before it: scikit-learn's learning_rate="invscaling".

    r / (rows seen + 1)^power, worked out at the beginning of each epoch.

    Parameters
    ----------
    learning_rate : float
        r, above 0; that of the first epoch.
    power : float, default 0.5
        At least 0; power_t in scikit-learn.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.InverseScaling(1.0).rates(4, steps_per_epoch=2, rows=99).tolist()
    [1.0, 1.0, 0.1, 0.1]
    """

    name: ClassVar[str] = "invscaling"
    learning_rate: float
    power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        hold(self, "power", _checks.number(self.power, "power", at_least=0.0))

    def of(self, span: Span, state: State) -> NDArray[np.float64]:
        """The rates of a span of steps."""
        per_epoch = needed(span.per_epoch, self, "counts the rows of epochs")
        rows = needed(span.rows, self, "counts the rows of epochs")
        seen = np.arange(span.step, span.step + span.n) // per_epoch * float(rows)
        return np.asarray(self.learning_rate / (seen + 1.0) ** self.power, dtype=np.float64)
