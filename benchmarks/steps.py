"""`python -m benchmarks.steps`: one call for each step, as loops of one's own do it, beside other systems.

The same network and batch for all, plain gradient descent with cross entropy, and the loss is read after each
step. Prints a table of microseconds, best of one and two threads, medians of rounds in turn. JAX's step is
compiled, with the old weights donated; PyTorch is as in its tutorials; scikit-learn has `partial_fit`, which
takes its metrics and checks along.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import dnn
import jax
import jax.numpy as jnp
import numpy as np
import torch
from sklearn.neural_network import MLPClassifier

from .report import table

RATE = 0.01
# Rows of a batch, and widths of the network.
CASES = [(1, [4, 8, 8, 3]), (8, [4, 8, 8, 3]), (32, [64, 64, 10]), (128, [784, 128, 10])]
Step = Callable[[], float]


def of_dnn(widths: list[int], x: Any, y: Any, threads: int) -> Step:
    layers = [dnn.Dense(n, "relu") for n in widths[1:-1]]
    model = dnn.Sequential([dnn.Input(widths[0]), *layers, dnn.Dense(widths[-1], "softmax")], seed=0)
    model.compile(dnn.SGD(RATE))
    return lambda: model.train_on_batch(x, y, n_threads=threads)["loss"]


def of_torch(widths: list[int], x: Any, y: Any, threads: int) -> Step:
    torch.set_num_threads(threads)
    layers = [(torch.nn.Linear(n, m), torch.nn.ReLU()) for n, m in itertools.pairwise(widths)]
    model = torch.nn.Sequential(*list(itertools.chain(*layers))[:-1])
    optimizer, loss_of = torch.optim.SGD(model.parameters(), RATE), torch.nn.CrossEntropyLoss()
    rows, labels = torch.from_numpy(x), torch.from_numpy(y)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(model(rows), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def of_jax(widths: list[int], x: Any, y: Any, _threads: int) -> Step:
    rng = np.random.default_rng(0)

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        *hidden, (w, b) = params
        for w_i, b_i in hidden:
            x = jax.nn.relu(x @ w_i + b_i)
        return -jnp.mean(jax.nn.log_softmax(x @ w + b)[jnp.arange(len(y)), y])

    def stepped(params: Any, x: Any, y: Any) -> Any:
        loss, gradient = jax.value_and_grad(loss_of)(params, x, y)
        return jax.tree.map(lambda p, g: p - RATE * g, params, gradient), loss

    compiled = jax.jit(stepped, donate_argnums=0)

    def draw(n: int, m: int) -> Any:
        return jnp.asarray(rng.normal(size=(n, m)).astype(np.float32) / n**0.5)

    state = [[(draw(n, m), jnp.zeros(m)) for n, m in itertools.pairwise(widths)]]

    def step() -> float:
        state[0], loss = compiled(state[0], x, y)
        return float(loss)

    return step


def of_sklearn(widths: list[int], x: Any, y: Any, _threads: int) -> Step:
    model = MLPClassifier(
        widths[1:-1], solver="sgd", batch_size=len(x), learning_rate_init=RATE, momentum=0.0
    )
    classes = np.arange(widths[-1])
    return lambda: float(model.partial_fit(x, y, classes=classes).loss_)


SYSTEMS = {"dnn": of_dnn, "PyTorch": of_torch, "JAX": of_jax, "scikit-learn": of_sklearn}


def microseconds(step: Step, seconds: float) -> float:
    """The median of as many steps as there is time for."""
    step()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 20 or time.perf_counter() < until:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each system in each round")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # of scikit-learn, which warns of every batch
    lines = [["rows, network", *SYSTEMS, "x best of them"]]
    for rows, widths in CASES:
        rng = np.random.default_rng(1)
        x = rng.normal(size=(rows, widths[0])).astype(np.float32)
        y = rng.integers(0, widths[-1], rows)
        found: dict[str, list[float]] = {name: [] for name in SYSTEMS}
        for _ in range(asked.rounds):
            for name, make in SYSTEMS.items():
                by_threads = [microseconds(make(widths, x, y, n), asked.seconds) for n in (1, 2)]
                found[name].append(min(by_threads))
        medians = {name: statistics.median(times) for name, times in found.items()}
        best = min(time for name, time in medians.items() if name != "dnn")
        figures = [f"{time:,.1f}" for time in medians.values()]
        lines.append([f"{rows}, {'-'.join(map(str, widths))}", *figures, f"{best / medians['dnn']:.2f}"])
    print(table(lines))


if __name__ == "__main__":
    main()
