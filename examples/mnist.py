"""Handwritten digits: two classic networks on MNIST, and what they reach.

python examples/mnist.py --data FOLDER [--network small|large] [--epochs 30]

FOLDER has the four IDX files of MNIST (or Fashion-MNIST), packed or not. `small` is the first network of
Michael Nielsen's book, http://neuralnetworksanddeeplearning.com/chap1.html: 784-30-10, all sigmoid, squared
error, batches of 10, 30 epochs; it is known for 95 %. `large` is 784-100-10 with cross entropy and a little
weight decay, as in chapter 3, which is known for 97.8 %.
"""

from __future__ import annotations

import argparse

import dnn
import idx
import numpy as np

BATCH = 10


def small(steps: int) -> tuple[dnn.Sequential, dict]:
    """Return the network with squared error.

    The book's loss is C = 1/(2n) sum over rows and outputs of (y - t)^2, with the gradient (y - t) / n. `mse`
    is the mean over rows and outputs, whose gradient is 2 (y - t) / (10 n) for 10 outputs: a fifth of that.
    So the book's rate of 3.0 is 5 x 3.0 here; with `sse`, which is 2 C, it would be 3.0 / 2. The first
    weights are smaller than the book's standard normal ones, as its chapter 3 advises.
    """
    layers = [dnn.Dense(30, "sigmoid"), dnn.Dense(10, "sigmoid")]
    return dnn.Sequential(layers, seed=1), {"optimizer": dnn.SGD(5 * 3.0), "loss": "mse"}


def large(steps: int) -> tuple[dnn.Sequential, dict]:
    """Return the network with cross entropy, a rate that falls from 0.5 to 0, and weight decay.

    The book's decay is lambda/(2n) sum W^2 with lambda = 5 and n = 50000: 5e-5 sum W^2.
    """
    layers = [dnn.Dense(100, "sigmoid", l2=5e-5), dnn.Dense(10, "softmax", l2=5e-5)]
    rates = np.linspace(0.5, 0.0, steps, endpoint=False)
    return dnn.Sequential(layers, seed=1), {"optimizer": dnn.SGD(rates), "loss": "cross_entropy"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a classic network on MNIST.")
    parser.add_argument("--data", type=idx.folder, required=True, help="folder with the IDX files")
    parser.add_argument("--network", choices=("small", "large"), default="small")
    parser.add_argument("--epochs", type=int, default=30)
    asked = parser.parse_args()

    images = idx.load(asked.data)
    steps = asked.epochs * -(-len(images.y) // BATCH)
    model, settings = {"small": small, "large": large}[asked.network](steps)
    targets = np.eye(10)[images.y] if settings["loss"] == "mse" else images.y
    history = model.fit(images.x, targets, batch_size=BATCH, epochs=asked.epochs, verbose="auto", **settings)

    accuracy = (model.predict_classes(images.x_test) == images.y_test).mean()
    seconds = history.history["seconds"][-1]
    loss = history.history["loss"][-1]
    print(f"{model}: {len(history.epochs)} epochs in {seconds:.1f} s, last loss {loss:.4f}")
    print(f"test accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
