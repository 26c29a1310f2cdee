"""Activations: the names users write, and those that have a parameter of their own as dataclasses.

A name or an instance comes in, the canonical name or instance goes out. No formula is computed here.
"""

from __future__ import annotations

from typing import ClassVar

from dnn import _checks
from dnn._dataclass import dataclass

# Names without parameters, as the extension spells them.
NAMES = (
    "identity",
    "sigmoid",
    "tanh",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "celu",
    "selu",
    "gelu",
    "gelu_tanh",
    "silu",
    "mish",
    "hard_sigmoid",
    "hard_swish",
    "exponential",
    "softplus",
    "softsign",
    "softmax",
)
# scikit-learn's and Keras's spellings where they are others.
ALIASES = {"linear": "identity", "logistic": "sigmoid", "swish": "silu", "hard_silu": "hard_swish"}
_HINTS = {
    "parametric_relu": "write 'prelu'",
    "hardsigmoid": "write 'hard_sigmoid'",
    "hardswish": "write 'hard_swish'",
    "exp": "write 'exponential'",
    "gelu_approximate": "write 'gelu_tanh'",
}

# Their derivative is zero wherever it exists, so gradient descent has nothing to go by.
STEPS = ("step", "heaviside", "sign", "binary_step", "threshold")


class Activation:
    """Base of the activations that have parameters."""

    name: ClassVar[str]


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """Rectifier that lets a little through on the negative side: a = z for z > 0, slope * z otherwise.

    Parameters
    ----------
    slope : float, default 0.01
        Factor on the negative side, at least 0 and below 1.

    Raises
    ------
    TypeError, ValueError
        If `slope` is not such a number.

    Examples
    --------
    >>> import dnn
    >>> dnn.Dense(16, dnn.LeakyReLU(0.2)).activation
    LeakyReLU(slope=0.2)
    """

    name: ClassVar[str] = "leaky_relu"
    slope: float = 0.01

    def __post_init__(self) -> None:
        _checks.number(self.slope, "slope", at_least=0.0, below=1.0)


@dataclass(frozen=True)
class ELU(Activation):
    """Exponential linear unit: a = z for z > 0, alpha * (exp(z) - 1) otherwise.

    Parameters
    ----------
    alpha : float, default 1.0
        Minus the value that is approached for very negative z, above 0.

    Raises
    ------
    TypeError, ValueError
        If `alpha` is not a finite number above 0.

    Examples
    --------
    >>> import dnn
    >>> dnn.Dense(16, dnn.ELU(alpha=0.5)).activation
    ELU(alpha=0.5)
    """

    name: ClassVar[str] = "elu"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        _checks.number(self.alpha, "alpha", above=0.0)


@dataclass(frozen=True)
class CELU(Activation):
    """Continuously differentiable ELU: a = z for z > 0, alpha * (exp(z / alpha) - 1) otherwise.

    Its slope at 0 is 1 from both sides, whatever alpha is (Barron 2017, "Continuously Differentiable
    Exponential Linear Units"); PyTorch's and Keras's `celu`.

    Parameters
    ----------
    alpha : float, default 1.0
        Minus the value that is approached for very negative z, from 1e-6 to 1e6.

    Raises
    ------
    TypeError, ValueError
        If `alpha` is not such a number.

    Examples
    --------
    >>> import dnn
    >>> dnn.Dense(16, dnn.CELU(alpha=0.5)).activation
    CELU(alpha=0.5)
    """

    name: ClassVar[str] = "celu"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        _checks.number(self.alpha, "alpha", at_least=1e-6, at_most=1e6)


@dataclass(frozen=True)
class PReLU(Activation):
    """Rectifier that learns its slopes on the negative side: a = z for z > 0, slope_j * z otherwise.

    Each unit j has a slope of its own. The source is He et al., Delving deep into rectifiers, 2015; the first
    slope is theirs and PyTorch's (Keras begins with 0). The slopes are weights: `get_weights` has them behind
    those of the layer, and penalties leave them alone. At z = 0 the derivative is the slope.

    Parameters
    ----------
    slope : float, default 0.25
        Where all slopes begin.
    trainable : bool, default True
        False keeps them there.

    Raises
    ------
    TypeError, ValueError
        If `slope` is not a finite number, or `trainable` no bool.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Input(2), dnn.Dense(3, "prelu"), dnn.Dense(1)])
    >>> [array.shape for array in model.get_weights()]
    [(2, 3), (3,), (3,), (3, 1), (1,)]
    """

    name: ClassVar[str] = "prelu"
    slope: float = 0.25
    trainable: bool = True

    def __post_init__(self) -> None:
        _checks.number(self.slope, "slope")
        _checks.boolean(self.trainable, "trainable")


WITH_PARAMETERS: dict[str, type[Activation]] = {
    "prelu": PReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "celu": CELU,
}
# Its slopes are parameters, so it is no function alone.
LEARNED = ("prelu",)


def resolve(activation: object) -> str | Activation:
    """The canonical name, or the instance, that `activation` (None, a name or an instance) stands for."""
    if activation is None:
        return "identity"
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, type) and issubclass(activation, Activation):
        raise TypeError(
            f"activation is the class {activation.__name__}; make one of it: {activation.__name__}()"
        )
    if not isinstance(activation, str):
        raise TypeError(
            "activation must be a name or one of LeakyReLU(...), ELU(...), CELU(...), PReLU(...), got "
            f"{_checks.shown(activation)}; names: {', '.join((*NAMES, *LEARNED))}"
        )
    if activation.lower() in STEPS:
        raise ValueError(
            f"activation {activation!r} can't be trained: its derivative is zero almost everywhere, so "
            "gradient descent learns nothing; use 'sigmoid' (a smooth step from 0 to 1), 'tanh' (from -1 "
            "to 1) or 'relu'"
        )
    name = _checks.name_in(activation, "activation", (*NAMES, *LEARNED), ALIASES, _HINTS)
    return WITH_PARAMETERS[name]() if name in WITH_PARAMETERS else name


def name_of(activation: object) -> str:
    """The canonical name of what `activation` stands for, without its parameters."""
    resolved = resolve(activation)
    return resolved if isinstance(resolved, str) else resolved.name
