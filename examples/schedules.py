"""Learning-rate schedules compared: one network, one optimizer, one seed, and the rate in different ways.

The data is noisy, so that a constant rate must be either slow or stay at a distance from the minimum. Each
line has the rate of some epochs, and the root of the mean squared error on rows that were held back. What a
schedule needs to know of the training, its length, it gets from `fit`.
"""

import dnn
import numpy as np

ROWS, BATCH, EPOCHS = 1000, 20, 40
STEPS = ROWS // BATCH * EPOCHS  # of the training

SCHEDULES = {
    "constant, 0.01": 0.01,
    "constant, 0.3": 0.3,
    "step": dnn.StepDecay(0.3, 10, 0.3, per="epoch"),
    "multi-step": dnn.MultiStepDecay(0.3, [20, 30, 35], 0.3, per="epoch"),
    "exponential": dnn.ExponentialDecay(0.3, STEPS, 0.01),
    "inverse time": dnn.InverseTimeDecay(0.3, STEPS // 20, 1.0),
    "polynomial": dnn.PolynomialDecay(0.3),
    "cosine": dnn.CosineDecay(0.3),
    "cosine, restarts": dnn.CosineRestarts(0.3, STEPS // 3 + 1),
    "cosine behind a warm-up": dnn.WarmUp(dnn.CosineDecay(0.3), STEPS // 20),
    "one cycle": dnn.OneCycle(0.5),
    "coslog4": dnn.CosLog4(0.3),
    "piecewise": dnn.Piecewise([20, 30], [0.3, 0.1, 0.01], per="epoch"),
    "scikit-learn's invscaling": dnn.InverseScaling(0.3, 0.2),
    "scikit-learn's adaptive": dnn.Adaptive(0.3, tol=1e-3, n_iter_no_change=3),
    "on a plateau": dnn.ReduceOnPlateau(0.3, factor=0.3, patience=3),
    "a function of the step": lambda step: 0.3 / (1 + step / 100),
}
SHOWN = (0, 9, 19, 29, 39)


def waves(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    x = rng.uniform(-1, 1, (rows, 2))
    return x, np.sin(3 * x[:, 0]) * np.cos(3 * x[:, 1]) + 0.3 * rng.normal(size=rows)


def main() -> None:
    x, y = waves(ROWS)
    x_test, y_test = waves(4000)
    print(f"{'':<28}{'rate of epoch ' + ', '.join(str(epoch + 1) for epoch in SHOWN):<44}error")
    found = {}
    for name, rate in SCHEDULES.items():
        model = dnn.Sequential([dnn.Dense(32, "tanh"), dnn.Dense(32, "tanh"), dnn.Dense(1)], seed=1)
        optimizer = dnn.SGD(rate, momentum=0.5)
        history = model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, optimizer=optimizer, verbose=0)
        found[name] = model.evaluate(x_test, y_test)["loss"] ** 0.5
        rates = ", ".join(f"{history.history['rate'][epoch]:.4f}" for epoch in SHOWN)
        print(f"{name:<28}{rates:<44}{found[name]:.3f}")
    is_lower = found["cosine"] < min(found["constant, 0.01"], found["constant, 0.3"])
    print(f"the noise alone is 0.300; the cosine ends below both constants: {is_lower}")


if __name__ == "__main__":
    main()
