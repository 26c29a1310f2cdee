"""The base of all optimizers: the rate of every step, and gradients that are kept from being too large.

Rates and limits come in as users write them; they go out checked. What a step is, the optimizers say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, fields
from typing import ClassVar

import numpy as np

from dnn import _checks
from dnn._checks import counted
from dnn._dataclass import dataclass
from dnn._schedule import Schedule, Span, State

Rate = float | Schedule | Callable[[int], float] | Iterable[float]

# Where the core refuses a rate, too: said here, a refused one changes nothing.
LARGEST_RATE = 1e15

# Given with each fit, so that changing them keeps what an optimizer remembers.
PER_FIT = ("learning_rate", "clip_norm", "clip_value")


@dataclass(frozen=True, repr=False)
class Optimizer:
    """Base of all optimizers.

    Each of them takes these keyword arguments beside its own.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence
        The rate r of the steps, above 0 and at most 1e15. A schedule is one such as `CosineDecay(0.1)`. A
        callable takes the number of the step (from 0, over the life of the optimizer) and returns the rate;
        a sequence has one rate for each step, and its last one stays.
    clip_norm : float, optional
        Above 0. Where the Euclidean norm of the gradient of everything that learns is above it, the whole
        gradient is scaled to that norm, as Keras's global_clipnorm does.
    clip_value : float, optional
        Above 0. Every element of the gradient is moved into -clip_value .. clip_value. Not together with
        `clip_norm`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.
    """

    name: ClassVar[str]
    learning_rate: Rate
    _: KW_ONLY
    clip_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rate", _checked_rate(self.learning_rate))
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _checks.number(getattr(self, name), name, above=0.0))
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("clip_norm and clip_value don't go together; choose one of them")

    def __repr__(self) -> str:
        said = {field.name: getattr(self, field.name) for field in fields(self) if field.repr}
        clips = {name: said.pop(name, None) for name in ("clip_norm", "clip_value")}
        said |= {name: clip for name, clip in clips.items() if clip is not None}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in said.items())})"

    def _check_below_one(self, *names: str) -> None:
        for name in names:
            _checks.number(getattr(self, name), name, at_least=0.0, below=1.0)

    def _check_at_least_zero(self, *names: str) -> None:
        for name in names:
            _checks.number(getattr(self, name), name, at_least=0.0)

    def _check_epsilon(self, name: str = "epsilon") -> None:
        _checks.number(getattr(self, name), name, above=0.0)

    def _check_booleans(self, *names: str) -> None:
        for name in names:
            _checks.boolean(getattr(self, name), name)

    def _hold_numbers(self, name: str, n: int, example: str) -> tuple[float, ...]:
        """The field `name` as a tuple of `n` numbers."""
        given = _checks.sequence(getattr(self, name), name, f"{name}={example}")
        if len(given) != n:
            raise ValueError(
                f"{name} has {counted(len(given), 'number')}, but needs {n}; write {name}={example}"
            )
        numbers = tuple(_checks.number(value, f"{name}[{i}]") for i, value in enumerate(given))
        object.__setattr__(self, name, numbers)
        return numbers


def _checked_rate(rate: object) -> Rate:
    """`rate` as it is stored: a float, a callable, or a tuple of floats."""
    if isinstance(rate, type) and issubclass(rate, Schedule):
        raise TypeError(f"learning_rate is the class {rate.__name__}; make one of it: {rate.__name__}(0.1)")
    if isinstance(rate, Schedule) or callable(rate):
        return rate
    if (
        isinstance(rate, str)
        or not hasattr(rate, "__iter__")
        or (isinstance(rate, np.ndarray) and rate.ndim == 0)
    ):
        return _checks.number(rate, "learning_rate", above=0.0, at_most=LARGEST_RATE)
    if isinstance(rate, np.ndarray) and rate.ndim != 1:
        raise ValueError(
            f"learning_rate has shape {rate.shape}; a sequence of rates is 1-D, one for each step"
        )
    rates = tuple(
        _checks.number(r, f"learning_rate[{i}]", at_least=0.0, at_most=LARGEST_RATE)
        for i, r in enumerate(rate)
    )
    if not rates:
        raise ValueError("learning_rate is an empty sequence; it needs at least one rate")
    return rates


def rates_of(rate: Rate, span: Span, state: State) -> list[float]:
    """The rates of a span of steps; `state` is that of a schedule which reacts.

    A callable's are asked for and checked now.
    """
    step, n = span.step, span.n
    if isinstance(rate, Schedule):
        rates: list[float] = rate.of(span, state).tolist()
        return rates
    if isinstance(rate, float):
        return [rate] * n
    if isinstance(rate, tuple):
        return [rate[min(at, len(rate) - 1)] for at in range(step, step + n)]
    assert callable(rate)
    return [
        _checks.number(rate(at), f"learning_rate(step={at})", at_least=0.0, at_most=LARGEST_RATE)
        for at in range(step, step + n)
    ]
