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
