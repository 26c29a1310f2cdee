"""Saving: a model goes on from its file as if it had never stopped, bit for bit.

The file has the layers, weights, loss, optimizer and the optimizer's memory. Twenty epochs at once, and ten
epochs, a file, and ten more, end at the same bits. A pickle and a copy do the same.
"""

import copy
import pickle
import tempfile
from pathlib import Path

import dnn
import numpy as np


def network() -> dnn.Sequential:
    return dnn.Sequential([dnn.Dense(16, "relu"), dnn.Dense(3, "softmax")], seed=1)


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4))
    y = x[:, :3].argmax(axis=1)

    at_once = network()
    at_once.fit(x, y, epochs=20, optimizer="adam", verbose=0)

    first_half = network()
    first_half.fit(x, y, epochs=10, optimizer="adam", verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.dnn"
        first_half.save(path)
        print(f"the file has {path.stat().st_size} bytes")
        from_file = dnn.load(path)
    others = {"file": from_file, "pickle": pickle.loads(pickle.dumps(first_half))}
    others["copy"] = copy.deepcopy(first_half)
    for name, model in others.items():
        model.fit(x, y, epochs=20, initial_epoch=10, verbose=0)
        same = np.array_equal(model.flat_parameters, at_once.flat_parameters)
        print(f"10 epochs, {name}, 10 more: the bits of 20 at once: {same}")


if __name__ == "__main__":
    main()
