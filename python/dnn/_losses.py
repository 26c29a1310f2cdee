"""Losses: the distance of output y and target t that training makes small, as frozen dataclasses.

Names, aliases and instances come in, instances go out; says which output fits. Computes nothing.
Row weights w: loss = sum of w_r l_r / sum of w_r, with l_r the loss of row r.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dnn import _checks


@dataclass(frozen=True)
class Loss:
    """Base of all losses."""

    __slots__ = ()
    name: ClassVar[str]


# Losses without parameters inherit all that makes a frozen dataclass, and without a place for attributes they
# stay frozen: decorating each of them again would make `import dnn` most of a millisecond slower per class.
class MSE(Loss):
    """Mean squared error: mean over all elements of (y - t)^2.

    Its gradient is 2 (y - t) / (rows * outputs).
    """

    __slots__ = ()
    name: ClassVar[str] = "mse"


class HalfMSE(Loss):
    """Half of the mean squared error: mean over all elements of (y - t)^2 / 2."""

    __slots__ = ()
    name: ClassVar[str] = "half_mse"


class SSE(Loss):
    """Sum of squared errors: the sum over outputs of (y - t)^2, mean over rows."""

    __slots__ = ()
    name: ClassVar[str] = "sse"


class MAE(Loss):
    """Mean absolute error: mean over all elements of abs(y - t)."""

    __slots__ = ()
    name: ClassVar[str] = "mae"


@dataclass(frozen=True)
class Huber(Loss):
    """Squared near the target, absolute far from it.

    With d = abs(y - t): d^2 / 2 up to delta, delta (d - delta / 2) beyond; mean over all elements.

    Parameters
    ----------
    delta : float, default 1.0
        Where the parabola turns into a line, in units of the target; above 0.

    Raises
    ------
    TypeError, ValueError
        If `delta` is not a finite number above 0.

    Examples
    --------
    >>> import dnn
    >>> dnn.Huber(delta=0.5)
    Huber(delta=0.5)
    """

    name: ClassVar[str] = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        _checks.number(self.delta, "delta", above=0.0)


class CrossEntropy(Loss):
    """Cross entropy: minus the sum over classes of t ln y, mean over rows.

    For a softmax output. Targets are labels 0, 1, ... as integers, or probabilities of shape (rows, classes).
    """

    __slots__ = ()
    name: ClassVar[str] = "cross_entropy"


class BinaryCrossEntropy(Loss):
    """Cross entropy of yes and no: -(t ln y + (1 - t) ln(1 - y)), mean over outputs and rows.

    For sigmoid outputs, with targets from 0 to 1. Several outputs are several independent questions.
    """

    __slots__ = ()
    name: ClassVar[str] = "binary_cross_entropy"


class Hinge(Loss):
    """Margin loss: max(0, 1 - t y), mean over all elements. Targets are -1 and +1."""

    __slots__ = ()
    name: ClassVar[str] = "hinge"


class SquaredHinge(Loss):
    """Squared margin loss: max(0, 1 - t y)^2, mean over all elements. Targets are -1 and +1."""

    __slots__ = ()
    name: ClassVar[str] = "squared_hinge"


LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (MSE, HalfMSE, SSE, MAE, Huber, CrossEntropy, BinaryCrossEntropy, Hinge, SquaredHinge)
}
ALIASES = {
    "mean_squared_error": "mse",
    "categorical_crossentropy": "cross_entropy",
    "sparse_categorical_crossentropy": "cross_entropy",
    "binary_crossentropy": "binary_cross_entropy",
}
_HINTS = {
    "mean_absolute_error": "write 'mae'",
    "crossentropy": "write 'cross_entropy' (softmax output) or 'binary_cross_entropy' (sigmoid output)",
    "log_loss": "write 'cross_entropy' (softmax output) or 'binary_cross_entropy' (sigmoid output)",
    "nll": "write 'cross_entropy', with a softmax output",
}

_HINGES = ("hinge", "squared_hinge")


def resolve(loss: object, output: str) -> Loss:
    """The loss that `loss` (None, a name or an instance) stands for on a last layer with activation `output`.

    None is cross entropy for softmax, binary cross entropy for sigmoid and the mean squared error otherwise.
    """
    if loss is None:
        loss = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}.get(output, "mse")
    if isinstance(loss, str):
        loss = LOSSES[_checks.name_in(loss, "loss", LOSSES, ALIASES, _HINTS)]()
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"loss is the class {loss.__name__}; make one of it: {loss.__name__}()")
    if not isinstance(loss, Loss):
        raise TypeError(f"loss must be a name or one such as Huber(delta=1.0), got {_checks.shown(loss)}")
    _refuse_misfit(loss.name, output)
    return loss


def _refuse_misfit(loss: str, output: str) -> None:
    """Refuse a loss whose formula needs another range of outputs than the last layer has."""
    if loss == "cross_entropy" and output != "softmax":
        raise ValueError(
            f"loss 'cross_entropy' needs a softmax output, but the last layer has {output!r}; give it "
            f"activation='softmax', or use loss={'binary_cross_entropy' if output == 'sigmoid' else 'mse'!r}"
        )
    if loss == "binary_cross_entropy" and output != "sigmoid":
        raise ValueError(
            f"loss 'binary_cross_entropy' needs a sigmoid output, but the last layer has {output!r}; give "
            f"it activation='sigmoid', or use loss={'cross_entropy' if output == 'softmax' else 'mse'!r}"
        )
    if loss in _HINGES and output in ("softmax", "sigmoid"):
        fitting = "cross_entropy" if output == "softmax" else "binary_cross_entropy"
        raise ValueError(
            f"loss {loss!r} needs outputs on both sides of 0, but the last layer has {output!r}; give it "
            f"activation='identity' or 'tanh', or use loss={fitting!r}"
        )
