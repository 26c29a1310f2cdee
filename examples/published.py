"""Published results, trained again: a table of what others report and what is reached here.

python examples/published.py --data FOLDER [--only NAME ...] [--threads N] [--seed N]

FOLDER has the folders mnist and fashion_mnist with their IDX files, packed or not, and california_housing
with cal_housing_with_header.csv (the StatLib columns). Each setting follows its source; where the source
leaves something open, or would take hours, the function says what was chosen. All of them take about
three quarters of an hour on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dnn
import idx
import numpy as np


class Asked(NamedTuple):
    """What the command line asks for."""

    data: Path
    threads: int | None
    seed: int


class Row(NamedTuple):
    """A line of the table."""

    setting: str
    published: str
    reached: str
    epochs: int


def housing(folder: Path) -> tuple[Any, Any]:
    """Read California housing as scikit-learn's fetch_california_housing has it: rows of 8, in 100 000 $."""
    path = folder / "california_housing" / "cal_housing_with_header.csv"
    if not path.is_file():
        raise SystemExit(f"there is no {path}")
    longitude, latitude, age, rooms, bedrooms, people, homes, income, value = np.loadtxt(
        path, delimiter=",", skiprows=1, unpack=True
    )
    columns = [income, age, rooms / homes, bedrooms / homes, people, people / homes, latitude, longitude]
    return np.column_stack(columns), value / 100_000


def california(asked: Asked) -> Iterator[Row]:
    """Train Geron's regressor (Hands-On Machine Learning, 3rd edition, chapter 10).

    scikit-learn's MLPRegressor with [50, 50, 50] and all defaults, on standardised columns, reaches 0.505 on
    the validation rows of two splits with random_state=42. All its settings are fixed, the seed as well.
    """
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, _, y, _ = train_test_split(*housing(asked.data), random_state=42)
    x, x_valid, y, y_valid = train_test_split(x, y, random_state=42)
    network = dnn.MLPRegressor(hidden_layer_sizes=[50, 50, 50], random_state=42, n_threads=asked.threads)
    model = make_pipeline(StandardScaler(), network).fit(x, y)
    rmse = float(np.sqrt(np.mean((model.predict(x_valid) - y_valid) ** 2)))
    yield Row(
        "California housing, MLPRegressor([50, 50, 50]), RMSE",
        "0.505 (Geron 2022)",
        f"{rmse:.3f}",
        network.n_iter_,
    )


def fashion_100(asked: Asked) -> Iterator[Row]:
    """Train a classifier of the benchmark of Fashion-MNIST (Xiao et al. 2017): standardised pixels, defaults.

    scikit-learn of that time stopped after two epochs without an improvement, today after ten; two are taken.
    """
    images = idx.load(asked.data / "fashion_mnist")
    mean, std = images.x.mean(axis=0), images.x.std(axis=0)
    std[std == 0] = 1
    model = dnn.MLPClassifier(
        (100,), activation="relu", n_iter_no_change=2, random_state=asked.seed, n_threads=asked.threads
    )
    model.fit((images.x - mean) / std, images.y)
    accuracy = model.score((images.x_test - mean) / std, images.y_test)
    yield Row(
        "Fashion-MNIST, MLPClassifier((100,)), relu",
        "0.868 (Xiao et al. 2017)",
        f"{accuracy:.4f}",
        model.n_iter_,
    )


def trained(
    model: dnn.Sequential, images: idx.Images, asked: Asked, **settings: Any
) -> tuple[float, dnn.History]:
    """Return the accuracy on the test rows after the last epoch, and the history.

    The test rows choose nothing: neither the epoch nor a setting.
    """
    history = model.fit(images.x, images.y, verbose=0, n_threads=asked.threads, **settings)
    return float((model.predict_classes(images.x_test) == images.y_test).mean()), history


def fashion_sgd(asked: Asked) -> Iterator[Row]:
    """Train Geron's 300-100 relu (2nd edition, chapter 10): SGD at 0.01, batches of 32, 30 epochs.

    He learns from 55000 of the rows, and so does this.
    """
    images = idx.load(asked.data / "fashion_mnist")
    images = images._replace(x=images.x[5000:], y=images.y[5000:])
    model = dnn.Sequential(
        [dnn.Dense(300, "relu"), dnn.Dense(100, "relu"), dnn.Dense(10, "softmax")], seed=asked.seed
    )
    accuracy, history = trained(model, images, asked, optimizer=dnn.SGD(0.01), batch_size=32, epochs=30)
    yield Row(
        "Fashion-MNIST, 300-100 relu, SGD", "0.880 (Geron 2019)", f"{accuracy:.4f}", len(history.epochs)
    )


def selu(asked: Asked) -> Iterator[Row]:
    """Train 100 hidden layers of selu and of relu on Fashion-MNIST (Geron, 2nd edition, chapter 11).

    The first has 300 units, the others 100; standardised pixels, SGD at 0.001, batches of 32, 5 epochs, 55000
    rows to learn from. He reports 0.703 for relu on his validation rows, and that only selu learns as it
    should; Klambauer et al. (2017) say why.
    """
    images = idx.load(asked.data / "fashion_mnist")
    mean, std = images.x[5000:].mean(axis=0), images.x[5000:].std(axis=0)
    std[std == 0] = 1
    images = idx.Images(
        (images.x[5000:] - mean) / std, images.y[5000:], (images.x_test - mean) / std, images.y_test
    )
    published = {"selu": "better than relu (Klambauer et al. 2017)", "relu": "0.703 (Geron 2019)"}
    for activation, weights in (("selu", "lecun_normal"), ("relu", "he_normal")):
        widths = [300] + [100] * 99
        layers = [dnn.Dense(n, activation, weight_initializer=weights) for n in widths]
        model = dnn.Sequential([*layers, dnn.Dense(10, "softmax")], seed=asked.seed)
        accuracy, history = trained(model, images, asked, optimizer=dnn.SGD(0.001), batch_size=32, epochs=5)
        yield Row(
            f"Fashion-MNIST, 100 hidden layers of {activation}",
            published[activation],
            f"{accuracy:.4f}",
            len(history.epochs),
        )


def dropout(asked: Asked) -> Iterator[Row]:
    """Train the example mnist_mlp of Keras (98.40 % in its words): RMSprop, dropout 0.2, batches of 128."""
    images = idx.load(asked.data / "mnist")
    layers = [dnn.Dense(512, "relu"), dnn.Dropout(0.2), dnn.Dense(512, "relu"), dnn.Dropout(0.2)]
    model = dnn.Sequential([*layers, dnn.Dense(10, "softmax")], seed=asked.seed)
    accuracy, history = trained(
        model, images, asked, optimizer=dnn.RMSprop(0.001, epsilon=1e-7), batch_size=128, epochs=20
    )
    yield Row(
        "MNIST, 784-512-512-10, dropout", "98.3 to 98.4 % (Keras)", f"{accuracy:.2%}", len(history.epochs)
    )


def max_norm(asked: Asked) -> Iterator[Row]:
    """Train 3 x 1024 relu with dropout and max-norm (Srivastava et al. 2014, table 2: 1.06 % errors).

    A fifth of the inputs and half of the hidden units are dropped, as there. The paper takes about a million
    steps of momentum; 100 epochs of Adam along a cosine take 47 000.
    """
    images = idx.load(asked.data / "mnist")
    layers: list[Any] = [dnn.Dropout(0.2)]
    for _ in range(3):
        layers += [dnn.Dense(1024, "relu", weight_initializer="he_normal", max_norm=3), dnn.Dropout(0.5)]
    model = dnn.Sequential([*layers, dnn.Dense(10, "softmax", max_norm=3)], seed=asked.seed)
    accuracy, history = trained(
        model, images, asked, optimizer=dnn.Adam(dnn.CosineDecay(0.001)), batch_size=128, epochs=100
    )
    yield Row(
        "MNIST, 3 x 1024 relu, dropout + max-norm",
        "98.8 to 98.94 % (Srivastava et al. 2014)",
        f"{accuracy:.2%}",
        len(history.epochs),
    )


RESULTS: dict[str, Callable[[Asked], Iterator[Row]]] = {
    "california": california,
    "fashion-100": fashion_100,
    "fashion-sgd": fashion_sgd,
    "selu": selu,
    "dropout": dropout,
    "max-norm": max_norm,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train published results again.")
    parser.add_argument("--data", type=idx.folder, required=True, help="folder of the data sets")
    parser.add_argument("--only", nargs="+", choices=RESULTS, default=list(RESULTS), metavar="NAME")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    asked = Asked(given.data, given.threads, given.seed)

    print(
        "| setting | published | reached | epochs | seconds |", "|---|---|---|---|---|", sep="\n", flush=True
    )
    for name in given.only:
        start = time.perf_counter()
        for row in RESULTS[name](asked):
            seconds = time.perf_counter() - start
            print(f"| {' | '.join(map(str, row))} | {seconds:.0f} |", flush=True)
            start = time.perf_counter()


if __name__ == "__main__":
    main()
