"""Layers: what a network is made of, as frozen dataclasses that hold what was said.

Numbers, names and initial arrays come in and are checked; no weights and no state are ever kept here.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from dnn import _activations, _checks, _initializers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from dnn._activations import Activation as Curve
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


class Layer:
    """Base of the layers. Those without units of their own are as wide as the layer below."""

    kind: ClassVar[str]

    def width(self, n_in: int | None) -> int | None:
        """The number of outputs for `n_in` inputs, None where that isn't known yet."""
        return n_in

    def arrays(self, n_in: int) -> list[tuple[str, tuple[int, ...]]]:
        """What its arrays of parameters are called, with their shapes, in the order of `get_weights`."""
        return []

    @property
    def output(self) -> str:
        """The name of the activation its outputs come from."""
        return "identity"


@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected layer: z = x W + b, a = f(z).

    Parameters
    ----------
    units : int
        Number of outputs, 1 or more.
    activation : str or LeakyReLU or ELU, optional
        f: a name in docs/activations.md, such as relu, tanh, sigmoid, gelu, silu or mish; on the last layer
        also softmax. None is the identity.
    use_bias : bool, default True
        Whether b is there.
    weight_initializer : str, Constant, Uniform, Normal or array of shape (n_in, units), default
    "glorot_uniform"
        First values of W: glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal,
        orthogonal, identity, zeros, ones, lsuv (orthogonal, then divided before the first step so that z has
        variance 1 on 512 of the training rows; Mishkin and Matas 2016), or "auto" (he_normal for relu and
        its relatives, lecun_normal for selu, glorot_uniform otherwise).
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

    kind: ClassVar[str] = "dense"
    units: int
    activation: str | Curve | None = None
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

    def width(self, n_in: int | None) -> int | None:
        return int(self.units)

    def arrays(self, n_in: int) -> list[tuple[str, tuple[int, ...]]]:
        weights, bias = ("weights", (n_in, int(self.units))), ("bias", (int(self.units),))
        return [weights, bias] if self.use_bias else [weights]

    @property
    def output(self) -> str:
        return _activations.name_of(self.activation)


@dataclass(frozen=True)
class Activation(Layer):
    """An activation as a layer of its own: a = f(x), element by element; softmax by rows.

    Directly behind a `Dense` without an activation it is computed together with it, at no cost.

    Parameters
    ----------
    activation : str or LeakyReLU or ELU
        As for `Dense`; softmax on the last layer only.

    Raises
    ------
    TypeError, ValueError
        If the activation is unknown, or can't be trained.

    Examples
    --------
    >>> import dnn
    >>> layers = [dnn.Input(2), dnn.Dense(16), dnn.Activation("tanh"), dnn.Dense(1)]
    >>> dnn.Sequential(layers, seed=1).predict([[0.0, 0.0]])
    array([[0.]], dtype=float32)
    """

    kind: ClassVar[str] = "activation"
    activation: str | Curve

    def __post_init__(self) -> None:
        if self.activation is None:
            raise TypeError("activation must be a name such as 'relu', got None")
        _activations.resolve(self.activation)

    @property
    def output(self) -> str:
        return _activations.name_of(self.activation)


class Placed(NamedTuple):
    """A layer at its place in a network: what messages call it, and how many inputs it has, if known."""

    name: str
    layer: Layer
    n_in: int | None


def placed(layers: Sequence[Layer], n_inputs: int | None) -> list[Placed]:
    """The layers with their names and widths, in the order in which x goes through them."""
    found, width = [], n_inputs
    for position, layer in enumerate(layers, 1):
        found.append(Placed(str(position), layer, width))
        width = layer.width(width)
    return found


def n_outputs(layers: Sequence[Layer]) -> int:
    """The number of outputs of a network that was checked."""
    width = None
    for layer in layers:
        width = layer.width(width)
    if width is None:
        raise ValueError("layers has no Dense layer")
    return width


def checked(layers: Any) -> tuple[int | None, tuple[Layer, ...]]:
    """The number of inputs, if an `Input` says it, and the layers of `layers`, which has to be a network."""
    given = _checks.sequence(layers, "layers", "Sequential([Dense(16, 'relu'), Dense(1)])")
    n_inputs = None
    if given and isinstance(given[0], Input):
        n_inputs = int(given.pop(0).n)
    for position, layer in enumerate(given, 1):
        _check_layer(layer, position)
    if not any(isinstance(layer, Dense) for layer in given):
        raise ValueError("layers has no Dense layer; give at least one, for example [Dense(1)]")
    everything = placed(given, n_inputs)
    for place in everything:
        if place.layer.output == "softmax":
            _check_softmax(place, is_last=place is everything[-1])
    return n_inputs, tuple(given)


def _check_layer(layer: Any, position: int) -> None:
    if isinstance(layer, Input):
        raise ValueError(f"layer {position} is an Input; an Input stands in front of all other layers")
    if isinstance(layer, type) and issubclass(layer, (Layer, Input)):
        raise TypeError(
            f"layer {position} is the class {layer.__name__}; make one of it: {layer.__name__}(...)"
        )
    if not isinstance(layer, Layer):
        raise TypeError(
            f"layer {position} must be a layer such as Dense(16, 'relu'), got {_checks.shown(layer)}"
        )


def _check_softmax(place: Placed, *, is_last: bool) -> None:
    if not is_last:
        raise ValueError(
            f"layer {place.name} has activation 'softmax', which belongs on the last layer; use 'relu' or "
            "'tanh' on hidden layers"
        )
    if place.layer.width(place.n_in) == 1:
        raise ValueError(
            f"layer {place.name} is a softmax of one unit, which is always 1; use 'sigmoid' for two "
            "classes, or give it one unit for each class"
        )
