"""Rare classes: class weights and the focal loss find more of them, at the price of some false alarms.

Of 3000 rows 4 % are of class 1, and the two classes overlap.
"""

import dnn
import numpy as np


def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    y = (rng.random(n) < 0.04).astype(int)
    return rng.normal(size=(n, 4)) + 1.2 * y[:, None], y


def main() -> None:
    rng = np.random.default_rng(0)
    (x, y), (x_new, y_new) = sample(rng, 3000), sample(rng, 3000)
    ways = {
        "as it is": {},
        "class_weight='balanced'": {"class_weight": "balanced"},
        "class_weight={1: 5}": {"class_weight": {1: 5.0}},
        "focal, weighted": {"loss": dnn.Focal(2.0), "class_weight": {1: 5.0}},
    }
    print(f"{'':<24}{'found':>8}{'right alarms':>14}{'accuracy':>10}")
    for name, options in ways.items():
        model = dnn.Sequential([dnn.Dense(16, "relu"), dnn.Dense(1, "sigmoid")], seed=1)
        model.fit(x, y, epochs=20, verbose=0, **options)
        predicted = model.predict_classes(x_new)
        found = np.mean(predicted[y_new == 1] == 1)
        right = np.mean(y_new[predicted == 1] == 1)
        print(f"{name:<24}{found:>8.1%}{right:>14.1%}{np.mean(predicted == y_new):>10.1%}")


if __name__ == "__main__":
    main()
