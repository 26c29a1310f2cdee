"""Functions of users: losses and metrics of their own, as the extension calls them.

A user's function comes in; out goes one whose results are checked, so that the extension gets float64 arrays
of the right shape or an exception. Loaded when somebody gives a function, not before.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dnn import _arrays, _checks
from dnn._dataclass import dataclass
from dnn._loss import Loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Losses = Callable[[Array, Array, Array], tuple[Array, Array]]
    Measure = Callable[[Array, Array, Array | None], float]
    # What users give: (y_true, y_pred) -> (loss, gradient), and (y_true, y_pred) -> value, maybe with
    # sample_weight.
    LossCallable = Callable[[Any, Any], tuple[Any, Any]]
    MetricCallable = Callable[..., float]


@dataclass(frozen=True)
class LossFunction(Loss):
    """A loss that is a function (y_true, y_pred) -> (loss, gradient); docs/losses.md says what it is given.

    `function` is None after a model came from a file, which can't hold one.
    """

    function: Callable[[Any, Any], tuple[Any, Any]] | None
    title: str
    is_function: ClassVar[bool] = True

    # A property where the base has an attribute of the class: an instance answers for itself.
    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the function."""
        return self.title

    def called(self) -> Losses:
        """What the extension calls."""
        function, title = self.function, f"loss {self.title!r}"
        if function is None:
            raise ValueError(
                f"the loss of this model is the function {self.title!r}, which its file does not hold; pass "
                f"it again: fit(..., loss={self.title}) goes on with the state of the optimizer, "
                f"compile(optimizer, {self.title}) starts anew"
            )

        def call(y_true: Array, y_pred: Array, weights: Array) -> tuple[Array, Array]:
            shape = y_pred.shape
            given = function(y_true, y_pred)
            if not isinstance(given, tuple) or len(given) != 2:
                raise TypeError(f"{title} must return (loss, gradient), got {_checks.shown(given)}")
            loss = _arrays.numeric(given[0], f"what {title} returned as the loss")
            gradient = _arrays.numeric(given[1], f"what {title} returned as the gradient")
            if gradient.shape != shape:
                raise ValueError(
                    f"{title} returned a gradient of shape {gradient.shape}, but it needs the shape of "
                    f"y_pred, {shape}: the derivative of the loss by each output"
                )
            if loss.shape not in ((), (shape[0],)):
                raise ValueError(
                    f"{title} returned a loss of shape {loss.shape}; it must be one for each row, of shape "
                    f"({shape[0]},), or one number, the mean over rows"
                )
            _refuse_non_finite(loss, title, "loss")
            _refuse_non_finite(gradient, title, "gradient")
            loss, gradient = loss.astype(np.float64), gradient.astype(np.float64)
            if loss.ndim == 1:
                return loss, gradient
            if (weights != weights[0]).any():
                raise ValueError(
                    f"{title} returned one number, which rows of different weights make nothing of; return "
                    f"the loss of each row, of shape ({shape[0]},), and its gradient without dividing by the "
                    "number of rows"
                )
            # The gradient of a mean has the number of rows in it, which is divided by once more.
            return np.full(shape[0], loss), gradient * shape[0]

        return call


def loss(function: Any) -> LossFunction:
    """A user's function as a loss."""
    return LossFunction(function, name_of(function))


def metric(function: Callable[..., Any]) -> Measure:
    """A user's metric (y_true, y_pred), maybe with sample_weight, as the extension calls it."""
    title, takes_weight = f"metric {name_of(function)!r}", _takes_weight(function)

    def call(y_true: Array, y_pred: Array, weights: Array | None) -> float:
        value = function(y_true, y_pred, sample_weight=weights) if takes_weight else function(y_true, y_pred)
        number = _arrays.numeric(value, f"what {title} returned")
        if number.ndim != 0:
            raise ValueError(f"{title} must return one number, got an array of shape {number.shape}")
        return float(number)

    return call


def name_of(function: Any) -> str:
    """The name of a function, or that of the class of another callable object."""
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__


def _takes_weight(function: Callable[..., Any]) -> bool:
    try:
        parameter = inspect.signature(function).parameters.get("sample_weight")
    except (TypeError, ValueError):  # some that are written in C tell nothing
        return False
    return parameter is not None and parameter.kind in (
        parameter.POSITIONAL_OR_KEYWORD,
        parameter.KEYWORD_ONLY,
    )


def _refuse_non_finite(values: Array, title: str, what: str) -> None:
    wrong = np.argwhere(~np.isfinite(values))
    if not len(wrong):
        return
    at = tuple(int(place) for place in wrong[0])
    where = f" at {list(at)}" if at else ""
    raise ValueError(
        f"{title} returned {values[at]} as the {what}{where}, {len(wrong)} of {values.size} "
        "not finite; it must be finite for every finite y_pred"
    )
