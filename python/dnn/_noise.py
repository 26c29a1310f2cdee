"""Layers that make noise while a network learns, against overfitting; in use they let everything pass.

Rates come in and are checked. The noise itself is made where the rows are.
"""

from __future__ import annotations

from typing import ClassVar

from dnn import _checks
from dnn._dataclass import dataclass
from dnn._layers import Layer


@dataclass(frozen=True)
class Dropout(Layer):
    """Sets inputs to 0 at random while the network learns: y = x m / (1 - rate), m = 0 with probability rate.

    Each number of each row of each batch is kept or dropped on its own. What is kept grows by 1 / (1 - rate)
    ("inverted" dropout), so that the mean stays, and nothing needs to be done in use: `predict` and
    `evaluate` drop nothing. The source is Srivastava et al., Dropout: a simple way to prevent neural
    networks from overfitting, 2014.

    Which numbers are dropped depends on the seed of the model, the place of the layer, the number of the
    batch in the life of the model and the place in the batch, and on nothing else.

    Parameters
    ----------
    rate : float
        Probability of 0, at least 0 and below 1; is met to 1 in 8 million.

    Raises
    ------
    TypeError, ValueError
        If `rate` is not such a number.

    Examples
    --------
    >>> import dnn
    >>> layers = [dnn.Dense(64, "relu"), dnn.Dropout(0.5), dnn.Dense(10, "softmax")]
    >>> model = dnn.Sequential(layers, seed=1)
    """

    kind: ClassVar[str] = "dropout"
    rate: float

    def __post_init__(self) -> None:
        rate(self.rate)


@dataclass(frozen=True)
class AlphaDropout(Layer):
    """Dropout for selu: keeps mean 0 and variance 1, where the inputs have them.

    With probability rate an input becomes alpha' = -1.7581, the lowest value of selu; then y = a x + b with
    a = ((1 - rate) (1 + rate alpha'^2))^(-1/2) and b = -a rate alpha'. In use nothing changes. The source is
    Klambauer et al., Self-normalizing neural networks, 2017; rates of 0.05 to 0.1 are theirs.

    Parameters
    ----------
    rate : float
        Probability of alpha', at least 0 and below 1; is met to 1 in 8 million.

    Raises
    ------
    TypeError, ValueError
        If `rate` is not such a number.

    Examples
    --------
    >>> import dnn
    >>> hidden = dnn.Dense(64, "selu", weight_initializer="lecun_normal")
    >>> model = dnn.Sequential([hidden, dnn.AlphaDropout(0.05), dnn.Dense(10, "softmax")], seed=1)
    """

    kind: ClassVar[str] = "alpha_dropout"
    rate: float

    def __post_init__(self) -> None:
        rate(self.rate)


@dataclass(frozen=True)
class GaussianNoise(Layer):
    """Adds normal noise while the network learns: y = x + std n, each n standard normal. In use y = x.

    In front of the first layer it is like more data, a little beside those there are.

    Parameters
    ----------
    std : float
        Standard deviation, in units of x, 0 or more. No n is beyond 5.3.

    Raises
    ------
    TypeError, ValueError
        If `std` is not such a number.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.GaussianNoise(0.1), dnn.Dense(16, "relu"), dnn.Dense(1)], seed=1)
    """

    kind: ClassVar[str] = "gaussian_noise"
    std: float

    def __post_init__(self) -> None:
        _checks.number(self.std, "std", at_least=0.0)


def rate(value: object) -> float:
    """`value` as a probability that leaves something over."""
    return _checks.number(value, "rate", at_least=0.0, below=1.0)
