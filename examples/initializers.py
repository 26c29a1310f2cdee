"""First weights: why they must not all be the same, nor too large or too small.

With zeros, every unit of a layer computes the same and gets the same share of the error, so the units stay
equal for ever; behind relu they get no share at all. Random weights tell the units apart. Too small ones let
the signal die on its way through the layers, too large ones let it explode; `he_normal` has the size that
keeps it alive through layers of relu.
"""

import warnings

import dnn
import numpy as np

CHOICES = ["zeros", dnn.Normal(std=0.01), dnn.Normal(std=1.0), "glorot_uniform", "he_normal"]


def main() -> None:
    # The last column tells, and the loss.
    warnings.simplefilter("ignore", dnn.DivergenceWarning)
    warnings.filterwarnings("ignore", "evaluate gives a loss of nan", RuntimeWarning)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 10))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    x, y, x_test, y_test = x[:2000], y[:2000], x[2000:], y[2000:]

    print(f"{'weights':<28}{'last a, std':>12}{'distinct units':>16}{'loss':>8}{'accuracy':>10}  ended by")
    for choice in CHOICES:
        layers = [dnn.Dense(32, "relu", weight_initializer=choice) for _ in range(8)]
        output = dnn.Dense(1, "sigmoid", weight_initializer=choice)
        model = dnn.Sequential([dnn.Input(10), *layers, output], seed=1)
        spread = float(model.forward(x)[7].a.std())
        history = model.fit(x, y, epochs=20, optimizer=dnn.SGD(0.05), metrics=["accuracy"], verbose=0)
        distinct = len(np.unique(model.get_weights()[0], axis=1).T)
        measured = model.evaluate(x_test, y_test)
        results = f"{measured['loss']:>8.2g}{measured['accuracy']:>10.0%}  {history.stopped_because}"
        print(f"{choice!s:<28}{spread:>12.2g}{distinct:>16}{results}")


if __name__ == "__main__":
    main()
