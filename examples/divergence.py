"""Divergence: a learning rate that is too large is noticed, named and survived.

Training stops at the first loss or gradient that is not finite, a warning names the epoch, step and layer,
and the weights are those before that step. With a smaller rate the same network learns.
"""

import warnings

import dnn
import numpy as np


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = x @ [[1.0], [-2.0], [0.5]]

    for rate in (10.0, 0.01):
        model = dnn.Sequential([dnn.Dense(32, "relu"), dnn.Dense(1)], seed=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", dnn.DivergenceWarning)
            history = model.fit(x, y, epochs=50, optimizer=dnn.SGD(rate), verbose=0)
        print(f"rate {rate:g}: {history.stopped_because}")
        for warning in caught:
            print(f"    {warning.category.__name__}: {warning.message}")
        if history.stopped_because == "diverged":
            finite = all(np.isfinite(weights).all() for weights in model.get_weights())
            print(f"    all weights are finite: {finite}")
        else:
            print(f"    loss {history.history['loss'][0]:.4f} -> {history.history['loss'][-1]:.4f}")


if __name__ == "__main__":
    main()
