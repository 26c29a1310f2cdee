"""The activations of `numpy_mlp`: each as f, which fills a from z, and its pull-back, dL/da to dL/dz.

In and out: a `Layer`, the buffers of one batch in one layer, all (rows, units). Those that are timed against
other systems work in place, in four or five calls; the rarer ones are plain formulas with temporaries.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Layer:
    """What one batch leaves in one layer: z, a = f(z), delta = dL/da and then dL/dz, and room to compute."""

    def __init__(self, rows: int, units: int, dtype: Any):
        self.z, self.a, self.delta, self.scratch = (np.empty((rows, units), dtype) for _ in range(4))
        self.mask = np.empty((rows, units), bool)
        self.max, self.sum = np.empty((rows, 1), dtype), np.empty((rows, 1), dtype)
        self.ones = np.ones((units, 1), dtype)
        self.zero, self.one = np.zeros((), dtype), np.ones((), dtype)  # ufuncs take these faster than 0 and 1
        self.parameter = 0.0  # slope of leaky_relu, alpha of elu and celu


# ---- the first function of each pair fills a from z, the second turns delta from dL/da into dL/dz --------


def sigmoid(layer: Layer) -> None:
    np.negative(layer.z, out=layer.a)
    np.exp(layer.a, out=layer.a)
    np.add(layer.a, layer.one, out=layer.a)
    np.reciprocal(layer.a, out=layer.a)


def sigmoid_back(layer: Layer) -> None:
    """Multiply delta by a (1 - a)."""
    np.subtract(layer.one, layer.a, out=layer.scratch)
    np.multiply(layer.scratch, layer.a, out=layer.scratch)
    np.multiply(layer.delta, layer.scratch, out=layer.delta)


def tanh(layer: Layer) -> None:
    np.tanh(layer.z, out=layer.a)


def tanh_back(layer: Layer) -> None:
    """Multiply delta by 1 - a^2."""
    np.multiply(layer.a, layer.a, out=layer.scratch)
    np.subtract(layer.one, layer.scratch, out=layer.scratch)
    np.multiply(layer.delta, layer.scratch, out=layer.delta)


def relu(layer: Layer) -> None:
    np.maximum(layer.z, layer.zero, out=layer.a)


def relu_back(layer: Layer) -> None:
    np.greater(layer.z, layer.zero, out=layer.mask)
    np.multiply(layer.delta, layer.mask, out=layer.delta)


def softmax(layer: Layer) -> None:
    np.maximum.reduce(layer.z, axis=1, out=layer.max, keepdims=True)
    np.subtract(layer.z, layer.max, out=layer.a)
    np.exp(layer.a, out=layer.a)
    layer.a.dot(layer.ones, layer.sum)
    np.divide(layer.a, layer.sum, out=layer.a)


def softmax_back(layer: Layer) -> None:
    """Turn delta_i into a_i (delta_i - sum_k a_k delta_k)."""
    layer.delta -= (layer.a * layer.delta).sum(axis=1, keepdims=True)
    layer.delta *= layer.a


def identity(layer: Layer) -> None:
    layer.a = layer.z


def identity_back(layer: Layer) -> None:
    pass


SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017


@functools.cache
def erfc() -> Callable[[Array], Array]:
    """SciPy's, where it is installed: NumPy has none. Imported when used, because it takes a while."""
    try:
        from scipy.special import erfc as of_scipy
    except ImportError:
        return np.vectorize(math.erfc, otypes=[float])
    return of_scipy


def normal_cdf(z: Array) -> Array:
    return 0.5 * erfc()(-z / math.sqrt(2))


def logistic(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def gelu_tanh_inner(z: Array) -> Array:
    return np.tanh(SQRT_2_OVER_PI * (z + 0.044715 * z**3))


def gelu_tanh_slope(z: Array, _: float) -> Array:
    t = gelu_tanh_inner(z)
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * SQRT_2_OVER_PI * (1 + 3 * 0.044715 * z**2)


def elu_value(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def elu_slope(z: Array, alpha: float) -> Array:
    return np.where(z > 0, 1, alpha * np.exp(np.minimum(z, 0)))


def celu_value(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0) / alpha))


def mish_slope(z: Array, _: float) -> Array:
    t = np.tanh(np.logaddexp(0, z))
    return t + z * (1 - t * t) * logistic(z)


# The rest as plain formulas of z and the activation's parameter p: f(z), f'(z).
FORMULAS: dict[str, tuple[Callable[[Array, float], Array], Callable[[Array, float], Array]]] = {
    "leaky_relu": (lambda z, p: np.where(z > 0, z, p * z), lambda z, p: np.where(z > 0, 1, p)),
    "relu6": (lambda z, _: np.clip(z, 0, 6), lambda z, _: np.where((z > 0) & (z < 6), 1, 0)),
    "elu": (elu_value, elu_slope),
    "celu": (celu_value, lambda z, p: np.where(z > 0, 1, np.exp(np.minimum(z, 0) / p))),
    "selu": (
        lambda z, _: SELU_SCALE * elu_value(z, SELU_ALPHA),
        lambda z, _: SELU_SCALE * elu_slope(z, SELU_ALPHA),
    ),
    "gelu": (
        lambda z, _: z * normal_cdf(z),
        lambda z, _: normal_cdf(z) + z * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi),
    ),
    "gelu_tanh": (lambda z, _: 0.5 * z * (1 + gelu_tanh_inner(z)), gelu_tanh_slope),
    "silu": (
        lambda z, _: z * logistic(z),
        lambda z, _: logistic(z) * (1 + z * (1 - logistic(z))),
    ),
    "mish": (lambda z, _: z * np.tanh(np.logaddexp(0, z)), mish_slope),
    "hard_sigmoid": (
        lambda z, _: np.clip((z + 3) / 6, 0, 1),
        lambda z, _: np.where((z > -3) & (z < 3), 1 / 6, 0),
    ),
    "hard_swish": (
        lambda z, _: z * np.clip((z + 3) / 6, 0, 1),
        lambda z, _: np.where(z <= -3, 0, np.where(z >= 3, 1, z / 3 + 0.5)),
    ),
    "exponential": (lambda z, _: np.exp(z), lambda z, _: np.exp(z)),
    "softplus": (lambda z, _: np.logaddexp(0, z), lambda z, _: logistic(z)),
    "softsign": (lambda z, _: z / (1 + np.abs(z)), lambda z, _: 1 / (1 + np.abs(z)) ** 2),
}
DEFAULT_PARAMETER = {"leaky_relu": 0.01, "elu": 1.0, "celu": 1.0}


def from_formula(value: Callable, slope: Callable) -> tuple[Callable[[Layer], None], Callable[[Layer], None]]:
    def forward(layer: Layer) -> None:
        layer.a[...] = value(layer.z, layer.parameter)

    def backward(layer: Layer) -> None:
        layer.delta *= slope(layer.z, layer.parameter)

    return forward, backward


ACTIVATIONS = {
    "sigmoid": (sigmoid, sigmoid_back),
    "tanh": (tanh, tanh_back),
    "relu": (relu, relu_back),
    "softmax": (softmax, softmax_back),
    "identity": (identity, identity_back),
    **{name: from_formula(*formulas) for name, formulas in FORMULAS.items()},
}
