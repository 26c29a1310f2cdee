"""scikit-learn: MLPClassifier and MLPRegressor with everything off that the others don't do.

Its squared loss is half of ours, so its rate is doubled under SGD, and its losses are doubled in the report.
Its SGD with momentum 0 is plain SGD. It has no way to give initial weights: `_init_coef` hands out ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from ..workloads import MOMENTUM, Workload
from .base import Array, Peer

ACTIVATIONS = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
# The solver, and its momentum.
SOLVERS = {"sgd": ("sgd", 0.0), "momentum": ("sgd", MOMENTUM), "adam": ("adam", 0.0)}


class GivenWeights:
    """Mixed into an estimator: layer after layer, the initial weights are those of `given`."""

    given: list[Array]

    def _init_coef(self, fan_in: int, fan_out: int, dtype: Any) -> tuple[Array, Array]:
        w, b = self._left.pop(0)
        return w[:, :fan_out].astype(dtype), b[:fan_out].astype(dtype)

    def start_from(self, weights: list[Array]) -> None:
        self._left = list(zip(weights[::2], weights[1::2], strict=True))


class Classifier(GivenWeights, MLPClassifier):
    pass


class Regressor(GivenWeights, MLPRegressor):
    pass


ESTIMATORS: dict[str, type[Classifier | Regressor]] = {"cross_entropy": Classifier, "mse": Regressor}


class ScikitLearn(Peer):
    def __init__(self, workload: Workload, x: Array, y: Array, threads: int):
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is told to stop after so many epochs
        self.workload, self.x, self.y = workload, x, y.ravel() if y.shape[1:] == (1,) else y
        self.initial = workload.weights()
        self.doubled = 2.0 if workload.loss == "mse" else 1.0
        # `fit` takes its classes from the labels it sees. Where some never occur, only `partial_fit` can be
        # told.
        self.classes = None
        if workload.loss == "cross_entropy" and len(np.unique(y)) < workload.widths[-1]:
            self.classes = np.arange(workload.widths[-1])

    @staticmethod
    def versions() -> dict[str, str]:
        return {"scikit-learn": sklearn.__version__, "numpy": np.__version__}

    def reset(self) -> None:
        w = self.workload
        solver, momentum = SOLVERS[w.optimizer]
        self.model = ESTIMATORS[w.loss](
            hidden_layer_sizes=w.widths[1:-1],
            activation=ACTIVATIONS[w.hidden],
            solver=solver,
            alpha=0.0,
            batch_size=w.batch_size,
            learning_rate_init=w.learning_rate * (1.0 if solver == "adam" else self.doubled),
            momentum=momentum,
            nesterovs_momentum=False,
            max_iter=w.epochs,
            shuffle=w.shuffle,
            tol=0.0,
            n_iter_no_change=10**9,
            early_stopping=False,
            random_state=0,
        )
        self.model.start_from(self.initial)

    def fit(self) -> list[float]:
        if self.classes is None:
            self.model.fit(self.x, self.y)
        else:
            for _ in range(self.workload.epochs):
                self.model.partial_fit(self.x, self.y, classes=self.classes)
        return [self.doubled * float(loss) for loss in self.model.loss_curve_]

    def predictor(self, x: Array) -> Callable[[], Any]:
        classify = self.workload.loss == "cross_entropy"
        return lambda: self.model.predict_proba(x) if classify else self.model.predict(x)
