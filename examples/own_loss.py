"""A loss and a metric of one's own: an error where too little costs four times as much as too much.

The loss returns its value for each row and its derivative by each output; the metric sees an epoch at once.
"""

import dnn
import numpy as np

SHORT = 4.0


def asymmetric(y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squares, times SHORT where the output is below the target."""
    d = y_pred - y_true
    factor = np.where(d < 0, SHORT, 1.0)
    return (factor * d**2).mean(axis=1), 2 * factor * d / d.shape[1]


def shortfalls(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Share of the rows that got too little."""
    return float(np.mean(y_pred < y_true))


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (2000, 1))
    y = np.sin(2 * x[:, 0]) + rng.normal(0, 0.3, 2000)

    for loss in ("mse", asymmetric):
        model = dnn.Sequential([dnn.Dense(32, "tanh"), dnn.Dense(1)], seed=1)
        history = model.fit(
            x, y, epochs=60, loss=loss, metrics=["mae", shortfalls], validation_split=0.2, verbose=0
        )
        last = {name: values[-1] for name, values in history.history.items()}
        print(f"{model.loss.name:10}  too little for {last['val_shortfalls']:.0%}, mae {last['val_mae']:.2f}")

    # Central differences agree with the gradient that the function returns.
    checked = dnn.Sequential([dnn.Dense(4, "tanh"), dnn.Dense(1)], seed=1, dtype="float64")
    checked.fit(x[:50], y[:50], loss=asymmetric, verbose=0)
    print(f"gradient check: {checked.check_gradients(x[:50], y[:50]).largest:.0e}")


if __name__ == "__main__":
    main()
