"""Warnings point at the line that called the package, also through scikit-learn's wrappers and pipelines."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import dnn
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

X = np.random.default_rng(0).normal(size=(40, 4))
Y = (X[:, 0] > 0).astype(int)


def network(**compiled: object) -> dnn.Sequential:
    model = dnn.Sequential([dnn.Input(4), dnn.Dense(3), dnn.Dense(1)], seed=0)
    model.compile(**({"optimizer": "sgd", "loss": "mse"} | compiled))
    return model


def overflowing() -> dnn.Sequential:
    model = network()
    model.set_weights([np.full_like(array, 3e38) for array in model.get_weights()])
    return model


def a_rate(step: int) -> float:
    return 0.1


def a_loss(y: np.ndarray, p: np.ndarray) -> tuple[float, np.ndarray]:
    return float(np.mean((p - y) ** 2)), 2 * (p - y) / p.size


def sources(call: Callable[[], object]) -> list[Path]:
    """The files that the warnings of a call point at."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call()
    return [Path(warning.filename) for warning in told]


OURS: dict[str, Callable[[Path], object]] = {
    "predictions of a ready array": lambda _: overflowing().predict(np.ones((5, 4), np.float32)),
    "predictions on two threads": lambda _: overflowing().predict(np.ones((5, 4), np.float32), n_threads=2),
    "predictions of a list": lambda _: overflowing().predict([[1, 1, 1, 1]]),
    "a rate that no file can hold": lambda folder: network(optimizer=dnn.SGD(a_rate)).save(folder / "a.dnn"),
    "divergence": lambda _: network().fit(1e30 * X, Y, epochs=2),
    "no average": lambda _: network().fit(X, Y, epochs=1, averaging=dnn.SWA(5)),
}


@pytest.mark.parametrize("call", OURS.values(), ids=OURS.keys())
def test_a_warning_of_sequential_points_here(call: Callable[[Path], object], tmp_path: Path) -> None:
    assert sources(lambda: call(tmp_path)) == [Path(__file__)]


ESTIMATORS: dict[str, dict[str, object]] = {
    "more epochs": {"max_iter": 1},
    "larger batches than rows": {"batch_size": 1000, "tol": 1.0},
    "no convergence of L-BFGS": {"solver": "lbfgs", "max_iter": 1},
    "a score that is not used": {"scoring": "accuracy", "tol": 1.0},
    "no average": {"averaging": dnn.SWA(500), "tol": 1.0},
}


@pytest.mark.parametrize("settings", ESTIMATORS.values(), ids=ESTIMATORS.keys())
def test_a_warning_of_an_estimator_points_here(settings: dict[str, object]) -> None:
    pytest.importorskip("sklearn")
    model = dnn.MLPClassifier((3,), random_state=0, **settings)
    assert sources(lambda: model.fit(X, Y)) == [Path(__file__)]
