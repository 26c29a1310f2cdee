"""Short ways to say a model, and to ask whether two are the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dnn
import numpy as np
from numpy.typing import NDArray

Table = tuple[NDArray[Any], NDArray[Any]]


def model_of(*layers: Any, **arguments: Any) -> dnn.Sequential:
    """A Sequential with seed 1, if nothing else is said."""
    return dnn.Sequential(list(layers), **{"seed": 1, **arguments})


def same(a: dnn.Sequential, b: dnn.Sequential) -> bool:
    """Whether two models have the same bits."""
    return same_bits(a.get_weights(), b.get_weights())


def same_bits(ones: Iterable[Any], others: Iterable[Any]) -> bool:
    """Whether arrays have the same bits: -0 is not 0, and NaN is itself."""

    def bits(array: Any) -> tuple[str, tuple[int, ...], bytes]:
        array = np.asarray(array)
        return array.dtype.str, array.shape, array.tobytes()

    return [bits(one) for one in ones] == [bits(other) for other in others]
