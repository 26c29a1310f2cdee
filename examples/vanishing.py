"""Vanishing gradients: how much of the error reaches each layer of a deep network.

`deltas` gives dL/dz of every layer. The slope of a sigmoid is at most 1/4, so through many of them next to
nothing of the error arrives at the first layers, and they don't learn. relu with he_normal weights passes it
on; weights that are too large make it grow from layer to layer instead.
"""

import dnn
import numpy as np

HIDDEN = 20
CASES = [
    ("sigmoid, glorot_uniform", "sigmoid", "glorot_uniform"),
    ("relu, he_normal", "relu", "he_normal"),
    ("relu, normal(std=1)", "relu", dnn.Normal(std=1.0)),
]


def main() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 50)), rng.normal(size=(64, 1))
    shown = [1, 5, 10, 15, 20]
    print(f"{'norm of dL/dz in layer':<28}" + "".join(f"{number:>10}" for number in shown))
    for title, activation, weights in CASES:
        layers = [dnn.Dense(50, activation, weight_initializer=weights) for _ in range(HIDDEN)]
        model = dnn.Sequential([dnn.Input(50), *layers, dnn.Dense(1)], seed=1, dtype="float64")
        model.compile(loss="mse")
        norms = [float(np.linalg.norm(delta)) for delta in model.deltas(x, y)]
        verdict = norms[0] / norms[HIDDEN - 1]
        word = "vanishes" if verdict < 1e-3 else "explodes" if verdict > 1e3 else "arrives"
        print(f"{title:<28}" + "".join(f"{norms[number - 1]:>10.1e}" for number in shown) + f"   {word}")


if __name__ == "__main__":
    main()
