"""The base of all schedules: the rates of the steps of an epoch, worked out together.

Numbers of steps come in, rates go out. What the formula is, the schedules say.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from dnn import _checks
from dnn._dataclass import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

State = dict[str, float | None]


class Span(NamedTuple):
    """Steps whose rates are asked for."""

    # The number of the first one, over the life of the optimizer; and how many.
    step: int
    n: int
    # Steps and rows of an epoch, and how many steps there will be when training ends; None outside of a fit.
    per_epoch: int | None = None
    rows: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class Schedule:
    """Base of all schedules. One of them in the place of a rate: `SGD(CosineDecay(0.1))`."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in ("learning_rate", "max_learning_rate"):
                hold(self, field.name, _checks.number(getattr(self, field.name), field.name, above=0.0))

    def rates(
        self,
        n: int,
        *,
        start: int = 0,
        steps_per_epoch: int | None = None,
        rows: int | None = None,
        end: int | None = None,
    ) -> NDArray[np.float64]:
        """The rates of `n` steps, as a fit would take them that never meets a reason to react.

        Parameters
        ----------
        n : int
            How many, from 1.
        start : int, default 0
            The number of the first one.
        steps_per_epoch : int, optional
            Where the schedule counts epochs.
        rows : int, optional
            Rows of an epoch, for `InverseScaling`.
        end : int, optional
            The number of steps at the end of training; None is the last of these.

        Returns
        -------
        ndarray of float64, shape (n,)

        Raises
        ------
        ValueError
            If the schedule needs what is not given.
        """
        n, start = _checks.integer(n, "n", 1), _checks.integer(start, "start", 0)
        span = Span(start, n, steps_per_epoch, rows, start + n if end is None else end)
        return self.of(span, self.begin())

    def of(self, span: Span, state: State) -> NDArray[np.float64]:
        """The rates of a span of steps."""
        raise NotImplementedError

    # Only schedules that react have a state and do anything here.

    reacts: ClassVar[bool] = False

    def begin(self) -> State:
        """The state before the first epoch."""
        return {}

    def after(self, state: State, logs: dict[str, float]) -> tuple[State, bool]:
        """The state after an epoch that measured `logs`, and whether training should end."""
        return state, False


@dataclass(frozen=True)
class Timed(Schedule):
    """Base of schedules that are a formula of t."""

    _: KW_ONLY
    per: str = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.per, str):
            raise TypeError(f"per must be 'step' or 'epoch', got {_checks.shown(self.per)}")
        _checks.name_in(self.per, "per", ("step", "epoch"))

    def of(self, span: Span, state: State) -> NDArray[np.float64]:
        """The rates of a span of steps."""
        if self.per == "step":
            return self.at(np.arange(span.step, span.step + span.n, dtype=np.float64), span.end)
        per_epoch = needed(span.per_epoch, self, "counts in epochs")
        steps = np.arange(span.step, span.step + span.n) // per_epoch
        end = None if span.end is None else -(-span.end // per_epoch)
        return self.at(steps.astype(np.float64), end)

    def at(self, t: NDArray[np.float64], end: int | None) -> NDArray[np.float64]:
        """The rates at the times `t`."""
        raise NotImplementedError

    def _all(self, steps: int | None, end: int | None) -> int:
        return steps if steps is not None else max(1, needed(end, self, "spans the whole training"))


def hold(schedule: Schedule, name: str, value: Any) -> None:
    object.__setattr__(schedule, name, value)


def needed(value: int | None, schedule: Schedule, why: str) -> int:
    if value is None:
        raise ValueError(
            f"the schedule {type(schedule).__name__} {why}, which a single step does not know; use fit, or a "
            "schedule that counts steps"
        )
    return value


def hold_steps(schedule: Schedule, name: str, *, optional: bool = False) -> None:
    value = getattr(schedule, name)
    if value is not None or not optional:
        hold(schedule, name, _checks.integer(value, name, 1))


def hold_boundaries(schedule: Schedule) -> tuple[int, ...]:
    # By name: the base has no boundaries, only the schedules that this is for.
    given = _checks.sequence(getattr(schedule, "boundaries"), "boundaries", "boundaries=[1000, 2000]")  # noqa: B009
    boundaries = tuple(_checks.integer(value, f"boundaries[{i}]", 0) for i, value in enumerate(given))
    if not boundaries or any(a >= b for a, b in pairwise(boundaries)):
        raise ValueError(f"boundaries must be numbers of steps that rise, at least one, got {boundaries}")
    hold(schedule, "boundaries", boundaries)
    return boundaries


def power(base: float, exponents: NDArray[np.float64]) -> NDArray[np.float64]:
    """base^exponent, 0 where it would underflow."""
    with np.errstate(under="ignore"):
        return np.asarray(np.power(base, exponents), dtype=np.float64)
