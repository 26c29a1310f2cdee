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
        print(f"{name}: loss {model.evaluate(X, Y)['loss']:.4f}")
        for row, output, answer in zip(X, model.predict(X)[:, 0], model.predict_classes(X), strict=True):
            print(f"    {row} -> {output:.3f}, so {answer}")


if __name__ == "__main__":
    main()
