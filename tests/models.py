"""Short ways to say a model, and to ask whether two are the same."""

from __future__ import annotations

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
    pairs = zip(a.get_weights(), b.get_weights(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)
