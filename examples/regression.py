"""Regression: a network learns a noisy sine, and stops when a tolerance says so.

Training ends when the loss has not become lower by more than `tol` for `n_iter_no_change` epochs in a row.
The error that is left on fresh points without noise is small against that of a straight line.
"""

import dnn
import numpy as np


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (400, 1))
    y = np.sin(2 * x[:, 0]) + rng.normal(0, 0.1, 400)

    model = dnn.Sequential([dnn.Dense(32, "tanh"), dnn.Dense(32, "tanh"), dnn.Dense(1)], seed=1)
    history = model.fit(
        x, y, epochs=2000, optimizer=dnn.Adam(0.003), loss="mse", tol=1e-4, n_iter_no_change=20, verbose=0
    )
    print(history.message)

    points = np.linspace(-3, 3, 200)[:, None]
    truth = np.sin(2 * points[:, 0])
    line = np.polyval(np.polyfit(x[:, 0], y, 1), points[:, 0])
    error = float(np.mean((model.predict(points)[:, 0] - truth) ** 2))
    print(f"mean squared error of the network        {error:.4f}")
    print(f"mean squared error of the best line      {np.mean((line - truth) ** 2):.4f}")


if __name__ == "__main__":
    main()
