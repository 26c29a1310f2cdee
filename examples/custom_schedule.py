"""Learning rates that change: a function of the step, or a list of rates.

The function is asked for every step, counted from 0 over the life of the optimizer. Here the rate first
grows, so that the first steps don't ruin the weights, and then falls along a cosine, so that the last ones
are small.
"""

import math

import dnn
import numpy as np

EPOCHS, ROWS, BATCH = 40, 512, 32
STEPS = EPOCHS * ROWS // BATCH
WARM_UP = STEPS // 10


def warm_up_then_cosine(step: int) -> float:
    if step < WARM_UP:
        return 0.3 * (step + 1) / WARM_UP
    return 0.15 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4))
    y = np.tanh(x[:, :1] - x[:, 1:2] * x[:, 2:3])

    halving = np.repeat([0.3, 0.15, 0.075, 0.0375], STEPS // 4)
    for name, rate in (("constant", 0.3), ("warm-up, cosine", warm_up_then_cosine), ("halving", halving)):
        model = dnn.Sequential([dnn.Dense(32, "tanh"), dnn.Dense(1)], seed=1)
        history = model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, optimizer=dnn.SGD(rate), verbose=0)
        rates = [f"{history.history['rate'][epoch]:.3f}" for epoch in (0, 9, 19, 29, 39)]
        print(f"{name:<16} rates {', '.join(rates)}   loss {history.history['loss'][-1]:.5f}")


if __name__ == "__main__":
    main()
