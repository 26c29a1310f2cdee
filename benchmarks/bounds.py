"""`python -m benchmarks.bounds`: what bounds a training step on this machine, and how near to it dnn comes.

In: the workloads, and what `cargo run --release --example machine -p dnn-kernels` measures in the same run.
Out: microseconds for the products at the ceiling, for the step of the optimizer, and for the cache lines that
two threads have to bring over, beside what a step took. These are not all of it: nothing is counted for
activations, losses, gathering rows, and for waiting.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from .report import table
from .workloads import WORKLOADS, Workload

ROOT = Path(__file__).resolve().parents[1]
LARGEST_SHARED = 160 * 1024  # parameters, as `MAX_SHARED_PARAMETERS` in rust/core/src/step/shares.rs
FEWEST_SHARED = 32  # rows, as `MIN_SHARED_ROWS` there
LINE = 64
NAMES = ("digits", "deep-narrow", "tabular", "mnist-small", "mnist-mlp", "wide")


def parameters(workload: Workload) -> int:
    return sum(w.size for w in workload.weights())


def machine(sizes: list[int]) -> dict[str, Any]:
    command = ["cargo", "run", "--release", "--quiet", "--example", "machine", "-p", "dnn-kernels", "--"]
    command += [str(size) for size in sizes]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(answer)
    return found


def operations(workload: Workload) -> int:
    """Multiplications and additions of the products of one step; the first layer hands no gradient on."""
    layers = [n * m for n, m in zip(workload.widths[:-1], workload.widths[1:], strict=True)]
    return 2 * workload.batch_size * (3 * sum(layers) - layers[0])


def parts(workload: Workload, threads: int, costs: dict[str, Any]) -> tuple[float, float, float]:
    """Microseconds of products, optimizer and cache lines."""
    count = parameters(workload)
    products = operations(workload) / costs["ceiling"][threads - 1]
    update = count * costs[workload.optimizer][str(count)] / threads
    lines = 0.0
    if threads == 2:
        # Each thread brings over the half of the weights that the other has stepped; where the rows are
        # shared, also the half of the gradient that is its own to step along.
        halves = 2 if count <= LARGEST_SHARED and workload.batch_size >= FEWEST_SHARED else 1
        lines = halves * count * 4 / 2 / LINE * costs["line"]
    return products / 1e3, update / 1e3, lines / 1e3


def microseconds(workload: Workload, threads: int, turns: int) -> float:
    """Of a step, the best of several fits."""
    from .peers.dnn_peer import Dnn

    x, y = workload.data()
    peer = Dnn(workload, x, y, threads)
    best = float("inf")
    for _ in range(turns + 1):
        peer.reset()
        start = time.perf_counter()
        peer.fit()
        best = min(best, time.perf_counter() - start)
    return 1e6 * best / workload.steps


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bounds", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="WORKLOAD")
    parser.add_argument("--turns", type=int, default=8)
    arguments = parser.parse_args()
    workloads = [WORKLOADS[name] for name in arguments.names]
    costs = machine([parameters(workload) for workload in workloads])
    one, two = costs["ceiling"]
    print(f"{costs['set']}: {one:.0f} operations in a nanosecond on one thread, {two:.0f} on two")
    print(
        f"a job for two threads {costs['job']:.0f} ns, a cache line from the other {costs['line']:.1f} ns\n"
    )
    rows = [["", "threads", "products us", "optimizer us", "lines us", "sum us", "a step us", "sum / step"]]
    for workload in workloads:
        for threads in (1, 2):
            of = parts(workload, threads, costs)
            took = microseconds(workload, threads, arguments.turns)
            figures = [f"{part:,.1f}" for part in (*of, sum(of), took)]
            rows.append([workload.name, str(threads), *figures, f"{sum(of) / took:.2f}"])
    print(table(rows))


if __name__ == "__main__":
    main()
