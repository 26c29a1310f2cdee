"""Several labels at once: each output is a question of its own, with a sigmoid and binary cross entropy.

A point of the plane is right of a line, above another, inside a circle; any of these may be true together.
"""

import dnn
import numpy as np

LABELS = ["right", "above", "inside"]


def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(n, 2))
    return x, np.column_stack([x[:, 0] > 0.3, x[:, 1] > x[:, 0], (x**2).sum(1) < 1.5]).astype(float)


def main() -> None:
    rng = np.random.default_rng(0)
    (x, y), (x_new, y_new) = sample(rng, 2000), sample(rng, 1000)
    model = dnn.Sequential([dnn.Dense(32, "relu"), dnn.Dense(3, "sigmoid")], seed=1)
    model.fit(x, y, epochs=40, metrics=["accuracy"], verbose=0)  # sigmoid: binary_cross_entropy
    probabilities = model.predict(x_new)
    for label, p, t in zip(LABELS, probabilities.T, y_new.T, strict=True):
        print(f"{label:>7}: {np.mean((p > 0.5) == t):.1%} right")
    print(f"accuracy over all labels: {model.evaluate(x_new, y_new)['accuracy']:.1%}")
    shown = ", ".join(
        f"{label} {p:.2f}" for label, p in zip(LABELS, model.predict([[1.0, -0.5]])[0], strict=True)
    )
    print(f"at (1, -0.5): {shown}")


if __name__ == "__main__":
    main()
