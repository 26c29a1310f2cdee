"""`python -m benchmarks.precision`: what each precision costs and brings: errors, accuracy, time of a step.

For documents: the relative error (root mean square) of the gradient of one batch against the same in float64;
the test accuracy on scikit-learn's digits over several seeds; the time of a step, in turn. DNN_ISA sets
another instruction set: with scalar-amx, and --no-times, the errors are those of a processor with AMX.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import dnn
import numpy as np

from .workloads import WORKLOADS, Workload

STEPS = {"digits": 50, "tabular": 50, "mnist-mlp": 60, "wide": 4}
PRECISIONS = ("strict", "highest", "high", "medium")
# A step so large that the weights from before it are lost beside it: what remains is the gradient.
RATE = 1e6


def network(workload: Workload, **options: Any) -> dnn.Sequential:
    layers = [dnn.Dense(m, f) for m, f in zip(workload.widths[1:], workload.activations, strict=True)]
    model = dnn.Sequential([dnn.Input(workload.widths[0]), *layers], seed=0, **options)
    model.set_weights(workload.weights())
    return model


def gradient_errors(workload: Workload) -> dict[str, float]:
    """Of the gradient by which a step goes, against that in float64."""
    x, y = (rows[: workload.batch_size] for rows in workload.data())
    exact = network(workload, dtype="float64")
    exact.compile("sgd", workload.loss)
    _, right = exact.loss_and_gradients(x, y)
    found = {}
    for precision in PRECISIONS:
        model = network(workload, precision=precision)
        model.compile(dnn.SGD(RATE), workload.loss)
        before = model.get_weights()
        model.train_on_batch(x, y)
        steps = [
            (old - new.astype(np.float64)) / RATE
            for old, new in zip(before, model.get_weights(), strict=True)
        ]
        off = sum(float(((step - r) ** 2).sum()) for step, r in zip(steps, right, strict=True))
        found[precision] = (off / sum(float((r**2).sum()) for r in right)) ** 0.5
    return found


def digits_accuracy(seeds: int) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over seeds of weights and split; 64-128-64-10, Adam, 30 epochs."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    found: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for seed in range(seeds):
        x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=0.3, random_state=seed)
        for precision in PRECISIONS:
            layers = [dnn.Dense(128, "relu"), dnn.Dense(64, "relu"), dnn.Dense(10, "softmax")]
            model = dnn.Sequential(layers, seed=seed, precision=precision)
            model.compile("adam", "cross_entropy", metrics=["accuracy"])
            model.fit(x_train, y_train, batch_size=32, epochs=30, verbose=0)
            found[precision].append(model.evaluate(x_test, y_test)["accuracy"])
    return {name: (statistics.mean(values), statistics.stdev(values)) for name, values in found.items()}


def step_times(workload: Workload, steps: int, rounds: int) -> dict[str, float]:
    """Median microseconds of a step over the rounds, the precisions in turn."""
    x, y = (rows[: steps * workload.batch_size] for rows in workload.data())
    models = {precision: network(workload, precision=precision) for precision in PRECISIONS}
    found: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for model in models.values():
        model.compile(workload.optimizer, workload.loss)
    for round_ in range(rounds + 1):
        for precision, model in models.items():
            start = time.perf_counter()
            model.fit(x, y, workload.batch_size, verbose=0)
            if round_:  # the first one warms up
                found[precision].append((time.perf_counter() - start) / steps * 1e6)
    return {name: statistics.median(times) for name, times in found.items()}


def arithmetics() -> str:
    """What each precision computes with here, where layers are large enough."""
    workload = WORKLOADS["tabular"]
    x, y = (rows[: 2 * workload.batch_size] for rows in workload.data())
    found = []
    for precision in PRECISIONS:
        model = network(workload, precision=precision)
        model.compile(workload.optimizer, workload.loss)
        history = model.fit(x, y, workload.batch_size, verbose=0)
        found.append(f"{precision} is {history.arithmetic}")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workloads", default=",".join(STEPS), help="comma between; default %(default)s")
    parser.add_argument("--no-times", action="store_true", help="errors and accuracy only")
    asked = parser.parse_args()
    names = asked.workloads.split(",")
    print(f"{dnn.get_num_threads()} threads; {arithmetics()}\n")
    print("| | " + " | ".join(PRECISIONS) + " |\n|" + "---|" * (len(PRECISIONS) + 1))
    for name in names:
        errors = gradient_errors(WORKLOADS[name])
        print(
            f"| error of the gradient, {name} | " + " | ".join(f"{errors[p]:.1e}" for p in PRECISIONS) + " |"
        )
    accuracy = digits_accuracy(asked.seeds)
    cells = [f"{mean:.2%} +- {deviation:.2%}" for mean, deviation in accuracy.values()]
    print(f"| test accuracy, digits, {asked.seeds} seeds | " + " | ".join(cells) + " |", flush=True)
    for name in [] if asked.no_times else names:
        times = step_times(WORKLOADS[name], STEPS[name], asked.rounds)
        print(
            f"| us a step, {name} | " + " | ".join(f"{times[p]:,.0f}" for p in PRECISIONS) + " |", flush=True
        )


if __name__ == "__main__":
    main()
