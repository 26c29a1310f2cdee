"""dnn: the library of this repository, through its public API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dnn
import numpy as np

from ..workloads import DECAY, MOMENTUM, RHO, Workload
from .base import Array, Peer

OPTIMIZERS: dict[str, Callable[[float], dnn.Optimizer]] = {
    "sgd": dnn.SGD,
    "momentum": lambda rate: dnn.SGD(rate, momentum=MOMENTUM),
    "adam": dnn.Adam,
    "adamw": lambda rate: dnn.AdamW(rate, weight_decay=DECAY),
    "rmsprop": lambda rate: dnn.RMSprop(rate, rho=RHO),
}


class Dnn(Peer):
    precision = "highest"

    def __init__(self, workload: Workload, x: Array, y: Array, threads: int):
        self.workload, self.x, self.y, self.threads = workload, x, y, threads
        layers = [dnn.Dense(m, f) for m, f in zip(workload.widths[1:], workload.activations, strict=True)]
        self.model = dnn.Sequential(
            [dnn.Input(workload.widths[0]), *layers], dtype="float32", precision=self.precision, seed=0
        )
        self.initial = workload.weights()

    @staticmethod
    def versions() -> dict[str, str]:
        return {"dnn": dnn.__version__, "numpy": np.__version__}

    def reset(self) -> None:
        w = self.workload
        self.model.compile(optimizer=OPTIMIZERS[w.optimizer](w.learning_rate), loss=w.loss)
        self.model.set_weights(self.initial)

    def fit(self) -> list[float]:
        w = self.workload
        history = self.model.fit(
            self.x,
            self.y,
            batch_size=w.batch_size,
            epochs=w.epochs,
            shuffle=w.shuffle,
            verbose=0,
            n_threads=self.threads,
        )
        return history["loss"]

    def predictor(self, x: Array) -> Callable[[], Any]:
        out = np.empty((len(x), self.workload.widths[-1]), np.float32)
        return lambda: self.model.predict(x, out=out, n_threads=self.threads)


class DnnStrict(Dnn):
    """The same with fused multiply-adds, on any CPU."""

    precision = "strict"


class DnnHigh(Dnn):
    """The same with two numbers of bf16 for a factor of products of training, where the CPU has AMX."""

    precision = "high"


class DnnMedium(Dnn):
    """The same with products of training in bf16 where the CPU has them."""

    precision = "medium"
