"""A multilayer perceptron in pure NumPy, as a careful NumPy user would write it.

In: rows, targets, widths, the names of activations and of a loss. Out: losses, gradients, trained weights. It
is the competitor of the benchmark and the oracle of the tests, so it must never import `dnn`, and never be
slowed.

What makes it fast: all parameters lie in one vector, so that the optimizer is a few calls; every array of a
step is allocated once; sums over rows and columns are products with a vector of ones, because BLAS is faster
at them than `sum`. Activations are in `numpy_activations`, SGD and Adam in `numpy_optimizers`.

Shapes: x is (rows, n_in), W is (n_in, n_out), b is (n_out,), z and a are (rows, n_out).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .numpy_activations import ACTIVATIONS, DEFAULT_PARAMETER, Array, Layer
from .numpy_optimizers import SGD, Adam

__all__ = ["ACTIVATIONS", "FUSED", "LOSSES", "SGD", "Adam", "NumpyMLP", "glorot_uniform"]

# ---- losses: return L, leave dL/da in delta (dL/dz for the two that are fused with their activation) ------
# t are the targets; w weighs the rows and sums to 1: a column (rows, 1), or the number 1/rows.

Weight = Any


def squares(layer: Layer, t: Array, factor: Weight) -> float:
    """L = sum factor/2 (a - t)^2; mse, half_mse and sse differ in the factor."""
    np.subtract(layer.a, t, out=layer.scratch)
    np.multiply(layer.scratch, factor, out=layer.delta)
    return 0.5 * float(np.vdot(layer.scratch, layer.delta))


def mse(layer: Layer, t: Array, w: Weight, _: float) -> float:
    return squares(layer, t, w * (2 / t.shape[1]))


def half_mse(layer: Layer, t: Array, w: Weight, _: float) -> float:
    return squares(layer, t, w * (1 / t.shape[1]))


def sse(layer: Layer, t: Array, w: Weight, _: float) -> float:
    return squares(layer, t, w * 2)


def mae(layer: Layer, t: Array, w: Weight, _: float) -> float:
    difference = layer.a - t
    np.multiply(np.sign(difference), w / t.shape[1], out=layer.delta)
    return float(np.vdot(difference, layer.delta))


def huber(layer: Layer, t: Array, w: Weight, delta: float) -> float:
    """d^2/2 up to |d| = delta, delta (|d| - delta/2) beyond: with c = clip(d), both are c (d - c/2)."""
    difference = layer.a - t
    clipped = np.clip(difference, -delta, delta)
    np.multiply(clipped, w / t.shape[1], out=layer.delta)
    return float(np.vdot(difference - clipped / 2, layer.delta))


def hinge(layer: Layer, t: Array, w: Weight, _: float) -> float:
    margin = np.maximum(0, 1 - t * layer.a)
    np.multiply(t * (margin > 0), -w / t.shape[1], out=layer.delta)
    return float((w / t.shape[1] * margin).sum())


def squared_hinge(layer: Layer, t: Array, w: Weight, _: float) -> float:
    margin = np.maximum(0, 1 - t * layer.a)
    np.multiply(t * margin, -2 * w / t.shape[1], out=layer.delta)
    return float((w / t.shape[1] * margin * margin).sum())


def cross_entropy(layer: Layer, t: Array, w: Weight, _: float) -> float:
    """-sum t ln y with y = softmax(z): ln y = z - (max + ln sum exp(z - max)), finite whatever z is."""
    np.log(layer.sum, out=layer.sum)
    np.add(layer.sum, layer.max, out=layer.sum)
    if t.ndim == 1:  # labels
        every = np.arange(len(t))
        loss = (w * (layer.sum - layer.z[every, t][:, None])).sum()
        np.copyto(layer.delta, layer.a)
        layer.delta[every, t] -= 1
        np.multiply(layer.delta, w, out=layer.delta)
    else:  # probabilities that sum to 1 in each row
        np.subtract(layer.a, t, out=layer.delta)
        np.multiply(layer.delta, w, out=layer.delta)
        np.subtract(layer.sum, layer.z, out=layer.scratch)
        loss = w * np.vdot(t, layer.scratch) if np.ndim(w) == 0 else np.vdot(t, w * layer.scratch)
    return float(loss)


def binary_cross_entropy(layer: Layer, t: Array, w: Weight, _: float) -> float:
    """-t ln y - (1 - t) ln(1 - y) with y = sigmoid(z) is ln(1 + e^z) - t z, finite whatever z is."""
    np.multiply(layer.a - t, w / t.shape[1], out=layer.delta)
    return float((w / t.shape[1] * (np.logaddexp(0, layer.z) - t * layer.z)).sum())


LOSSES = {
    f.__name__: f
    for f in (mse, half_mse, sse, mae, huber, hinge, squared_hinge, cross_entropy, binary_cross_entropy)
}
FUSED = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}

# ---- the network ----------------------------------------------------------------------------------------


class NumpyMLP:
    """Layers of z = a W + b, a = f(z).

    `activations` has a name, or (name, parameter), for each layer after the input; `loss` likewise. `l1` and
    `l2` are one number or one per layer: l1 sum|W| + l2 sum W^2 is added to the loss. `weights` is [W1, b1,
    W2, b2, ...].
    """

    def __init__(
        self,
        widths: Sequence[int],
        activations: Sequence[Any],
        loss: Any = "mse",
        dtype: Any = np.float32,
        weights: Sequence[Array] | None = None,
        seed: int = 0,
        l1: Any = 0.0,
        l2: Any = 0.0,
    ):
        defaults = {**DEFAULT_PARAMETER, "huber": 1.0}
        named = [a if isinstance(a, tuple) else (a, defaults.get(a, 0.0)) for a in [*activations, loss]]
        self.widths, self.dtype = list(widths), np.dtype(dtype)
        self.activations: list[tuple[str, float]] = named[:-1]
        self.loss, self.loss_parameter = str(named[-1][0]), float(named[-1][1])
        if len(self.activations) != len(widths) - 1:
            raise ValueError(
                f"{len(widths) - 1} layers need as many activations, got {len(self.activations)}"
            )
        if FUSED.get(self.loss, self.activations[-1][0]) != self.activations[-1][0]:
            raise ValueError(f"{self.loss} needs {FUSED[self.loss]} as its output activation")
        shapes = [shape for n, m in pairwise(widths) for shape in ((n, m), (m,))]
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        self.parameters, self.gradient = np.zeros(ends[-1], self.dtype), np.zeros(ends[-1], self.dtype)
        self.weights, self.gradients = (
            [part.reshape(shape) for part, shape in zip(np.split(vector, ends[:-1]), shapes, strict=True)]
            for vector in (self.parameters, self.gradient)
        )
        self.l1, self.l2 = (np.broadcast_to(np.asarray(v, float), len(widths) - 1).tolist() for v in (l1, l2))
        self.regularized = any(self.l1) or any(self.l2)
        self.set_weights(glorot_uniform(widths, seed) if weights is None else weights)
        self._work: dict[int, tuple[list[Layer], Array]] = {}

    def set_weights(self, weights: Iterable[Array]) -> None:
        for mine, given in zip(self.weights, weights, strict=True):
            mine[...] = np.reshape(given, mine.shape)

    def work(self, rows: int) -> tuple[list[Layer], Array]:
        """Return the buffers for this many rows, made once, and a row of ones."""
        if rows not in self._work:
            layers = [Layer(rows, units, self.dtype) for units in self.widths[1:]]
            for layer, (_, parameter) in zip(layers, self.activations, strict=True):
                layer.parameter = parameter
            self._work[rows] = layers, np.ones(rows, self.dtype)
        return self._work[rows]

    def forward(self, x: Array) -> list[Layer]:
        """Every layer's z and a, in buffers that the next call overwrites."""
        layers, _ = self.work(len(x))
        a = x
        for i, layer in enumerate(layers):
            a.dot(self.weights[2 * i], layer.z)
            np.add(layer.z, self.weights[2 * i + 1], out=layer.z)
            ACTIVATIONS[self.activations[i][0]][0](layer)
            a = layer.a
        return layers

    def predict(self, x: Array) -> Array:
        return self.forward(np.asarray(x, self.dtype))[-1].a.copy()

    def loss_and_gradients(
        self, x: Array, t: Array, weight: Array | None = None
    ) -> tuple[float, list[Array]]:
        """Return the mean loss of these rows, and its gradient in the order of `weights`, in reused buffers.

        x is (rows, n_in); t is (rows, n_out), or (rows,) of labels; weight is (rows,) or None.
        """
        layers = self.forward(x)
        ones = self.work(len(x))[1]
        w = 1 / len(x) if weight is None else (weight / weight.sum()).astype(self.dtype)[:, None]
        loss = LOSSES[self.loss](layers[-1], t, w, self.loss_parameter)
        for i in reversed(range(len(layers))):
            layer, a = layers[i], layers[i - 1].a if i else x
            if i < len(layers) - 1 or self.loss not in FUSED:
                ACTIVATIONS[self.activations[i][0]][1](layer)
            a.T.dot(layer.delta, self.gradients[2 * i])
            ones.dot(layer.delta, self.gradients[2 * i + 1])
            if i:
                layer.delta.dot(self.weights[2 * i].T, layers[i - 1].delta)
        return loss + (self._regularize() if self.regularized else 0.0), self.gradients

    def _regularize(self) -> float:
        penalty = 0.0
        for w, g, l1, l2 in zip(self.weights[::2], self.gradients[::2], self.l1, self.l2, strict=True):
            penalty += l1 * float(np.abs(w).sum()) + l2 * float(np.square(w).sum())
            g += l1 * np.sign(w) + 2 * l2 * w
        return penalty

    def train(
        self,
        x: Array,
        t: Array,
        *,
        batch_size: int,
        epochs: int,
        optimizer: SGD | Adam,
        weight: Array | None = None,
        orders: Sequence[Array] | None = None,
        shuffle: bool = True,
        seed: int = 0,
    ) -> list[float]:
        """Train, and return the loss of each epoch: the mean over its rows, each batch before its update.

        `orders` gives the order of the rows for each epoch; without it they are shuffled or taken as they
        come.
        """
        x = np.ascontiguousarray(x, self.dtype)
        t = np.asarray(t) if self.loss == "cross_entropy" and np.ndim(t) == 1 else np.asarray(t, self.dtype)
        rng = np.random.default_rng(seed)
        # Rows are gathered many batches at a time: about 1 MB, which stays in the cache until used.
        n = len(x)
        block = min(n, max(1, 2**18 // x.shape[1] // batch_size) * batch_size)
        columns = [c for c in (x, t, weight) if c is not None]
        blocks = [np.empty((block, *c.shape[1:]), c.dtype) for c in columns]
        losses = []
        for epoch in range(epochs):
            order = orders[epoch] if orders is not None else rng.permutation(n) if shuffle else None
            total = total_weight = 0.0
            for start in range(0, n, block):
                stop = min(start + block, n)
                if order is None:
                    rows = [c[start:stop] for c in columns]
                else:
                    rows = [
                        c.take(order[start:stop], axis=0, out=b[: stop - start], mode="clip")
                        for c, b in zip(columns, blocks, strict=True)
                    ]
                for i in range(0, stop - start, batch_size):
                    batch = rows if stop - start <= batch_size else [r[i : i + batch_size] for r in rows]
                    loss, _ = self.loss_and_gradients(*batch)
                    optimizer.step(self.parameters, self.gradient)
                    share = len(batch[0]) if weight is None else float(batch[2].sum())
                    total += share * loss
                    total_weight += share
            losses.append(total / total_weight)
        return losses


def glorot_uniform(widths: Sequence[int], seed: int) -> list[Array]:
    """[W1, b1, ...]: W uniform in +- sqrt(6 / (n_in + n_out)), b zero (Glorot and Bengio 2010)."""
    rng = np.random.default_rng(seed)
    weights: list[Array] = []
    for n, m in pairwise(widths):
        limit = math.sqrt(6 / (n + m))
        weights += [rng.uniform(-limit, limit, (n, m)), np.zeros(m)]
    return weights
