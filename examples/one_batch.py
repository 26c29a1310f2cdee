"""Gradient descent as the article has it: one fixed batch, repeated until a tolerance is reached.

Initialise, differentiate the loss, multiply by the learning rate, subtract, repeat. The same loop is written
twice: in one call of `fit`, and by hand with `loss_and_gradients` and `set_weights`. Both take the same
number of steps and end at the same weights.
"""

import dnn
import numpy as np

RATE, TOL, MOST = 0.05, 1e-5, 5000

rng = np.random.default_rng(3)
X = rng.normal(size=(20, 2))
Y = X[:, :1] * X[:, 1:]


def network() -> dnn.Sequential:
    model = dnn.Sequential([dnn.Input(2), dnn.Dense(8, "tanh"), dnn.Dense(1)], seed=4, dtype="float64")
    model.compile(dnn.SGD(RATE), loss="mse")
    return model


def main() -> None:
    model = network()
    history = model.fit(X, Y, batch_size="full", epochs=MOST, tol=TOL, n_iter_no_change=1, verbose=0)
    losses = history.history["loss"]
    print(f"fit:     {len(losses)} steps, loss {losses[0]:.6f} -> {losses[-1]:.6f}; {history.message}")

    by_hand, lowest, steps = network(), float("inf"), 0
    while steps < MOST:
        loss, gradients = by_hand.loss_and_gradients(X, Y)
        weights = by_hand.get_weights()
        by_hand.set_weights([w - RATE * g for w, g in zip(weights, gradients, strict=True)])
        steps += 1
        if not loss < lowest - TOL:  # no lower by more than the tolerance: it is reached
            break
        lowest = loss
    print(f"by hand: {steps} steps, loss {losses[0]:.6f} -> {loss:.6f}")

    difference = np.abs(model.flat_parameters - by_hand.flat_parameters).max()
    print(f"largest difference of a weight: {difference:.0e}")


if __name__ == "__main__":
    main()
