"""Weights: which arrays a network has, in which order and shapes, and those of users made to fit.

In: layers and users' arrays. Out: names, shapes, checked arrays. Never changes a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnn import _arrays, _checks, _layers
from dnn._checks import counted
from dnn._initializers import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dnn._layers import Layer


class Slot(NamedTuple):
    """One array of parameters: what its layer is called and is, what the array is called, and its shape."""

    name: str
    layer: Layer
    kind: str
    shape: tuple[int, ...]

    @property
    def is_parameter(self) -> bool:
        """Whether it is there to be learned, and not gathered on the way."""
        return not self.kind.startswith("running_")

    @property
    def size(self) -> int:
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def title(self) -> str:
        return f"{self.kind} of layer {self.name}"


def slots(layers: Sequence[Layer], n_inputs: int) -> list[Slot]:
    """The arrays of a network in order: those of each layer, W (n_in, units) before b (units,)."""
    return [
        Slot(name, layer, kind, shape)
        for name, layer, n_in in _layers.placed(layers, n_inputs)
        for kind, shape in layer.arrays(n_in or n_inputs)
    ]


def initial(
    layers: Sequence[Layer], n_inputs: int, drawn: list[NDArray[Any]], dtype: str
) -> list[NDArray[Any]]:
    """The arrays `drawn` by the extension, with those in place that users gave as initializers."""
    arrays = list(drawn)
    for at, slot in enumerate(slots(layers, n_inputs)):
        argument = {"weights": "weight_initializer", "bias": "bias_initializer"}.get(slot.kind, "")
        given = getattr(slot.layer, argument, None)
        if isinstance(given, Array):
            arrays[at] = _arrays.fitting(given.values, f"{argument} of layer {slot.name}", slot.shape, dtype)
    return arrays


def has_arrays(layers: Sequence[Layer]) -> bool:
    """Whether any initializer is an array."""
    return any(
        isinstance(getattr(layer, argument, None), Array)
        for _, layer, _ in _layers.placed(layers, None)
        for argument in ("weight_initializer", "bias_initializer")
    )


def checked(given: Any, layers: Sequence[Layer], n_inputs: int | None, dtype: str) -> list[NDArray[Any]]:
    """`given`, a list of arrays, as arrays that fit; `n_inputs` None takes it from the first."""
    example = "model.set_weights([W1, b1, W2, b2])"
    if isinstance(given, np.ndarray) and given.dtype.kind != "O":
        raise TypeError(
            f"weights must be a list of arrays, got one array of shape {given.shape}; write {example}"
        )
    arrays = _checks.sequence(given, "weights", example)
    expected = slots(layers, n_inputs or 1)
    if len(arrays) != len(expected):
        titles = ", ".join(slot.title for slot in expected[:4]) + (", ..." if len(expected) > 4 else "")
        given = counted(len(arrays), "array")
        raise ValueError(f"weights has {given}, but the network has {len(expected)}: {titles}")
    if n_inputs is None:
        # The first array is as long as x is wide, whatever it is.
        title = f"weights[0] ({expected[0].title})"
        first = _arrays.numeric(arrays[0], title)
        if first.ndim != len(expected[0].shape):
            first = _arrays.table(arrays[0], title)
        expected = slots(layers, len(first))
    fitting = [
        _arrays.fitting(array, f"weights[{at}] ({slot.title})", slot.shape, dtype)
        for at, (array, slot) in enumerate(zip(arrays, expected, strict=True))
    ]
    for at, (array, slot) in enumerate(zip(fitting, expected, strict=True)):
        if slot.kind == "running_variance" and array.min() < 0:
            raise ValueError(
                f"weights[{at}] ({slot.title}) has {array.min():g}, but a variance is 0 or more; the "
                "order is gamma, beta, running mean, running variance"
            )
    return fitting


def unflattened(given: Any, expected: Sequence[Slot], dtype: str) -> list[NDArray[Any]]:
    """The 1-D vector `given` of all parameters, cut into the arrays `expected`."""
    flat = _arrays.fitting(given, "flat_parameters", (sum(slot.size for slot in expected),), dtype)
    arrays, start = [], 0
    for slot in expected:
        arrays.append(flat[start : start + slot.size].reshape(slot.shape))
        start += slot.size
    return arrays


def scale_by_data(layers: Sequence[Any]) -> bool:
    """Whether any layer is to be scaled by data before its first step."""
    return any(
        getattr(place.layer, "weight_initializer", None) == "lsuv" for place in _layers.placed(layers, None)
    )
