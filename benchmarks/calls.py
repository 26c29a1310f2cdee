"""`python -m benchmarks.calls`: what a call of dnn costs by what it is given, in microseconds.

Predictions of arrays of every type and layout that has a way of its own, without a number of threads, as most
are asked for; a measurement and a step; and `partial_fit` beside scikit-learn's in the same run. Medians.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import dnn
import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from .report import table

ROWS = (1, 8, 64, 1797)


def microseconds(call: Callable[[], object], times: int = 300) -> float:
    for _ in range(20):
        call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return 1e6 * statistics.median(found)


def predictions() -> str:
    """Of 64-100-10 in float32, by rows."""
    layers = [dnn.Input(64), dnn.Dense(100, "relu"), dnn.Dense(10, "softmax")]
    plain, scaled = dnn.Sequential(layers, seed=0), dnn.Sequential(layers, seed=0, scale="standard")
    all_rows = np.random.default_rng(0).normal(size=(max(ROWS), 64))
    scaled.adapt(all_rows)
    kinds: dict[str, tuple[Callable[[Any], object], Callable[[Any], Any]]] = {
        "float32": (plain.predict, lambda x: x.astype(np.float32)),
        "float64": (plain.predict, lambda x: x),
        "float64, columns first": (plain.predict, np.asfortranarray),
        "int64": (plain.predict, lambda x: (100 * x).astype(np.int64)),
        "a list": (plain.predict, lambda x: x.tolist()),
        "float64, classes": (plain.predict_classes, lambda x: x),
        "float64, a model that scales": (scaled.predict, lambda x: x),
    }
    lines = [["predict, 64-100-10", *(str(rows) for rows in ROWS)]]
    for name, (call, make) in kinds.items():
        given = [make(all_rows[:rows].copy()) for rows in ROWS]
        lines.append([name, *(f"{microseconds(lambda c=call, x=x: c(x)):.1f}" for x in given)])
    return table(lines)


def steps() -> str:
    rng = np.random.default_rng(1)
    layers = [dnn.Input(4), dnn.Dense(8, "relu"), dnn.Dense(8, "tanh"), dnn.Dense(3, "softmax")]
    model = dnn.Sequential(layers, seed=0)
    model.compile(dnn.Adam(), metrics=["accuracy"])
    x, y = rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 3, 8)
    given = {"arrays as they should be": (x, y), "lists": (x.tolist(), y.tolist())}
    lines = [["4-8-8-3, 8 rows, accuracy", "train_on_batch", "evaluate", "fit, 1 epoch"]]
    for name, data in given.items():
        calls = [model.train_on_batch, model.evaluate, lambda x, y: model.fit(x, y, epochs=1, verbose=0)]
        lines.append([name, *(f"{microseconds(lambda c=c, data=data: c(*data)):.1f}" for c in calls)])
    return table(lines)


def partial_fits() -> str:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(32, 10))
    numbers, classes = x[:, 0], rng.integers(0, 3, 32)
    lines = [["partial_fit, 32 x 10, 50 hidden", "scikit-learn", "dnn"]]
    for name, makes, y in (
        ("classes", (MLPClassifier, dnn.MLPClassifier), classes),
        ("numbers", (MLPRegressor, dnn.MLPRegressor), numbers),
    ):
        found = []
        for make in makes:
            model = make(hidden_layer_sizes=(50,))
            model.partial_fit(x, y, **({"classes": np.arange(3)} if name == "classes" else {}))
            found.append(f"{microseconds(lambda m=model, y=y: m.partial_fit(x, y)):.0f}")
        lines.append([name, *found])
    return table(lines)


def main() -> None:
    warnings.simplefilter("ignore")  # that nothing converges in one epoch
    print(predictions(), steps(), partial_fits(), sep="\n\n")


if __name__ == "__main__":
    main()
