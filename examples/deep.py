"""A deep network with each cure for vanishing gradients, trained in the same way.

20 layers of sigmoids learn nothing: each gives back at most a quarter of the error, so the first layers
hear nothing of it. Each line below changes one thing. Shown are how much of dL/dz is left at the first
hidden layer, compared with the last, before training; and the accuracy on rows that were held back, after
it.
"""

import dnn
import numpy as np

HIDDEN, WIDTH = 20, 32


def plain(activation: str, weights: str = "glorot_uniform") -> list:
    return [dnn.Dense(WIDTH, activation, weight_initializer=weights) for _ in range(HIDDEN)]


def normalised(norm: dnn.BatchNormalization | dnn.LayerNormalization, activation: str) -> list:
    # A bias is no use in front of a normalisation, whose beta is one.
    block = [dnn.Dense(WIDTH, use_bias=False), norm, dnn.Activation(activation)]
    return block * HIDDEN


def residual() -> list:
    return [dnn.Dense(WIDTH), *[dnn.Residual([dnn.Dense(WIDTH, "sigmoid")])] * (HIDDEN - 1)]


CASES = {
    "sigmoid": plain("sigmoid"),
    "tanh (slope 1 at 0)": plain("tanh"),
    "relu, he_normal": plain("relu", "he_normal"),
    "selu, lecun_normal": plain("selu", "lecun_normal"),
    "sigmoid, batch normalisation": normalised(dnn.BatchNormalization(momentum=0.9), "sigmoid"),
    # Of rows, not of units: no cure for sigmoids, whose outputs are all positive.
    "tanh, layer normalisation": normalised(dnn.LayerNormalization(), "tanh"),
    "sigmoid, residual": residual(),
    "usual today: residual of norm and relu": [
        dnn.Dense(WIDTH),
        *[dnn.Residual([dnn.LayerNormalization(), dnn.Dense(WIDTH, "relu", weight_initializer="he_normal")])]
        * (HIDDEN - 1),
    ],
}


def rings(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in the plane; the class is which of four rings around 0 they lie in."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (rows, 2))
    return 2 * x, np.minimum(np.hypot(*x.T) * 4, 3.99).astype(int)


def main() -> None:
    x, y = rings(3000)
    print(f"{'':<40}{'left of dL/dz':>14}{'accuracy':>10}")
    for title, layers in CASES.items():
        model = dnn.Sequential([dnn.Input(2), *layers, dnn.Dense(4, "softmax")], seed=1)
        norms = [float(np.linalg.norm(delta)) for delta in model.deltas(x[:100], y[:100])[:-1]]
        model.fit(
            x[:2000], y[:2000], batch_size=100, epochs=30, optimizer=dnn.Adam(0.003), metrics=["accuracy"]
        )
        accuracy = model.evaluate(x[2000:], y[2000:])["accuracy"]
        print(f"{title:<40}{norms[0] / norms[-1]:>14.0e}{accuracy:>10.2f}")


if __name__ == "__main__":
    main()
