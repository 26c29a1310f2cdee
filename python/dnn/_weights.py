"""Weights: which arrays a network has, in which order and shapes, and those of users made to fit.

In: layers and users' arrays. Out: names, shapes, checked arrays. Never changes a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnn import _arrays, _checks
from dnn._initializers import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dnn._layers import Dense


class Slot(NamedTuple):
    """One array of parameters: which layer it belongs to (counted from 1), what it is, and its shape."""

    layer: int
    kind: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def title(self) -> str:
        return f"{self.kind} of layer {self.layer}"


def slots(layers: Sequence[Dense], n_inputs: int) -> list[Slot]:
    """The arrays of a network in order: W (n_in, units) and, with a bias, b (units,) of each layer."""
    found = []
    for position, layer in enumerate(layers, 1):
        found.append(Slot(position, "weights", (n_inputs, int(layer.units))))
        if layer.use_bias:
            found.append(Slot(position, "bias", (int(layer.units),)))
        n_inputs = int(layer.units)
    return found


def initial(
    layers: Sequence[Dense], n_inputs: int, drawn: list[NDArray[Any]], dtype: str
) -> list[NDArray[Any]]:
    """The arrays `drawn` by the extension, with those in place that users gave as initializers."""
    arrays = list(drawn)
    for at, slot in enumerate(slots(layers, n_inputs)):
        argument = "weight_initializer" if slot.kind == "weights" else "bias_initializer"
        given = getattr(layers[slot.layer - 1], argument)
        if isinstance(given, Array):
            arrays[at] = _arrays.exact(given.values, f"{argument} of layer {slot.layer}", slot.shape, dtype)
    return arrays


def has_arrays(layers: Sequence[Dense]) -> bool:
    """Whether any initializer is an array."""
    return any(
        isinstance(f, Array) for layer in layers for f in (layer.weight_initializer, layer.bias_initializer)
    )


def checked(given: Any, layers: Sequence[Dense], n_inputs: int | None, dtype: str) -> list[NDArray[Any]]:
    """`given`, a list of arrays, as new arrays that fit; `n_inputs` None takes it from the first."""
    example = "model.set_weights([W1, b1, W2, b2])"
    if isinstance(given, np.ndarray) and given.dtype.kind != "O":
        raise TypeError(
            f"weights must be a list of arrays, got one array of shape {given.shape}; write {example}"
        )
    arrays = _checks.sequence(given, "weights", example)
    expected = slots(layers, n_inputs or 1)
    if len(arrays) != len(expected):
        titles = ", ".join(slot.title for slot in expected[:4]) + (", ..." if len(expected) > 4 else "")
        raise ValueError(f"weights has {len(arrays)} arrays, but the network has {len(expected)}: {titles}")
    if n_inputs is None:
        first = _arrays.table(arrays[0], "weights[0] (weights of layer 1)")
        expected = slots(layers, first.shape[0])
    return [
        _arrays.exact(array, f"weights[{at}] ({slot.title})", slot.shape, dtype)
        for at, (array, slot) in enumerate(zip(arrays, expected, strict=True))
    ]


def unflattened(given: Any, expected: Sequence[Slot], dtype: str) -> list[NDArray[Any]]:
    """The 1-D vector `given` of all parameters, cut into the arrays `expected`."""
    flat = _arrays.exact(given, "flat_parameters", (sum(slot.size for slot in expected),), dtype)
    arrays, start = [], 0
    for slot in expected:
        arrays.append(flat[start : start + slot.size].reshape(slot.shape))
        start += slot.size
    return arrays
