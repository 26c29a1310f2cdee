"""Quantiles: intervals that are wide where the data scatter, and how many of new data they hold.

One network has an output for each of three quantiles; another gives a mean and a variance instead.
"""

import dnn
import numpy as np


def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A sine whose noise grows with x."""
    x = rng.uniform(0, 3, n)
    return x.reshape(-1, 1), np.sin(2 * x) + rng.normal(0, 0.05 + 0.2 * x)


def network(outputs: int) -> dnn.Sequential:
    return dnn.Sequential([dnn.Dense(32, "tanh"), dnn.Dense(32, "tanh"), dnn.Dense(outputs)], seed=1)


def main() -> None:
    rng = np.random.default_rng(0)
    (x, y), (x_new, y_new) = sample(rng, 4000), sample(rng, 4000)
    points = np.array([[0.5], [1.5], [2.5]])

    quantiles = network(3)
    quantiles.fit(x, y, epochs=60, loss=dnn.Quantile([0.05, 0.5, 0.95]), verbose=0)
    low, median, high = quantiles.predict(points).T
    print("90 % intervals by quantiles")
    for at, bounds in zip(points[:, 0], zip(low, median, high, strict=True), strict=True):
        print(f"  x = {at}: {bounds[0]:6.2f} to {bounds[2]:5.2f}, median {bounds[1]:5.2f}")
    low, _, high = quantiles.predict(x_new).T
    print(f"  hold {np.mean((low <= y_new) & (y_new <= high)):.1%} of new data")

    normal = network(2)
    normal.fit(x, y, epochs=60, loss="gaussian_nll", verbose=0)
    mean, log_variance = normal.predict(points).T
    print("mean and standard deviation")
    for at, m, s in zip(points[:, 0], mean, np.exp(log_variance / 2), strict=True):
        print(f"  x = {at}: {m:6.2f} +- {s:.2f}, where the noise is {0.05 + 0.2 * at:.2f}")
    mean, log_variance = normal.predict(x_new).T
    inside = np.abs(y_new - mean) <= 1.645 * np.exp(log_variance / 2)
    print(f"  1.645 of them to both sides hold {inside.mean():.1%} of new data")


if __name__ == "__main__":
    main()
