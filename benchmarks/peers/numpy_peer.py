"""NumPy: `benchmarks/numpy_mlp.py`. Labels become one-hot rows where that is faster: for few classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..numpy_mlp import SGD, Adam, NumpyMLP
from ..workloads import MOMENTUM, Workload
from .base import Array, Peer

ONE_HOT_UP_TO = 32
OPTIMIZERS: dict[str, Callable[[float], SGD | Adam]] = {
    "sgd": SGD,
    "momentum": lambda rate: SGD(rate, MOMENTUM),
    "adam": Adam,
}


class Numpy(Peer):
    def __init__(self, workload: Workload, x: Array, y: Array, threads: int):
        self.workload, self.x, self.y = workload, x, y
        classes = workload.widths[-1]
        if y.ndim == 1 and classes <= ONE_HOT_UP_TO:
            self.y = np.eye(classes, dtype=np.float32)[y]
        self.model = NumpyMLP(workload.widths, workload.activations, workload.loss)
        self.initial = workload.weights()
        np.seterr(over="ignore")  # exp(-z) of a very negative z is inf, and the sigmoid is rightly 0

    @staticmethod
    def versions() -> dict[str, str]:
        versions = {"numpy": np.__version__}
        try:
            from threadpoolctl import threadpool_info  # comes with scikit-learn
        except ImportError:
            return versions
        for blas in threadpool_info():
            if blas["user_api"] == "blas" and "numpy" in blas["filepath"]:  # not the one of SciPy
                versions[blas["internal_api"]] = f"{blas['version']} ({blas.get('architecture', '?')})"
        return versions

    def reset(self) -> None:
        self.model.set_weights(self.initial)
        self.optimizer = OPTIMIZERS[self.workload.optimizer](self.workload.learning_rate)

    def fit(self) -> list[float]:
        w = self.workload
        return self.model.train(
            self.x,
            self.y,
            batch_size=w.batch_size,
            epochs=w.epochs,
            optimizer=self.optimizer,
            shuffle=w.shuffle,
        )

    def predictor(self, x: Array) -> Callable[[], Any]:
        return lambda: self.model.predict(x)
