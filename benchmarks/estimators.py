"""`python -m benchmarks.estimators`: fit and predict of the estimators beside scikit-learn's, in one run.

Both train with the same settings on the same rows, in turn; the median of the rounds counts. Before each turn
there is a pause, because the threads of a BLAS go on spinning for a while after their last work. Prints a
table for documents, with how many times faster in float64 (what scikit-learn does by default) and in float32,
and "at most": how many times faster something would be that did the multiplications and additions of the
products on two threads at the ceiling of this machine, which a program in Rust measures first (it takes
cargo), and nothing else.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import dnn
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from .bounds import machine

# Rows, columns, hidden layers and epochs of each case; classes 0 is a regression.
CASES = [
    (100, 20, (100,), 200, 2),
    (100, 20, (100,), 200, 0),
    (1_000, 20, (100,), 50, 3),
    (1_797, 64, (100,), 20, 10),
    (10_000, 20, (100,), 5, 0),
    (20_000, 50, (100, 50), 2, 5),
    (60_000, 784, (100,), 1, 10),
]


def table(rows: int, columns: int, classes: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns))
    score = x @ rng.normal(size=columns) / columns**0.5 + 0.3 * rng.normal(size=rows)
    if classes == 0:
        return x, np.tanh(score)
    return x, np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))


# Seconds without work before each turn.
PAUSE = 0.15


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measured(case: tuple[int, int, tuple[int, ...], int, int], rounds: int) -> dict[str, float]:
    """Median seconds of fit and predict of each estimator and type, taken in turn."""
    rows, columns, hidden, epochs, classes = case
    x, y = table(rows, columns, classes)
    settings = {"hidden_layer_sizes": hidden, "max_iter": epochs, "tol": 0.0, "n_iter_no_change": np.inf}
    theirs, ours = (MLPClassifier, dnn.MLPClassifier) if classes else (MLPRegressor, dnn.MLPRegressor)
    found: dict[str, list[float]] = {}
    for round_ in range(rounds + 1):
        for dtype in ("float64", "float32"):
            table_ = x.astype(dtype)
            for who, make in (("scikit-learn", theirs), ("dnn", ours)):
                estimator = make(**settings, random_state=round_)
                time.sleep(PAUSE)
                fit = seconds(lambda e=estimator, t=table_: e.fit(t, y))
                time.sleep(PAUSE)
                predict = statistics.median(
                    seconds(lambda e=estimator, t=table_: e.predict(t)) for _ in range(5)
                )
                if round_:  # the first one warms up
                    found.setdefault(f"{who} fit {dtype}", []).append(fit)
                    found.setdefault(f"{who} predict {dtype}", []).append(predict)
    return {name: statistics.median(times) for name, times in found.items()}


def at_the_ceiling(case: tuple[int, int, tuple[int, ...], int, int], what: str, dtype: str) -> float:
    """Seconds of the products of a call on two threads, at what the machine reaches without memory."""
    rows, columns, hidden, epochs, classes = case
    # Two classes have one output.
    widths = [columns, *hidden, classes if classes > 2 else 1]
    layers = [n * m for n, m in itertools.pairwise(widths)]
    # Training has three products for each layer; the first one hands no gradient on.
    products = sum(layers) if what == "predict" else epochs * (3 * sum(layers) - layers[0])
    return 2 * rows * products / (ceiling() * (1.0 if dtype == "float32" else 0.5) * 1e9)


@functools.cache
def ceiling() -> float:
    """Operations of float32 in a nanosecond on two threads."""
    return float(machine([])["ceiling"][1])


def shown(value: float) -> str:
    return f"{value * 1e3:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", help="numbers of the cases, comma between; default all")
    asked = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    numbers = [int(number) for number in asked.cases.split(",")] if asked.cases else range(len(CASES))
    ceiling()
    print(f"{platform.machine()}, {dnn.get_num_threads()} threads, {dnn.Sequential([dnn.Dense(1)]).isa}")
    heads = ["rows x columns, hidden, epochs"]
    for what in ("fit", "predict"):
        heads += [f"scikit-learn {what}, ms", f"dnn {what}, ms", "float64", "at most", "float32", "at most"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for number in numbers:
        case = CASES[number]
        rows, columns, hidden, epochs, classes = case
        times = measured(case, asked.rounds)
        kind = f"{classes} classes" if classes else "regression"
        cells = [f"{rows} x {columns}, {'-'.join(map(str, hidden))}, {epochs}, {kind}"]
        for what in ("fit", "predict"):
            cells += [shown(times[f"{who} {what} float64"]) for who in ("scikit-learn", "dnn")]
            for dtype in ("float64", "float32"):
                theirs = times[f"scikit-learn {what} {dtype}"]
                cells.append(f"{theirs / times[f'dnn {what} {dtype}']:.1f}")
                cells.append(f"{theirs / at_the_ceiling(case, what, dtype):.1f}")
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
