"""The optimizers of `numpy_mlp`: `step(p, g)` moves the vector p of all parameters, given the gradient g.

They go through the vectors in pieces that stay in the cache, and may overwrite g. `learning_rate` is a
number, or a function of the step, which counts from 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

PIECE = 65536


class SGD:
    def __init__(
        self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, dampened: bool = False
    ):
        self.learning_rate, self.momentum, self.nesterov, self.dampened = (
            learning_rate,
            momentum,
            nesterov,
            dampened,
        )
        self.t = 0
        self.v: Array | None = None

    def step(self, p: Array, g: Array) -> None:
        rate = self.learning_rate(self.t) if callable(self.learning_rate) else self.learning_rate
        self.t += 1
        if self.v is None and self.momentum:
            self.v = np.zeros_like(p)
        for i in range(0, len(p), PIECE):
            piece = slice(i, i + PIECE)
            self.move(p[piece], g[piece], None if self.v is None else self.v[piece], rate)

    def move(self, p: Array, g: Array, v: Array | None, rate: float) -> None:
        if v is None:  # p -= r g
            np.multiply(g, rate, out=g)
            np.subtract(p, g, out=p)
        elif self.dampened:  # v = m v + (1 - m) g;  p -= r v
            v *= self.momentum
            g *= 1 - self.momentum
            v += g
            p -= np.multiply(v, rate, out=g)
        else:  # v = m v - r g;  p += v, or with Nesterov p += m v - r g
            g *= rate
            v *= self.momentum
            v -= g
            if self.nesterov:
                p -= g
                p += np.multiply(v, self.momentum, out=g)
            else:
                p += v


class Adam:
    """The moments are kept without their factors 1 - beta, which saves two passes: M = m / (1 - beta_1)."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        amsgrad: bool = False,
        epsilon_hat: bool = False,
    ):
        self.learning_rate, self.beta_1, self.beta_2, self.epsilon = learning_rate, beta_1, beta_2, epsilon
        self.amsgrad, self.epsilon_hat = amsgrad, epsilon_hat
        self.t = 0
        self.moments: tuple[Array, ...] = ()

    def step(self, p: Array, g: Array) -> None:
        if not self.moments:  # M, V, and the largest V so far for amsgrad
            self.moments = tuple(np.zeros_like(p) for _ in range(3 if self.amsgrad else 2))
            self.scratch = np.empty_like(p[:PIECE])
        rate = self.learning_rate(self.t) if callable(self.learning_rate) else self.learning_rate
        self.t += 1
        correction = math.sqrt(1 - self.beta_2**self.t)
        root = math.sqrt(1 - self.beta_2)
        alpha = rate * correction / (1 - self.beta_1**self.t) * (1 - self.beta_1) / root
        epsilon = self.epsilon / root if self.epsilon_hat else self.epsilon * correction / root
        for i in range(0, len(p), PIECE):
            piece = slice(i, i + PIECE)
            self.move(p[piece], g[piece], [moment[piece] for moment in self.moments], alpha, epsilon)

    def move(self, p: Array, g: Array, moments: list[Array], alpha: float, epsilon: float) -> None:
        m, v = moments[:2]
        s = self.scratch[: len(p)]
        np.multiply(m, self.beta_1, out=m)
        np.add(m, g, out=m)
        np.multiply(g, g, out=g)
        np.multiply(v, self.beta_2, out=v)
        np.add(v, g, out=v)
        if self.amsgrad:
            v = np.maximum(moments[2], v, out=moments[2])
        np.sqrt(v, out=s)
        np.add(s, epsilon, out=s)
        np.divide(m, s, out=s)
        np.multiply(s, alpha, out=s)
        np.subtract(p, s, out=p)


class ByArray:
    """Base of what has to know the arrays: `step_arrays` gets those of a network, W and b in turn."""

    def __init__(self, learning_rate: float, weight_decay: float = 0.0, decay_bias: bool = False):
        self.learning_rate, self.weight_decay, self.decay_bias = learning_rate, weight_decay, decay_bias
        self.t = 0
        self.memory: list[list[Array]] = []

    def step_arrays(self, arrays: list[Array], gradients: list[Array]) -> None:
        if not self.memory:
            self.memory = [[np.zeros_like(p), np.zeros_like(p)] for p in arrays]
        self.t += 1
        for p, g, memory in zip(arrays, gradients, self.memory, strict=True):
            decay = self.weight_decay if p.ndim == 2 or self.decay_bias else 0.0
            self.move_array(p, g, memory, decay)

    def move_array(self, p: Array, g: Array, memory: list[Array], decay: float) -> None:
        raise NotImplementedError


class Lion(ByArray):
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, learning_rate: float = 1e-3, beta_1: float = 0.9, beta_2: float = 0.99, **decay: Any):
        super().__init__(learning_rate, **decay)
        self.beta_1, self.beta_2 = beta_1, beta_2

    def move_array(self, p: Array, g: Array, memory: list[Array], decay: float) -> None:
        m = memory[0]
        update = np.sign(self.beta_1 * m + (1 - self.beta_1) * g)
        p -= self.learning_rate * (update + decay * p)
        m[...] = self.beta_2 * m + (1 - self.beta_2) * g


class Lamb(ByArray):
    """You et al. 2020, algorithm 2, phi the identity."""

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **decay: Any,
    ):
        super().__init__(learning_rate, **decay)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def move_array(self, p: Array, g: Array, memory: list[Array], decay: float) -> None:
        m, v = memory
        m[...] = self.beta_1 * m + (1 - self.beta_1) * g
        v[...] = self.beta_2 * v + (1 - self.beta_2) * g**2
        r = m / (1 - self.beta_1**self.t) / (np.sqrt(v / (1 - self.beta_2**self.t)) + self.epsilon)
        u = r + decay * p
        of_p, of_u = np.linalg.norm(p), np.linalg.norm(u)
        p -= self.learning_rate * (of_p / of_u if of_p > 0 and of_u > 0 else 1.0) * u


class KerasRMSprop(ByArray):
    """Keras's: epsilon under the root, and the rate inside the velocity."""

    def __init__(
        self, learning_rate: float = 1e-3, rho: float = 0.9, epsilon: float = 1e-7, centered: bool = False
    ):
        super().__init__(learning_rate)
        self.rho, self.epsilon, self.centered = rho, epsilon, centered

    def move_array(self, p: Array, g: Array, memory: list[Array], decay: float) -> None:
        v, mean = memory
        v[...] = self.rho * v + (1 - self.rho) * g**2
        mean[...] = self.rho * mean + (1 - self.rho) * g
        p -= self.learning_rate * g / np.sqrt(v - (mean**2 if self.centered else 0.0) + self.epsilon)
