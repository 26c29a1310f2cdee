"""Layers that bring what goes through them to mean 0 and variance 1, so that deep networks keep learning.

Constants come in and are checked. What is learned and gathered lives with the network.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import ClassVar

from dnn import _checks
from dnn._dataclass import dataclass
from dnn._layers import Layer


@dataclass(frozen=True)
class BatchNormalization(Layer):
    """Normalises each column over the batch: y = gamma (x - mean) / sqrt(variance + epsilon) + beta.

    While the network learns, mean and variance are those of the batch, divided by the number of rows and
    not by one less (as Keras has it; PyTorch normalises so too, but gathers the other variance). Each batch
    moves the running ones: running = momentum running + (1 - momentum) batch, which PyTorch writes with 1 -
    momentum as its momentum. In use (`predict`, `evaluate`, `forward`) the running ones take their place,
    so that a row does not depend on others. gamma begins with 1, beta with 0, the running mean with 0 and
    variance with 1. The source is Ioffe and Szegedy, Batch normalization, 2015.

    The statistics are always those of a whole batch, which therefore goes through in one piece: a batch of
    "full" takes as much memory as its activations need. With `fit(accumulate=k)` each of the k batches of a
    step has its own, and each moves the running ones, as every forward does in PyTorch. Rows count by their
    weight, so that a weight of 2 is as good as the row twice. A batch of a single row has no variance: it
    comes out as beta, as in Keras, and leaves the running statistics as they are; `fit` refuses a
    batch_size of 1. With `trainable=False` the running statistics are used for learning too and stay as
    they are, as in Keras.

    `get_weights` has gamma, beta, running mean and running variance, in Keras's order. The last two are no
    parameters: their gradients are told as 0, and `flat_parameters` leaves them out.

    Parameters
    ----------
    momentum : float, default 0.99
        What stays of the running statistics with each batch, at least 0 and below 1. With few batches in all,
        take less: 0.9 forgets the beginning in 50 batches, 0.99 in 500.
    epsilon : float, default 1e-3
        Keeps the root away from 0; from 1e-12 to 1e6, in units of the variance.
    trainable : bool, default True
        False keeps everything as it is.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> hidden = [dnn.Dense(16, use_bias=False), dnn.BatchNormalization(), dnn.Activation("relu")]
    >>> model = dnn.Sequential([dnn.Input(4), *hidden, dnn.Dense(1)])
    >>> [array.shape for array in model.get_weights()]
    [(4, 16), (16,), (16,), (16,), (16,), (16, 1), (1,)]
    """

    kind: ClassVar[str] = "batch_normalization"
    momentum: float = 0.99
    epsilon: float = 1e-3
    _: KW_ONLY
    trainable: bool = True

    def __post_init__(self) -> None:
        _checks.number(self.momentum, "momentum", at_least=0.0, below=1.0)
        _epsilon(self.epsilon)
        _checks.boolean(self.trainable, "trainable")

    def arrays(self, n_in: int) -> list[tuple[str, tuple[int, ...]]]:
        return [(kind, (n_in,)) for kind in ("gamma", "beta", "running_mean", "running_variance")]


@dataclass(frozen=True)
class LayerNormalization(Layer):
    """Normalises each row over its columns: y = gamma (x - mean) / sqrt(variance + epsilon) + beta.

    Mean and variance are those of the row alone, so learning and use are the same, and batches of any size
    will do. The variance is divided by the number of columns. gamma begins with 1, beta with 0, one for
    each column; `get_weights` has them in this order. The source is Ba, Kiros and Hinton, Layer
    normalization, 2016.

    Parameters
    ----------
    epsilon : float, default 1e-3
        Keeps the root away from 0; from 1e-12 to 1e6, in units of the variance. Keras's default; PyTorch's is
        1e-5.
    trainable : bool, default True
        False keeps gamma and beta as they are.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> layers = [dnn.Input(4), dnn.Dense(16), dnn.LayerNormalization(), dnn.Activation("relu"), dnn.Dense(1)]
    >>> dnn.Sequential(layers).n_parameters
    129
    """

    kind: ClassVar[str] = "layer_normalization"
    epsilon: float = 1e-3
    _: KW_ONLY
    trainable: bool = True

    def __post_init__(self) -> None:
        _epsilon(self.epsilon)
        _checks.boolean(self.trainable, "trainable")

    def arrays(self, n_in: int) -> list[tuple[str, tuple[int, ...]]]:
        return [(kind, (n_in,)) for kind in ("gamma", "beta")]


def _epsilon(value: object) -> None:
    _checks.number(value, "epsilon", at_least=1e-12, at_most=1e6)
