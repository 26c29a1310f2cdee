"""Layers: what a network is made of, as frozen dataclasses that hold what was said.

Numbers, names and initial arrays come in and are checked; no weights and no state are ever kept here.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from dnn import _activations, _checks, _initializers
from dnn._checks import counted
from dnn._dataclass import dataclass

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
    max_norm : float, optional
        Above 0. After each step a column of W, the weights into one unit, whose Euclidean norm is above it is
        scaled to it (Srivastava et al. 2014; Keras's MaxNorm on axis 0). Not for `LBFGS`.
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
    max_norm: float | None = None
    trainable: bool = True
    trainable_bias: bool = True

    def __post_init__(self) -> None:
        units = _checks.integer(self.units, "units", 1)
        _activations.resolve(self.activation)
        for flag in ("use_bias", "trainable", "trainable_bias"):
            _checks.boolean(getattr(self, flag), flag)
        for factor in ("l1", "l2"):
            _checks.number(getattr(self, factor), factor, at_least=0.0)
        if self.max_norm is not None:
            _checks.number(self.max_norm, "max_norm", above=0.0)
        for argument in ("weight_initializer", "bias_initializer"):
            resolved = _initializers.resolve(getattr(self, argument), argument, units)
            # An array is replaced by a copy, so that the layer doesn't change with the user's array.
            object.__setattr__(self, argument, resolved)

    def width(self, n_in: int | None) -> int | None:
        return int(self.units)

    def arrays(self, n_in: int) -> list[tuple[str, tuple[int, ...]]]:
        units = (int(self.units),)
        bias = [("bias", units)] if self.use_bias else []
        return [("weights", (n_in, *units)), *bias, *_slopes(self.output, *units)]

    @property
    def output(self) -> str:
        return _activations.name_of(self.activation)


@dataclass(frozen=True)
class Activation(Layer):
    """An activation as a layer of its own: a = f(x), element by element; softmax by rows.

    Directly behind a `Dense` without an activation it is computed together with it, at no cost. An activation
    with parameters, such as `LeakyReLU(0.2)`, may stand among the layers as it is.

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

    def arrays(self, n_in: int) -> list[tuple[str, tuple[int, ...]]]:
        return _slopes(self.output, n_in)

    def __post_init__(self) -> None:
        if self.activation is None:
            raise TypeError("activation must be a name such as 'relu', got None")
        _activations.resolve(self.activation)

    @property
    def output(self) -> str:
        return _activations.name_of(self.activation)


def _slopes(activation: str, units: int) -> list[tuple[str, tuple[int, ...]]]:
    return [("slope", (units,))] if activation == "prelu" else []


# More would only be written by a program that has lost its way.
MAX_DEPTH = 20


@dataclass(frozen=True)
class Residual(Layer):
    """Layers, and a connection past them: y = x + f(x), with f the layers.

    f has to come out as wide as x. Gradients reach the layers below through the connection unchanged, which
    is what keeps very deep networks trainable. The source is He et al., Deep residual learning for image
    recognition, 2016.

    Parameters
    ----------
    layers : list of layers
        f, first to last, at least one; `Residual` may stand within `Residual`. An activation behind the sum
        is an `Activation` behind the `Residual`.

    Raises
    ------
    TypeError, ValueError
        If these are no layers, or there are none, or more than 20 stand within each other.

    Examples
    --------
    >>> import dnn
    >>> block = dnn.Residual([dnn.Dense(16, "relu"), dnn.Dense(16)])
    >>> model = dnn.Sequential([dnn.Dense(16, "relu"), block, block, dnn.Dense(1)])
    """

    kind: ClassVar[str] = "residual"
    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        given = _checks.sequence(self.layers, "layers", "Residual([Dense(16, 'relu'), Dense(16)])")
        if not given:
            raise ValueError("layers of Residual is empty; give at least one layer")
        layers = tuple(_layer(layer, f"layer {at} of Residual") for at, layer in enumerate(given, 1))
        object.__setattr__(self, "layers", layers)
        if self.depth > MAX_DEPTH:
            raise ValueError(f"Residual within Residual more than {MAX_DEPTH} deep")

    @property
    def depth(self) -> int:
        """How many stand within each other."""
        return 1 + max((layer.depth for layer in self.layers if isinstance(layer, Residual)), default=0)

    def width(self, n_in: int | None) -> int | None:
        width = n_in
        for layer in self.layers:
            width = layer.width(width)
        return width if n_in is None else n_in


class Placed(NamedTuple):
    """A layer at its place in a network: what messages call it, and how many inputs it has, if known."""

    name: str
    layer: Layer
    n_in: int | None


def placed(layers: Sequence[Layer], n_inputs: int | None, within: str = "") -> list[Placed]:
    """The layers with their names and widths, in the order in which x goes through them.

    What is within a layer comes before it. ValueError where a residual connection does not fit.
    """
    found, width = [], n_inputs
    for position, layer in enumerate(layers, 1):
        name = f"{within}{position}"
        if isinstance(layer, Residual):
            found += placed(layer.layers, width, f"{name}.")
            result = found[-1].layer.width(found[-1].n_in)
            if width is not None and result != width:
                raise ValueError(
                    f"layer {name} adds its input, which is {width} wide, to what its layers make of it, "
                    f"which is {result} wide; give the last of them {counted(width, 'unit')}"
                )
        found.append(Placed(name, layer, width))
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
    network = tuple(_layer(layer, f"layer {position}") for position, layer in enumerate(given, 1))
    everything = placed(network, n_inputs)
    if not any(isinstance(place.layer, Dense) for place in everything):
        raise ValueError("layers has no Dense layer; give at least one, for example [Dense(1)]")
    for place in everything:
        if place.layer.output == "softmax":
            _check_softmax(place, is_last=place is everything[-1])
    return n_inputs, network


def _layer(layer: Any, title: str) -> Layer:
    """`layer`, or the activation that it is as a layer."""
    if isinstance(layer, _activations.Activation):
        return Activation(layer)
    if isinstance(layer, Input):
        raise ValueError(f"{title} is an Input; an Input stands in front of all other layers")
    if isinstance(layer, type) and issubclass(layer, (Layer, Input, _activations.Activation)):
        raise TypeError(f"{title} is the class {layer.__name__}; make one of it: {layer.__name__}(...)")
    if not isinstance(layer, Layer):
        raise TypeError(f"{title} must be a layer such as Dense(16, 'relu'), got {_checks.shown(layer)}")
    return layer


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
