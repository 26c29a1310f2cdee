"""`python -m benchmarks.averaging`: what a mean of the weights adds to the time of a step.

The same fits with and without, in turn, in float32; the median of the rounds counts. Prints a table for
documents. A moving mean passes over all parameters once more in each step, an equal mean once in each epoch.
"""

from __future__ import annotations

import argparse
import statistics
import time

import dnn
import numpy as np

# Widths, rows of a batch, batches of an epoch, epochs.
CASES = [
    ((20, 32, 1), 32, 100, 20),
    ((64, 128, 10), 32, 50, 20),
    ((784, 512, 512, 10), 128, 20, 2),
    ((784, 512, 512, 10), 8, 50, 2),
]
RULES = {"none": None, "EMA(0.999)": dnn.EMA(0.999), "SWA(0)": dnn.SWA(0)}


def microseconds(case: tuple[tuple[int, ...], int, int, int], rounds: int) -> dict[str, float]:
    """Median time of a step with each rule."""
    widths, batch, batches, epochs = case
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch * batches, widths[0])).astype(np.float32)
    y = np.tanh(x[:, : widths[-1]])
    layers = [
        dnn.Input(widths[0]),
        *(dnn.Dense(width, "relu") for width in widths[1:-1]),
        dnn.Dense(widths[-1]),
    ]
    found: dict[str, list[float]] = {name: [] for name in RULES}
    for round_ in range(rounds + 1):
        for name, rule in RULES.items():
            model = dnn.Sequential(layers, seed=round_)
            start = time.perf_counter()
            model.fit(x, y, batch, epochs, averaging=rule, verbose=0)
            if round_:  # the first one warms up
                found[name].append((time.perf_counter() - start) / (batches * epochs) * 1e6)
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    print(f"{dnn.get_num_threads()} threads, {dnn.Sequential([dnn.Dense(1)]).isa}")
    print("| network, rows of a batch | without, us | " + " | ".join(list(RULES)[1:]) + " |")
    print("|" + "---|" * (len(RULES) + 1))
    for case in CASES:
        times = microseconds(case, asked.rounds)
        more = [f"{times[name] / times['none'] - 1:+.1%}" for name in list(RULES)[1:]]
        cells = [f"{'-'.join(map(str, case[0]))}, {case[1]}", f"{times['none']:.3g}", *more]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
