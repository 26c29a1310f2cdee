"""Activations: what each of them makes of a number, how steep it is there, and why a step is none.

A network of one unit with weight 1 and no bias is its activation, and the derivative of its output for its
input is the activation's. The step function is flat wherever it has a derivative: it gives gradient descent
nothing to go by, and is refused with that reason.
"""

import dnn

NAMES = ["identity", "sigmoid", "tanh", "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu"]
NAMES += ["gelu_tanh", "silu", "mish", "hard_sigmoid", "hard_swish", "exponential", "softplus", "softsign"]
POINTS = [-2.0, -0.5, 0.0, 0.5, 2.0]


def slope(model: dnn.Sequential, z: float) -> float:
    """f'(z): the gradient of the loss (y - t)^2 for its input, where y - t is 1/2."""
    target = float(model.predict([[z]])[0, 0]) - 0.5
    return float(model.input_gradients([[z]], [[target]])[0, 0])


def main() -> None:
    for title in ("a = f(z)", "f'(z)"):
        print(f"{title:<13}" + "".join(f"{f'z = {z:g}':>10}" for z in POINTS))
        for name in NAMES:
            model = dnn.Sequential([dnn.Input(1), dnn.Dense(1, name, use_bias=False)], dtype="float64")
            model.set_weights([[[1.0]]])
            model.compile(loss="mse")
            if title == "a = f(z)":
                values = [float(a) for a in model.predict([[z] for z in POINTS])[:, 0]]
            else:
                values = [slope(model, z) for z in POINTS]
            print(f"{name:<13}" + "".join(f"{value:>10.4f}" for value in values))
        print()

    try:
        dnn.Dense(4, "step")
    except ValueError as error:
        print(f"step: {error}")


if __name__ == "__main__":
    main()
