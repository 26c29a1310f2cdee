"""Back-propagation through three layers: Prakash Jay's worked example, with its mistakes corrected.

https://medium.com/@14prakash/back-propagation-is-very-simple-who-made-it-complicated-97b794c97e5c

Three inputs, then relu, sigmoid and softmax layers of three units each, and cross entropy. The forward pass
is the article's up to its rounding. Most of the gradients it prints have the wrong sign; central differences
of the loss, which need no derivative at all, tell which ones are right.
"""

import dnn

X, T = [[0.1, 0.2, 0.7]], [[1.0, 0.0, 0.0]]
ONES = [1.0, 1.0, 1.0]
WEIGHTS = [
    [[0.1, 0.2, 0.3], [0.3, 0.2, 0.7], [0.4, 0.3, 0.9]],
    ONES,
    [[0.2, 0.3, 0.5], [0.3, 0.5, 0.7], [0.6, 0.4, 0.8]],
    ONES,
    [[0.1, 0.4, 0.8], [0.3, 0.7, 0.2], [0.5, 0.2, 0.9]],
    ONES,
]


def row(values: object) -> str:
    return "  ".join(f"{value:9.6f}" for value in values)


def main() -> None:
    layers = [dnn.Dense(3, "relu"), dnn.Dense(3, "sigmoid"), dnn.Dense(3, "softmax")]
    model = dnn.Sequential([dnn.Input(3), *layers], dtype="float64")
    model.set_weights(WEIGHTS)
    model.compile(dnn.SGD(0.01), loss="cross_entropy")

    loss, gradients = model.loss_and_gradients(X, T)
    deltas = model.deltas(X, T)
    for number, (layer, said, delta) in enumerate(zip(model.forward(X), layers, deltas, strict=True), 1):
        print(f"layer {number}, {said.activation}")
        print(f"    z            {row(layer.z[0])}")
        print(f"    a            {row(layer.a[0])}")
        print(f"    dL/dz        {row(delta[0])}")
        for i, line in enumerate(gradients[2 * number - 2]):
            print(f"    dL/dW[{i}]     {row(line)}")
    print(f"loss -ln {model.predict(X)[0, 0]:.6f} = {loss:.6f}")

    check = model.check_gradients(X, T)
    print(f"\n{check}")
    model.train_on_batch(X, T)
    print(f"\nloss after one update with the rate 0.01: {model.evaluate(X, T)['loss']:.6f}")


if __name__ == "__main__":
    main()
