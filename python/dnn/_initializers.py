"""Initializers: how the first weights are drawn, by name, by dataclass or as an array.

A name, instance or array comes in, the canonical form goes out. Nothing is drawn here.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dnn import _arrays, _checks
from dnn._checks import counted
from dnn._dataclass import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Names without parameters, as the extension spells them.
NAMES = (
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "zeros",
    "ones",
    "identity",
    "lsuv",
)
# "auto" needs the size and activation of a layer of weights; a bias has none.
WEIGHT_NAMES = (*NAMES, "orthogonal", "auto")
BIAS_NAMES = ("zeros", "ones")

_RELU_FAMILY = (
    "relu",
    "relu6",
    "leaky_relu",
    "prelu",
    "elu",
    "celu",
    "gelu",
    "gelu_tanh",
    "silu",
    "mish",
    "hard_swish",
)


class Initializer:
    """Base of the initializers that have parameters."""

    name: ClassVar[str]


@dataclass(frozen=True)
class Constant(Initializer):
    """Every element starts at the same value.

    Parameters
    ----------
    value : float
        The value, finite.

    Raises
    ------
    TypeError, ValueError
        If `value` is not a finite number.

    Examples
    --------
    >>> import dnn
    >>> dnn.Dense(4, "relu", bias_initializer=dnn.Constant(0.1)).bias_initializer
    Constant(value=0.1)
    """

    name: ClassVar[str] = "constant"
    value: float

    def __post_init__(self) -> None:
        _checks.number(self.value, "value")


@dataclass(frozen=True)
class Uniform(Initializer):
    """Every element is drawn evenly from low to high.

    Parameters
    ----------
    low, high : float, default -0.05 and 0.05
        Ends of the range, `low` below `high`.

    Raises
    ------
    TypeError, ValueError
        If an end is not a finite number, or `low` is not below `high`.

    Examples
    --------
    >>> import dnn
    >>> dnn.Uniform(low=-1.0, high=1.0)
    Uniform(low=-1.0, high=1.0)
    """

    name: ClassVar[str] = "uniform"
    _: KW_ONLY
    low: float = -0.05
    high: float = 0.05

    def __post_init__(self) -> None:
        low = _checks.number(self.low, "low")
        _checks.number(self.high, "high", above=low)


@dataclass(frozen=True)
class Normal(Initializer):
    """Every element is drawn from a normal distribution.

    Parameters
    ----------
    mean : float, default 0.0
        Its mean.
    std : float, default 0.05
        Its standard deviation, above 0.

    Raises
    ------
    TypeError, ValueError
        If either is not a finite number, or `std` is not above 0.

    Examples
    --------
    >>> import dnn
    >>> dnn.Normal(std=0.1)
    Normal(mean=0.0, std=0.1)
    """

    name: ClassVar[str] = "normal"
    _: KW_ONLY
    mean: float = 0.0
    std: float = 0.05

    def __post_init__(self) -> None:
        _checks.number(self.mean, "mean")
        _checks.number(self.std, "std", above=0.0)


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """A normal distribution without tails: what is beyond two standard deviations is drawn again.

    Keras's TruncatedNormal.

    Parameters
    ----------
    mean : float, default 0.0
        Middle of the distribution.
    std : float, default 0.05
        Standard deviation before the tails are cut off, above 0; that of what is drawn is 0.88 times as
        large.

    Raises
    ------
    TypeError, ValueError
        If `mean` is not a finite number, or `std` not one above 0.

    Examples
    --------
    >>> import dnn
    >>> dnn.TruncatedNormal(std=0.1)
    TruncatedNormal(mean=0.0, std=0.1)
    """

    name: ClassVar[str] = "truncated_normal"
    _: KW_ONLY
    mean: float = 0.0
    std: float = 0.05

    def __post_init__(self) -> None:
        _checks.number(self.mean, "mean")
        _checks.number(self.std, "std", above=0.0)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """A random orthogonal matrix: signals and deltas keep their length, times `gain`, on their way.

    The columns of W (its rows, where there are fewer of them) have length `gain` and stand on each other
    (Saxe, McClelland and Ganguli 2014); Keras's Orthogonal and PyTorch's orthogonal_. For weights alone.
    Takes seconds for a thousand units, a minute for four thousand.

    Parameters
    ----------
    gain : float, default 1.0
        Length of the vectors; sqrt(2) suits relu.

    Raises
    ------
    TypeError, ValueError
        If `gain` is not a finite number.

    Examples
    --------
    >>> import dnn
    >>> layers = [dnn.Input(3), dnn.Dense(2, weight_initializer="orthogonal")]
    >>> w = dnn.Sequential(layers, seed=1, dtype="float64").get_weights()[0]
    >>> (w.T @ w).round(12).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    name: ClassVar[str] = "orthogonal"
    gain: float = 1.0

    def __post_init__(self) -> None:
        _checks.number(self.gain, "gain")


class Array:
    """Initial values given as an array: a copy that can't be written, so that a layer stays what was said."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values.copy()
        self.values.flags.writeable = False

    def __repr__(self) -> str:
        return f"Array(shape={self.values.shape})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash((self.values.shape, self.values.tobytes()))


WITH_PARAMETERS: dict[str, type[Initializer]] = {
    "constant": Constant,
    "uniform": Uniform,
    "normal": Normal,
    "truncated_normal": TruncatedNormal,
    "orthogonal": Orthogonal,
}


def resolve(initializer: object, argument: str, units: int) -> str | Initializer | Array:
    """What `initializer` stands for.

    `argument` is "weight_initializer" or "bias_initializer", of a layer of so many `units`.
    """
    is_bias = argument == "bias_initializer"
    if is_bias and isinstance(initializer, Orthogonal):
        raise ValueError(f"{argument} is {initializer!r}, which is for weights; use 'zeros' or an array")
    if isinstance(initializer, (Initializer, Array)):
        return initializer
    if isinstance(initializer, str):
        if initializer == "orthogonal" and not is_bias:
            return Orthogonal()
        return _checks.name_in(initializer, argument, BIAS_NAMES if is_bias else WEIGHT_NAMES, hints=_HINTS)
    if isinstance(initializer, type) and issubclass(initializer, Initializer):
        name = initializer.__name__
        raise TypeError(f"{argument} is the class {name}; make one of it: {name}(...)")
    if initializer is None or callable(initializer) or isinstance(initializer, (bool, int, float)):
        raise TypeError(
            f"{argument} must be a name, one of Constant(...), Uniform(...), Normal(...), or an array, got "
            f"{_checks.shown(initializer)}"
        )
    return Array(_shaped(_arrays.numeric(initializer, argument), argument, units))


_HINTS = {name: f"write dnn.{cls.__name__}(...)" for name, cls in WITH_PARAMETERS.items()}


def _shaped(values: NDArray[Any], argument: str, units: int) -> NDArray[Any]:
    """`values`, refused unless it is (n_in, units) for weights and (units,) for a bias."""
    need = f"({units},)" if argument == "bias_initializer" else f"(n_in, {units})"
    n_dims = 1 if argument == "bias_initializer" else 2
    if values.ndim != n_dims or values.shape[-1] != units or values.size == 0:
        layer = counted(units, "unit")
        raise ValueError(f"{argument} has shape {values.shape}, but a layer of {layer} needs {need}")
    return values


def automatic(activation: str) -> str:
    """What "auto" means before `activation`: the variance that keeps signals of one size through the layers.

    He et al. 2015 for rectifiers, LeCun's for selu (Klambauer et al. 2017), Glorot and Bengio 2010 otherwise.
    """
    if activation in _RELU_FAMILY:
        return "he_normal"
    return "lecun_normal" if activation == "selu" else "glorot_uniform"
