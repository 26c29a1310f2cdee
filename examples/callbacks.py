"""Callbacks: look on while a model trains, save it, stop it.

A plain function is called as f(epoch, logs) after each epoch. A class can hear of the beginning and end of
training, epochs and batches; returning True stops. With validation data the best epoch's weights come back.
"""

import tempfile
from pathlib import Path

import dnn
import numpy as np


class Best(dnn.Callback):
    """Writes the model to a file whenever the validation loss is the lowest so far."""

    def __init__(self, path: Path):
        self.path, self.lowest, self.saved = path, float("inf"), 0

    def on_epoch_end(self, epoch, logs):
        if logs["val_loss"] < self.lowest:
            self.lowest = logs["val_loss"]
            self.model.save(self.path)
            self.saved += 1

    def on_train_end(self, logs):
        print(f"saved {self.saved} times, the last time with val_loss {self.lowest:.4f}")


def report(epoch, logs):
    if epoch % 10 == 0:
        print(f"epoch {epoch}: loss {logs['loss']:.4f}, val_loss {logs['val_loss']:.4f}")
    return logs["val_loss"] < 0.05  # good enough: stop


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4))
    y = np.tanh(x[:, 0] - x[:, 1] * x[:, 2])

    model = dnn.Sequential([dnn.Dense(32, "tanh"), dnn.Dense(1)], seed=1)
    with tempfile.TemporaryDirectory() as folder:
        best = Best(Path(folder) / "best.dnn")
        history = model.fit(
            x,
            y,
            epochs=200,
            validation_split=0.2,
            callbacks=[report, best],
            optimizer=dnn.Adam(0.01),
            verbose=0,
        )
        print(f"{history.stopped_because}: {history.message}")
        same = np.array_equal(dnn.load(best.path).predict(x), model.predict(x))
        print(f"the file holds the best epoch's weights, like the model: {same}")


if __name__ == "__main__":
    main()
