"""The networks that are timed, their data and their initial weights.

In: a name. Out: the same arrays on every machine, for every system. Nothing here depends on who trains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

HIDDEN = ("relu", "tanh", "sigmoid", "leaky_relu", "elu", "gelu", "silu", "softplus")
LOSSES = ("cross_entropy", "binary_cross_entropy", "mse", "huber")
OUTPUTS = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}
# SGD with a momentum of 0.9; a decay of 0.01; squares that are forgotten by a tenth in each step.
OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "rmsprop")
MOMENTUM, DECAY, RHO = 0.9, 0.01, 0.9


@dataclass(frozen=True)
class Workload:
    """One network and how it is trained; the output is what its loss goes with.

    hidden is one of `HIDDEN`, loss of `LOSSES`, optimizer of `OPTIMIZERS`.
    """

    name: str
    widths: tuple[int, ...]
    hidden: str
    loss: str
    optimizer: str
    learning_rate: float
    batch_size: int
    rows: int
    epochs: int
    shuffled: bool = True

    @property
    def output(self) -> str:
        return OUTPUTS.get(self.loss, "identity")

    @property
    def activations(self) -> list[str]:
        return [self.hidden] * (len(self.widths) - 2) + [self.output]

    @property
    def steps(self) -> int:
        """Steps of one fit; the last batch of an epoch may be smaller."""
        return self.epochs * -(-self.rows // self.batch_size)

    @property
    def shuffle(self) -> bool:
        """A batch of all rows has nothing to shuffle."""
        return self.shuffled and self.batch_size < self.rows

    def describe(self) -> str:
        return (
            f"{'-'.join(map(str, self.widths))} {self.hidden}, {self.loss}, "
            f"{self.optimizer} {self.learning_rate:g}, batch {self.batch_size}, {self.rows} rows, "
            f"{self.epochs} epochs = {self.steps} steps"
        )

    def data(self, seed: int = 1) -> tuple[Array, Array]:
        """Make x (rows, n_in), standard normal, and y = tanh(x w / sqrt(n_in)) (rows, n_out).

        Labels are its argmax, targets of 0 and 1 whether it is positive.
        """
        rng = np.random.default_rng(seed)
        n_in, n_out = self.widths[0], self.widths[-1]
        x = rng.standard_normal((self.rows, n_in), dtype=np.float32)
        w = rng.standard_normal((n_in, n_out), dtype=np.float32)
        y = np.tanh(x @ w / np.float32(np.sqrt(n_in)))
        if self.loss == "binary_cross_entropy":
            return x, (y > 0).astype(np.float32)
        return x, (y.argmax(axis=1) if self.loss == "cross_entropy" else y)

    def data_for_prediction(self, rows: int, seed: int = 3) -> Array:
        return np.random.default_rng(seed).standard_normal((rows, self.widths[0]), dtype=np.float32)

    def weights(self, seed: int = 2) -> list[Array]:
        """[W1, b1, W2, b2, ...] float32: he_normal before relu, glorot_uniform otherwise, zero biases."""
        rng = np.random.default_rng(seed)
        weights: list[Array] = []
        for n, m, activation in zip(self.widths[:-1], self.widths[1:], self.activations, strict=True):
            if activation == "relu":
                w = rng.normal(0, np.sqrt(2 / n), (n, m))
            else:
                w = rng.uniform(-1, 1, (n, m)) * np.sqrt(6 / (n + m))
            weights += [w.astype(np.float32), np.zeros(m, np.float32)]
        return weights

    def checked(self) -> Workload:
        """Return two epochs of 2.5 batches in their given order: every system must get the same losses."""
        rows = min(self.rows, self.batch_size * 5 // 2)
        return replace(self, rows=rows, epochs=2, shuffled=False)

    def shortened(self, steps: int) -> Workload:
        """Return the same network and batch with about this many steps, for a quick look."""
        per_epoch = -(-self.rows // self.batch_size)
        if per_epoch >= steps:
            return replace(self, rows=self.batch_size * steps, epochs=1)
        return replace(self, epochs=max(1, steps // per_epoch))


CROSS = "cross_entropy"
WORKLOADS = {
    w.name: w
    for w in (
        Workload("xor-full", (2, 4, 1), "sigmoid", "mse", "sgd", 0.5, 4, 4, 5000),
        Workload("iris", (4, 16, 16, 3), "tanh", CROSS, "sgd", 0.05, 16, 150, 200),
        Workload("digits", (64, 128, 64, 10), "relu", CROSS, "adam", 1e-3, 32, 1797, 20),
        Workload("deep-narrow", (32, *[64] * 12, 1), "relu", "mse", "adam", 1e-3, 128, 20000, 3),
        Workload("tabular", (20, 256, 256, 1), "relu", "mse", "adam", 1e-3, 256, 50000, 3),
        Workload("mnist-small", (784, 30, 10), "sigmoid", CROSS, "sgd", 0.5, 10, 50000, 1),
        Workload("mnist-mlp", (784, 512, 512, 10), "relu", CROSS, "adam", 1e-3, 128, 60000, 1),
        Workload("wide", (1024, 4096, 4096, 1000), "relu", CROSS, "sgd", 0.01, 512, 4096, 1),
    )
}
PREDICTION_WORKLOADS = ("xor-full", "digits", "tabular", "mnist-mlp")
PREDICTION_ROWS = (1, 64, 10000)
