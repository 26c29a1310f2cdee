"""Layers: what a network is made of, as frozen dataclasses that hold what was said.

Numbers, names and initial arrays come in and are checked; no weights and no state are ever kept here.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from dnn import _activations, _checks, _initializers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from dnn._activations import Activation
    from dnn._initializers import Array, Initializer


@dataclass(frozen=True)
class Input:
    """The number of columns of x, said beforehand, so that a network has weights before it has seen data.

    Optional: without it, the first `fit` or `set_weights` tells.

    Parameters
    ----------
    n : int
        Columns of x, 1 or more.

    Raises
    ------
    TypeError, ValueError
        If `n` is not a whole number of at least 1.

    Examples
    --------
    >>> import dnn
    >>> layers = [dnn.Input(2), dnn.Dense(16, "relu"), dnn.Dense(16, "relu"), dnn.Dense(1)]
    >>> dnn.Sequential(layers).n_parameters
    337
    """

    n: int

    def __post_init__(self) -> None:
        _checks.integer(self.n, "n", 1)


@dataclass(frozen=True)
class Dense:
    """A fully connected layer: z = x W + b, a = f(z).

    Parameters
    ----------
    units : int
        Number of outputs, 1 or more.
    activation : str or LeakyReLU or ELU, optional
        f: identity (or linear), sigmoid (logistic), tanh, relu, leaky_relu, elu, selu, gelu, gelu_tanh, silu
        (swish), softplus, softsign; on the last layer also softmax. None is the identity.
    use_bias : bool, default True
        Whether b is there.
    weight_initializer : str, Constant, Uniform, Normal or array of shape (n_in, units), default
    "glorot_uniform"
        First values of W: glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal,
        zeros, ones, or "auto" (he_normal for relu and its relatives, lecun_normal for selu, glorot_uniform
        otherwise).
    bias_initializer : str, Constant, Uniform, Normal or array of shape (units,), default "zeros"
        First values of b: zeros or ones by name.
    l1, l2 : float, default 0.0
        Adds l1 * sum(abs(W)) + l2 * sum(W**2) to the loss, 0 or more. Biases are left alone.
    trainable : bool, default True
        False keeps W and b as they are.
    trainable_bias : bool, default True
        False keeps b as it is.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, an unknown name or a value out of range.

    Examples
    --------
    >>> import dnn
    >>> layer = dnn.Dense(64, "relu", l2=1e-4)
    >>> layer.units, layer.activation, layer.l2
    (64, 'relu', 0.0001)
    """

    units: int
    activation: str | Activation | None = None
    _: KW_ONLY
    use_bias: bool = True
    weight_initializer: str | Initializer | Array | ArrayLike = "glorot_uniform"
    bias_initializer: str | Initializer | Array | ArrayLike = "zeros"
    l1: float = 0.0
    l2: float = 0.0
    trainable: bool = True
    trainable_bias: bool = True

    def __post_init__(self) -> None:
        units = _checks.integer(self.units, "units", 1)
        _activations.resolve(self.activation)
        for flag in ("use_bias", "trainable", "trainable_bias"):
            _checks.boolean(getattr(self, flag), flag)
        for factor in ("l1", "l2"):
            _checks.number(getattr(self, factor), factor, at_least=0.0)
        for argument in ("weight_initializer", "bias_initializer"):
            resolved = _initializers.resolve(getattr(self, argument), argument, units)
            # An array is replaced by a copy, so that the layer doesn't change with the user's array.
            object.__setattr__(self, argument, resolved)


def checked(layers: Any) -> tuple[int | None, tuple[Dense, ...]]:
    """The number of inputs, if an `Input` says it, and the layers of `layers`, which has to be a network."""
    given = _checks.sequence(layers, "layers", "Sequential([Dense(16, 'relu'), Dense(1)])")
    n_inputs = None
    if given and isinstance(given[0], Input):
        n_inputs = int(given.pop(0).n)
    if not given:
        raise ValueError("layers has no Dense layer; give at least one, for example [Dense(1)]")
    for position, layer in enumerate(given, 1):
        if isinstance(layer, Input):
            raise ValueError(f"layer {position} is an Input; an Input stands in front of all other layers")
        if isinstance(layer, type) and issubclass(layer, (Dense, Input)):
            raise TypeError(
                f"layer {position} is the class {layer.__name__}; make one of it: {layer.__name__}(...)"
            )
        if not isinstance(layer, Dense):
            raise TypeError(
                f"layer {position} must be a layer such as Dense(16, 'relu'), got {_checks.shown(layer)}"
            )
        is_softmax = _activations.name_of(layer.activation) == "softmax"
        if is_softmax and position < len(given):
            raise ValueError(
                f"layer {position} has activation 'softmax', which belongs on the last layer; use 'relu' or "
                "'tanh' on hidden layers"
            )
        if is_softmax and layer.units == 1:
            raise ValueError(
                f"layer {position} is a softmax of one unit, which is always 1; use 'sigmoid' for two "
                "classes, or give it one unit for each class"
            )
    return n_inputs, tuple(given)
