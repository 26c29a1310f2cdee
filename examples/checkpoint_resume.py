"""A training is killed in the middle and goes on from its last checkpoint, to the bits of one never stopped.

The same program runs three times: whole, until it kills itself as a machine that loses power would, and again
from the file that is left.
"""

import os
import subprocess
import sys
import tempfile

import dnn
import numpy as np

EPOCHS = 12


def train(path: str, die_after: int | None) -> dnn.Sequential:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4))
    y = np.tanh(x[:, :1] - x[:, 1:2] * x[:, 2:3])

    if os.path.exists(path):
        model = dnn.load(path)
        print(f"goes on with epoch {model.next_epoch + 1}", flush=True)
    else:
        model = dnn.Sequential([dnn.Dense(32, "relu"), dnn.Dropout(0.1), dnn.Dense(1)], seed=1)
        model.compile(dnn.Adam(0.01))

    def die(epoch: int, logs: dict[str, float]) -> None:
        if epoch + 1 == die_after:
            print(f"dies after epoch {epoch + 1}", flush=True)
            os._exit(1)  # no cleaning up, no last words

    model.fit(
        x,
        y,
        epochs=EPOCHS,
        initial_epoch=model.next_epoch,
        validation_split=0.2,
        early_stopping=4,
        callbacks=[dnn.ReduceLROnPlateau(patience=2), dnn.ModelCheckpoint(path), die],
        verbose=0,
    )
    return model


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = train(os.path.join(folder, "whole.dnn"), None)
        path = os.path.join(folder, "model.dnn")
        subprocess.run([sys.executable, __file__, path], check=False)
        again = train(path, None)
    same = (again.flat_parameters == whole.flat_parameters).all()
    print(f"the bits of a training that never stopped: {same}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(sys.argv[1], die_after=5)
    else:
        main()
