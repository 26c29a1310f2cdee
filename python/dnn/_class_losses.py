"""Losses of classes: cross entropies after softmax and sigmoid, and margins.

Frozen dataclasses that say what was asked for. Computes nothing.
"""

from __future__ import annotations

from typing import ClassVar

from dnn import _checks
from dnn._dataclass import dataclass
from dnn._loss import Loss


class OfSoftmax(Loss):
    """Base of the losses over the classes of a softmax."""

    __slots__ = ()
    targets: ClassVar[str] = "distribution"
    fits: ClassVar[tuple[str, ...]] = ("softmax",)
    needs: ClassVar[str] = "a softmax output"
    suggested: ClassVar[str] = "'softmax'"


@dataclass(frozen=True)
class CrossEntropy(OfSoftmax):
    """Cross entropy: minus the sum over classes of t ln y, mean over rows.

    For a softmax output, which it is fused with. Targets are labels 0, 1, ... as integers, or probabilities
    of shape (rows, classes). PyTorch's CrossEntropyLoss, Keras's (sparse) categorical crossentropy.

    Parameters
    ----------
    label_smoothing : float, default 0.0
        This share of every target is spread evenly over the classes: t (1 - s) + s / classes, so that a
        network is never asked for certainty (Szegedy et al. 2016); at least 0, below 1. PyTorch's and
        Keras's.

    Raises
    ------
    TypeError, ValueError
        If `label_smoothing` is no such number.

    Examples
    --------
    >>> import dnn
    >>> dnn.CrossEntropy(label_smoothing=0.1)
    CrossEntropy(label_smoothing=0.1)
    """

    name: ClassVar[str] = "cross_entropy"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _checks.number(self.label_smoothing, "label_smoothing", at_least=0.0, below=1.0)


class BinaryCrossEntropy(Loss):
    """Cross entropy of yes and no: -(t ln y + (1 - t) ln(1 - y)), mean over outputs and rows.

    For sigmoid outputs, which it is fused with, with targets from 0 to 1. Several outputs are several
    independent questions. PyTorch's BCEWithLogitsLoss, Keras's binary crossentropy.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1, "sigmoid")])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.BinaryCrossEntropy())
    >>> round(model.evaluate([[0.0], [0.0]], [1.0, 0.0])["loss"], 4)
    0.6931
    """

    __slots__ = ()
    name: ClassVar[str] = "binary_cross_entropy"
    targets: ClassVar[str] = "unit"
    fits: ClassVar[tuple[str, ...]] = ("sigmoid",)
    needs: ClassVar[str] = "a sigmoid output"
    suggested: ClassVar[str] = "'sigmoid'"


@dataclass(frozen=True)
class Focal(Loss):
    """Cross entropy that cares less for rows that are already right: for rare classes.

    After softmax minus the sum over classes of t (1 - y)^gamma ln y, mean over rows, with labels or
    probabilities. After sigmoid u^gamma (-t ln y - (1 - t) ln(1 - y)) with u = t (1 - y) + (1 - t) y, mean
    over outputs and rows, with targets from 0 to 1. Lin et al. 2017; Keras's
    CategoricalFocalCrossentropy(alpha=1) and BinaryFocalCrossentropy, torchvision's
    sigmoid_focal_loss(alpha=-1). For the paper's alpha use `class_weight`.

    Parameters
    ----------
    gamma : float, default 2.0
        From 0, which is the cross entropy, to 100.

    Raises
    ------
    TypeError, ValueError
        If `gamma` is no such number.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(8, "relu"), dnn.Dense(3, "softmax")])
    >>> model.compile(loss=dnn.Focal(gamma=1.5))
    >>> model.loss
    Focal(gamma=1.5)
    """

    name: ClassVar[str] = "focal"
    targets: ClassVar[str] = "unit"
    fits: ClassVar[tuple[str, ...]] = ("softmax", "sigmoid")
    needs: ClassVar[str] = "probabilities"
    suggested: ClassVar[str] = "'softmax' or 'sigmoid'"
    gamma: float = 2.0

    def __post_init__(self) -> None:
        _checks.number(self.gamma, "gamma", at_least=0.0, at_most=100.0)


class KLDivergence(OfSoftmax):
    """Divergence of Kullback and Leibler: the sum over classes of t ln(t / y), mean over rows.

    For a softmax output, which it is fused with; 0 where y is t. Its gradient is that of the cross entropy.
    PyTorch's KLDivLoss(reduction="batchmean"), Keras's KLDivergence.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(2, "softmax")])
    >>> model.set_weights([[[1.0, 1.0]], [0.0, 0.0]])
    >>> model.compile(loss=dnn.KLDivergence())
    >>> round(model.evaluate([[0.0]], [[1.0, 0.0]])["loss"], 4)
    0.6931
    """

    __slots__ = ()
    name: ClassVar[str] = "kl_divergence"


class Hinge(Loss):
    """Margin loss: max(0, 1 - t y), mean over all elements. Targets are -1 and +1.

    Keras's Hinge and scikit-learn's hinge_loss; fits every output but softmax and sigmoid.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1)])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.Hinge())
    >>> model.evaluate([[1.0], [2.0]], [1.0, -1.0])
    {'loss': 1.5}
    """

    __slots__ = ()
    name: ClassVar[str] = "hinge"
    targets: ClassVar[str] = "signs"
    unfit: ClassVar[tuple[str, ...]] = ("softmax", "sigmoid")
    needs: ClassVar[str] = "outputs on both sides of 0"
    suggested: ClassVar[str] = "'identity' or 'tanh'"


class SquaredHinge(Hinge):
    """Squared margin loss: max(0, 1 - t y)^2, mean over all elements. Targets are -1 and +1.

    Keras's SquaredHinge; fits every output but softmax and sigmoid.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1)])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.SquaredHinge())
    >>> model.evaluate([[1.0], [2.0]], [1.0, -1.0])
    {'loss': 4.5}
    """

    __slots__ = ()
    name: ClassVar[str] = "squared_hinge"
