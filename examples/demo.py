"""The main job from end to end: `make demo`, or `make demo DATA=folder`.

Trains a network on the handwritten digits that scikit-learn carries, or on the MNIST or Fashion-MNIST files
of a folder. Shows progress, test accuracy, which digits were taken for which, the time beside the same
training in pure NumPy, and where it wrote the model and a picture of the learning curves.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import dnn
import idx
import numpy as np

HIDDEN = (128, 64)
# dnn and NumPy are timed in turn, so often, or until so many seconds have passed; the median counts.
ROUNDS, LONG = 3, 8.0


class Task(NamedTuple):
    """What is learned, and how long."""

    name: str
    images: idx.Images
    batch_size: int
    epochs: int


def digits() -> Task:
    """Return the 1797 images of 8 x 8 in scikit-learn, a fifth of them for the test."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise SystemExit("the digits come with scikit-learn: pip install scikit-learn") from None
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = data.data[order].astype(np.float32) / 16, data.target[order]
    split = len(y) * 4 // 5
    return Task("scikit-learn's digits", idx.Images(x[:split], y[:split], x[split:], y[split:]), 32, 30)


def from_files(folder: Path) -> Task:
    return Task(f"the images in {folder}", idx.load(folder), 128, 5)


def network(images: idx.Images) -> dnn.Sequential:
    n_inputs, n_classes = images.x.shape[1], int(images.y.max()) + 1
    hidden = [dnn.Dense(units, "relu", weight_initializer="he_normal") for units in HIDDEN]
    model = dnn.Sequential([dnn.Input(n_inputs), *hidden, dnn.Dense(n_classes, "softmax")], seed=1)
    model.compile(dnn.Adam(0.001), loss="cross_entropy", metrics=["accuracy"])
    return model


def confusion(truth: Any, answer: Any) -> str:
    """Count, for each class (line), how often it was taken for each class (column); a dot is never."""
    classes = int(truth.max()) + 1
    table = np.zeros((classes, classes), int)
    np.add.at(table, (truth, answer), 1)
    width = max(5, len(str(table.max())) + 2)
    lines = ["is \\ taken for" + "".join(f"{j:>{width}}" for j in range(classes)) + f"{'right':>9}"]
    for i, row in enumerate(table):
        cells = "".join(f"{n or '.':>{width}}" for n in row)
        lines.append(f"{i:>14}{cells}{row[i] / max(row.sum(), 1):>9.1%}")
    return "\n".join(lines)


def timings(task: Task) -> tuple[float, float]:
    """Seconds that dnn and NumPy take for the same training, without anybody looking on."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # benchmarks is part of no package
    from benchmarks.numpy_mlp import Adam, NumpyMLP

    images, found = task.images, ([], [])
    for _ in range(ROUNDS):
        model = network(images)
        weights, widths = model.get_weights(), [images.x.shape[1], *HIDDEN, model.n_outputs]
        start = time.perf_counter()
        model.fit(images.x, images.y, task.batch_size, task.epochs, metrics=[], verbose=0)
        found[0].append(time.perf_counter() - start)

        # Labels as one-hot rows are what NumPy is faster with.
        targets = np.eye(widths[-1], dtype=np.float32)[images.y]
        mlp = NumpyMLP(widths, ["relu", "relu", "softmax"], "cross_entropy", weights=weights)
        start = time.perf_counter()
        mlp.train(images.x, targets, batch_size=task.batch_size, epochs=task.epochs, optimizer=Adam(0.001))
        found[1].append(time.perf_counter() - start)
        if sum(found[0]) + sum(found[1]) > LONG:
            break
    return statistics.median(found[0]), statistics.median(found[1])


def draw(history: dnn.History, path: Path) -> str:
    """Write the learning curves to a picture, if matplotlib is there."""
    try:
        import matplotlib as mpl
    except ImportError:
        return "no picture of the learning curves: matplotlib is not installed"
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    history.plot("loss", "val_loss", ax=left)
    history.plot("accuracy", "val_accuracy", ax=right)
    figure.savefig(path, dpi=120)
    return f"wrote the learning curves to {path}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a network on handwritten digits.")
    parser.add_argument("--data", type=idx.folder, help="folder with MNIST or Fashion-MNIST in IDX files")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder for what it writes")
    parser.add_argument("--epochs", type=int, help="passes over the data")
    asked = parser.parse_args()

    task = from_files(asked.data) if asked.data else digits()
    task = task._replace(epochs=asked.epochs or task.epochs)
    images = task.images
    print(f"{task.name}: {len(images.y)} to learn from, {len(images.y_test)} to test with\n")
    model = network(images)
    print(f"{model.summary()}\n", flush=True)

    history = model.fit(
        images.x,
        images.y,
        task.batch_size,
        task.epochs,
        validation_split=0.1,
        verbose=1 if sys.stderr.isatty() else 2,
    )
    answer = model.predict_classes(images.x_test)
    right = int((answer == images.y_test).sum())
    if history.best_epoch is not None:
        print(
            f"\n{history.message}; kept the weights of epoch {history.best_epoch + 1}, the best by validation"
        )
    print(f"test accuracy {right / len(answer):.2%} ({right} of {len(answer)})\n")
    print(confusion(images.y_test, answer))

    ours, theirs = timings(task)
    print(f"\nthe same training, {task.epochs} epochs of batches of {task.batch_size}, without a display:")
    print(f"    dnn          {ours:8.3f} s")
    print(f"    pure NumPy   {theirs:8.3f} s   {theirs / ours:.1f} times as long\n")

    asked.output.mkdir(parents=True, exist_ok=True)
    model.save(asked.output / "digits.dnn")
    print(f"wrote the model to {asked.output / 'digits.dnn'}; dnn.load reads it")
    print(draw(history, asked.output / "learning_curves.png"))


if __name__ == "__main__":
    main()
