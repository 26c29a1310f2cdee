"""Batch, mini-batch and stochastic gradient descent: the same data, the same number of epochs.

All rows in each step give few, exact steps; one row in each step gives many, noisy ones; a few rows in each
step are between the two, and are what is used in practice. Momentum and Adam make more of each step.
"""

import dnn
import numpy as np

EPOCHS = 30
VARIANTS = [
    ("batch gradient descent", "full", dnn.SGD(0.1)),
    ("mini-batches of 32", 32, dnn.SGD(0.1)),
    ("stochastic gradient descent", 1, dnn.SGD(0.02)),
    ("mini-batches with momentum", 32, dnn.SGD(0.1, momentum=0.9)),
    ("mini-batches with Nesterov's momentum", 32, dnn.SGD(0.1, momentum=0.9, nesterov=True)),
    ("mini-batches with Adam", 32, dnn.Adam(0.01)),
]


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4))
    y = np.tanh(x[:, :1] - x[:, 1:2] * x[:, 2:3])

    print(f"{'after ' + str(EPOCHS) + ' epochs of 500 rows':<40}{'steps':>8}{'loss':>10}")
    for name, batch_size, optimizer in VARIANTS:
        model = dnn.Sequential([dnn.Dense(32, "tanh"), dnn.Dense(1)], seed=1)
        model.fit(x, y, batch_size=batch_size, epochs=EPOCHS, optimizer=optimizer, loss="mse", verbose=0)
        steps = EPOCHS * (1 if batch_size == "full" else -(-len(x) // batch_size))
        print(f"{name:<40}{steps:>8}{model.evaluate(x, y)['loss']:>10.4f}")


if __name__ == "__main__":
    main()
