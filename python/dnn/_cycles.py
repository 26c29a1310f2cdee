"""Schedules along cosines and straight lines, that may rise too, as frozen dataclasses.

In the formulas r is the rate given, t the number of the step (or epoch) from 0 in the life of the optimizer.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from dnn import _checks
from dnn._dataclass import dataclass
from dnn._schedule import Schedule, Span, State, Timed, hold, hold_steps, needed, power

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class CosineDecay(Timed):
    """The rate falls along half a cosine (Loshchilov and Hutter 2017).

    e + (r - e) (1 + cos(pi t / T)) / 2 up to t = T: PyTorch's CosineAnnealingLR, which would rise again after
    T; here it stays, as in Keras.

    Parameters
    ----------
    learning_rate : float
        r, above 0.
    decay_steps : int, optional
        T, from 1. None is the whole of the training, up to the end of the `fit` that asks.
    end_learning_rate : float, default 0.0
        e, the rate from t = T on; at least 0.
    per : {"step", "epoch"}, default "step"
        What lengths and t count. With "epoch" the rate stays the same during an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.CosineDecay(1.0, 4).rates(6).round(3).tolist()
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    name: ClassVar[str] = "cosine"
    learning_rate: float
    decay_steps: int | None = None
    end_learning_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        hold_steps(self, "decay_steps", optional=True)
        hold(
            self,
            "end_learning_rate",
            _checks.number(self.end_learning_rate, "end_learning_rate", at_least=0.0),
        )

    def at(self, t: NDArray[np.float64], end: int | None) -> NDArray[np.float64]:
        """The rates at the times `t`."""
        done = np.minimum(t / self._all(self.decay_steps, end), 1.0)
        span = self.learning_rate - self.end_learning_rate
        return self.end_learning_rate + span * (1.0 + np.cos(math.pi * done)) / 2.0


@dataclass(frozen=True)
class CosineRestarts(Timed):
    """Half a cosine again and again (Loshchilov and Hutter 2017): SGDR, warm restarts.

    In cycle i of length T_i, begun at t_i: e + (r_i - e) (1 + cos(pi (t - t_i) / T_i)) / 2 with
    T_i = t_mul T_(i-1) and r_i = m_mul r_(i-1). PyTorch's CosineAnnealingWarmRestarts, with Keras's m_mul.

    Parameters
    ----------
    learning_rate : float
        r_0, above 0.
    first_decay_steps : int
        T_0, from 1.
    t_mul : int, default 1
        From 1. Keras has 2.
    m_mul : float, default 1.0
        Above 0, at most 1.
    end_learning_rate : float, default 0.0
        e, at least 0.
    per : {"step", "epoch"}, default "step"
        What lengths and t count. With "epoch" the rate stays the same during an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.CosineRestarts(1.0, 2, t_mul=2).rates(6).round(3).tolist()
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146]
    """

    name: ClassVar[str] = "cosine_restarts"
    learning_rate: float
    first_decay_steps: int
    t_mul: int = 1
    m_mul: float = 1.0
    end_learning_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        hold_steps(self, "first_decay_steps")
        hold_steps(self, "t_mul")
        hold(self, "m_mul", _checks.number(self.m_mul, "m_mul", above=0.0, at_most=1.0))
        hold(
            self,
            "end_learning_rate",
            _checks.number(self.end_learning_rate, "end_learning_rate", at_least=0.0),
        )

    def at(self, t: NDArray[np.float64], end: int | None) -> NDArray[np.float64]:
        """The rates at the times `t`."""
        if self.t_mul == 1:
            cycle = np.floor(t / self.first_decay_steps)
            done = t / self.first_decay_steps - cycle
        else:
            # Starts of the cycles, whole numbers: a logarithm would miss some by one.
            starts, length = [0], self.first_decay_steps
            while starts[-1] <= t[-1]:
                starts.append(starts[-1] + length)
                length *= self.t_mul
            index = np.searchsorted(starts, t, side="right") - 1
            begun = np.asarray(starts, dtype=np.float64)
            cycle = index.astype(np.float64)
            done = (t - begun[index]) / (begun[index + 1] - begun[index])
        top = self.learning_rate * power(self.m_mul, cycle)
        return self.end_learning_rate + (top - self.end_learning_rate) * (1.0 + np.cos(math.pi * done)) / 2.0


@dataclass(frozen=True)
class OneCycle(Timed):
    """Up, down, and down to nearly nothing in one training (Smith and Topin 2018).

    From r / div_factor up to r at t = pct_start T - 1, then down to r / div_factor / final_div_factor at
    T - 1; with three_phase down to r / div_factor at 2 pct_start T - 2 in between. Between two rates a and b
    half a cosine or a straight line. PyTorch's OneCycleLR; the momentum stays what it is.

    Parameters
    ----------
    max_learning_rate : float
        r, above 0.
    decay_steps : int, optional
        T, from 2. None is the whole of the training, up to the end of the `fit` that asks.
    pct_start : float, default 0.3
        Share of T on the way up, above 0 and below 1 (with three_phase below 0.5).
    div_factor : float, default 25.0
        At least 1.
    final_div_factor : float, default 1e4
        At least 1.
    three_phase : bool, default False
        Whether the way down has two phases.
    linear : bool, default False
        Straight lines instead of half cosines.
    per : {"step", "epoch"}, default "step"
        What lengths and t count. With "epoch" the rate stays the same during an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.OneCycle(1.0, 10).rates(10).round(3).tolist()
    [0.04, 0.52, 1.0, 0.95, 0.812, 0.611, 0.389, 0.188, 0.05, 0.0]
    """

    name: ClassVar[str] = "one_cycle"
    max_learning_rate: float
    decay_steps: int | None = None
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False
    linear: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        hold(self, "three_phase", _checks.boolean(self.three_phase, "three_phase"))
        hold(self, "linear", _checks.boolean(self.linear, "linear"))
        hold_steps(self, "decay_steps", optional=True)
        below = 0.5 if self.three_phase else 1.0
        hold(self, "pct_start", _checks.number(self.pct_start, "pct_start", above=0.0, below=below))
        for name in ("div_factor", "final_div_factor"):
            hold(self, name, _checks.number(getattr(self, name), name, at_least=1.0))

    def at(self, t: NDArray[np.float64], end: int | None) -> NDArray[np.float64]:
        """The rates at the times `t`."""
        whole = self._all(self.decay_steps, end)
        low = self.max_learning_rate / self.div_factor
        corners = [(0.0, low), (self.pct_start * whole - 1.0, self.max_learning_rate)]
        if self.three_phase:
            corners.append((2.0 * self.pct_start * whole - 2.0, low))
        corners.append((whole - 1.0, low / self.final_div_factor))
        rates = np.full(t.shape, corners[-1][1])
        # The last way first: where ways overlap, in a training of a few steps, the first one counts.
        for (begin, a), (stop, b) in reversed(list(pairwise(corners))):
            if stop > begin:
                done = (t - begin) / (stop - begin)
                way = (
                    a + (b - a) * done if self.linear else b + (a - b) / 2.0 * (1.0 + np.cos(math.pi * done))
                )
                rates = np.where(t <= stop, way, rates)
        return np.asarray(np.maximum(rates, 0.0), dtype=np.float64)


@dataclass(frozen=True)
class CosLog4(Timed):
    """Four cosines, each about twice as long as the one before (Holzmueller et al. 2024, RealMLP).

    r (1 - cos(2 pi log2(1 + 15 t / T))) / 2; 0 at t = 0 and from T on.

    Parameters
    ----------
    learning_rate : float
        r, above 0.
    decay_steps : int, optional
        T, from 1. None is the whole of the training, up to the end of the `fit` that asks.
    per : {"step", "epoch"}, default "step"
        What lengths and t count. With "epoch" the rate stays the same during an epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.CosLog4(1.0, 30).rates(4).round(3).tolist()
    [0.0, 0.93, 0.0, 0.718]
    """

    name: ClassVar[str] = "coslog4"
    learning_rate: float
    decay_steps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        hold_steps(self, "decay_steps", optional=True)

    def at(self, t: NDArray[np.float64], end: int | None) -> NDArray[np.float64]:
        """The rates at the times `t`."""
        done = np.minimum(t / self._all(self.decay_steps, end), 1.0)
        return self.learning_rate * (1.0 - np.cos(2.0 * math.pi * np.log2(1.0 + 15.0 * done))) / 2.0


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A straight line up to the first rate of another schedule, and then that.

    With the first rate r of the schedule: r (start_factor + (1 - start_factor) t / T) for t below T, then the
    schedule as if it began there. PyTorch's LinearLR with SequentialLR.

    Parameters
    ----------
    schedule : float or schedule
        What follows. One that spans the whole training spans what is left of it.
    warmup_steps : int
        T, from 1.
    start_factor : float, default 1/3
        From 0 to 1.
    per : {"step", "epoch"}, default "step"
        What T and t count.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.WarmUp(dnn.StepDecay(0.8, 2, 0.5), 4, start_factor=0.0).rates(8).round(6).tolist()
    [0.0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.4, 0.4]
    """

    name: ClassVar[str] = "warm_up"
    schedule: float | Schedule
    warmup_steps: int
    start_factor: float = 1.0 / 3.0
    _: KW_ONLY
    per: str = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.schedule, Schedule):
            if isinstance(self.schedule, type) or callable(self.schedule):
                raise TypeError(
                    f"schedule must be a rate or a schedule such as CosineDecay(0.1), got "
                    f"{_checks.shown(self.schedule)}"
                )
            hold(self, "schedule", _checks.number(self.schedule, "schedule", above=0.0))
        hold_steps(self, "warmup_steps")
        hold(
            self, "start_factor", _checks.number(self.start_factor, "start_factor", at_least=0.0, at_most=1.0)
        )
        if not isinstance(self.per, str):
            raise TypeError(f"per must be 'step' or 'epoch', got {_checks.shown(self.per)}")
        _checks.name_in(self.per, "per", ("step", "epoch"))

    # A property where the base has an attribute of the class: an instance answers for itself.
    @property
    def reacts(self) -> bool:  # type: ignore[override]
        """Whether what follows does."""
        return isinstance(self.schedule, Schedule) and self.schedule.reacts

    def begin(self) -> State:
        """The state of what follows."""
        return self.schedule.begin() if isinstance(self.schedule, Schedule) else {}

    def after(self, state: State, logs: dict[str, float]) -> tuple[State, bool]:
        """The state of what follows, after an epoch."""
        return self.schedule.after(state, logs) if isinstance(self.schedule, Schedule) else (state, False)

    def of(self, span: Span, state: State) -> NDArray[np.float64]:
        """The rates of a span of steps."""
        unit = 1 if self.per == "step" else needed(span.per_epoch, self, "counts in epochs")
        warm = self.warmup_steps * unit
        rising = min(max(warm - span.step, 0), span.n)
        end = None if span.end is None else max(span.end - warm, 1)
        rates = np.empty(span.n)
        if rising:
            t = np.arange(span.step, span.step + rising) // unit
            first = self._following(span._replace(step=0, n=1, end=end), state)[0]
            factor = self.start_factor + (1.0 - self.start_factor) * (t / self.warmup_steps)
            rates[:rising] = first * factor
        if rising < span.n:
            rest = span._replace(step=span.step + rising - warm, n=span.n - rising, end=end)
            rates[rising:] = self._following(rest, state)
        return rates

    def _following(self, span: Span, state: State) -> NDArray[np.float64]:
        if isinstance(self.schedule, Schedule):
            return self.schedule.of(span, state)
        return np.full(span.n, self.schedule)
