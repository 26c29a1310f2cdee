"""XOR: the smallest problem that needs a hidden layer.

No straight line separates (0, 0), (1, 1) from (0, 1), (1, 0), so a single layer never learns it; four hidden
units do. Gradient descent takes all four rows in each step.
"""

import dnn

X = [[0, 0], [0, 1], [1, 0], [1, 1]]
Y = [0, 1, 1, 0]


def main() -> None:
    for name, hidden in (("no hidden layer", []), ("4 hidden units", [dnn.Dense(4, "tanh")])):
        model = dnn.Sequential([*hidden, dnn.Dense(1, "sigmoid")], seed=1)
        model.fit(X, Y, batch_size="full", epochs=2000, optimizer=dnn.SGD(0.5), verbose=0)
        print(f"{name}: loss {model.evaluate(X, Y)['loss']:.4f} (guessing has ln 2 = 0.6931)")
        for (a, b), y, output in zip(X, Y, model.predict(X)[:, 0], strict=True):
            print(f"    {a} xor {b} is {y}; the network says 1 with probability {output:.3f}")


if __name__ == "__main__":
    main()
