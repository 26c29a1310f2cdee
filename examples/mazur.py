"""Back-propagation by hand: Matt Mazur's worked example, step by step.

https://mattmazur.com/2015/03/17/a-step-by-step-backpropagation-example/

Two inputs, two hidden and two output units, all sigmoid, one row. It prints z and a of both layers, the
error, dL/dz of both layers, dL/dw of all weights, and the weights after one update. The first steps are the
article's digit for digit; its long run is not, because it moves the output layer before the hidden layer's
share is computed. Here all shares come from the old weights, and then everything moves at once. Its biases
stay where they are, so here they don't learn either (`trainable_bias=False`).
"""

import dnn

X, T = [[0.05, 0.10]], [[0.01, 0.99]]
WEIGHTS = [
    [[0.15, 0.25], [0.20, 0.30]],  # W1: from i1 and i2 (rows) to h1 and h2 (columns)
    [0.35, 0.35],
    [[0.40, 0.50], [0.45, 0.55]],  # W2: from h1 and h2 to o1 and o2
    [0.60, 0.60],
]


def show(title: str, values: object) -> None:
    print(f"{title:<42} {values}")


def numbers(array: object) -> str:
    return "  ".join(f"{value:.9f}" for value in array.ravel())


def main() -> None:
    layers = [dnn.Dense(2, "sigmoid", trainable_bias=False) for _ in range(2)]
    model = dnn.Sequential([dnn.Input(2), *layers], dtype="float64")
    model.set_weights(WEIGHTS)
    # The article's error is the sum over the outputs of (t - y)^2 / 2: with two outputs that is their mean.
    model.compile(dnn.SGD(0.5), loss="mse")

    print("forward: z = x W + b, a = sigmoid(z)")
    for name, layer in zip(("hidden", "output"), model.forward(X), strict=True):
        show(f"  z of the {name} layer", numbers(layer.z))
        show(f"  a of the {name} layer", numbers(layer.a))
    loss, (dw1, db1, dw2, db2) = model.loss_and_gradients(X, T)
    show("the error", f"{loss:.9f}")

    print("\nbackward: dL/dz of a layer, from the last to the first")
    hidden, output = model.deltas(X, T)
    show("  output layer: (y - t) y (1 - y)", numbers(output))
    show("  hidden layer: (delta W2^T) a (1 - a)", numbers(hidden))

    print("\nevery weight's share: dL/dW = (input of the layer)^T delta, dL/db = delta")
    show("  w1 w3 / w2 w4 (into h1, h2)", numbers(dw1))
    show("  w5 w7 / w6 w8 (into o1, o2)", numbers(dw2))
    show("  biases of h1, h2", numbers(db1))
    show("  biases of o1, o2", numbers(db2))

    print("\nall weights move at once: w - 0.5 dL/dw")
    model.train_on_batch(X, T)
    w1, _, w2, _ = model.get_weights()
    show("  w1 w3 / w2 w4", numbers(w1))
    show("  w5 w7 / w6 w8", numbers(w2))
    show("the error after 1 update", f"{model.evaluate(X, T)['loss']:.9f}")
    model.fit(X, T, epochs=9999, verbose=0)
    show("the error after 10000 updates", f"{model.evaluate(X, T)['loss']:.9f}")


if __name__ == "__main__":
    main()
