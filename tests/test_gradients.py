"""Gradients are the derivatives of the loss: central differences in float64 for all that can be combined.

Twice: `check_gradients`, and differences made here from nothing but `set_weights` and the loss.
"""

import dnn
import numpy as np
import pytest
from dnn import _activations, _losses

# What there is: whatever is added to the package is checked here.
ACTIVATIONS = [name for name in _activations.NAMES if name != "softmax"]
# Where the slope jumps; one that is not here is smooth.
KINKS = {
    "relu": (0.0,),
    "relu6": (0.0, 6.0),
    "leaky_relu": (0.0,),
    "elu": (0.0,),
    "selu": (0.0,),
    "hard_sigmoid": (-3.0, 3.0),
    "hard_swish": (-3.0, 3.0),
}
PARAMETERS = [dnn.LeakyReLU(0.3), dnn.ELU(1.7), dnn.CELU(0.6), dnn.PReLU(0.3)]
# Beside the loss of each name: with another parameter, or several heads.
VARIANTS = [
    dnn.Huber(0.3),
    dnn.Quantile(0.2),
    dnn.Quantile([0.1, 0.5, 0.9]),
    dnn.Tweedie(1.2),
    dnn.Tweedie(2.0),
    dnn.Tweedie(3.0),
    dnn.CrossEntropy(label_smoothing=0.1),
    dnn.Focal(0.5),
    dnn.Focal(0.0),
]
LOSSES = [*(loss() for loss in _losses.LOSSES.values()), *VARIANTS]
OUTPUTS = [*ACTIVATIONS, "softmax"]


def fits(output, loss):
    try:
        return _losses.resolve(loss, output) is loss
    except ValueError:
        return False


# Every loss after every output activation it fits; and fewer, in which each of them still is.
PAIRS = [(output, loss) for loss in LOSSES for output in OUTPUTS if fits(output, loss)]
EACH = [
    *((output, dnn.MSE()) for output in OUTPUTS),
    *((output, loss) for loss in LOSSES[1:] for output in [o for o in OUTPUTS if fits(o, loss)][:2]),
]
# How far an output a is from where its loss has a kink; a loss that is not here is smooth.
LOSS_KINKS = {
    "mae": lambda loss, a, y: a - y,
    "huber": lambda loss, a, y: np.abs(a - y) - loss.delta,
    "mape": lambda loss, a, y: a - y,
    "quantile": lambda loss, a, y: a.reshape(len(y), loss.heads, -1) - y[:, None],
    "hinge": lambda loss, a, y: 1.0 - a * y,
    "squared_hinge": lambda loss, a, y: 1.0 - a * y,
    "gaussian_nll": lambda loss, a, y: a[:, y.shape[1] :] - np.log(loss.epsilon),
}
# The difference quotient is wrong by rounding, 1e-16 * L / STEP = 1e-10, and by STEP^2 times the third
# derivative, 1e-12; this is far above both and far below any wrong factor, sign or sum.
STEP = 1e-6
TOLERANCE = 1e-6
# Far more than a step moves any z or any distance from a target.
KINK = 1e-3
ROWS, N_INPUTS, N_OUTPUTS = 7, 4, 3


def last_units(loss):
    """As many outputs as the loss can do with."""
    heads = loss.heads if isinstance(loss, _losses.Loss) else 1
    return N_OUTPUTS if heads == 1 else 2 * heads


def targets(model, rng, rows=ROWS):
    """Targets in the range that the loss of the model asks for."""
    task = model._task()
    shape = (rows, task.n_targets)
    return {
        "any": lambda: rng.normal(size=shape),
        "distribution": lambda: rng.dirichlet(np.ones(task.n_outputs), rows),
        "unit": lambda: rng.random(shape),
        "signs": lambda: rng.choice([-1.0, 1.0], shape),
        "not_negative": lambda: rng.poisson(1.0, shape).astype(float),
        "positive": lambda: rng.gamma(2.0, 1.0, shape),
        "not_zero": lambda: rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 2.0, shape),
    }[task.targets]()


def away_from_kinks(model, x, y, loss):
    """Whether no z is near a kink of its activation, and no output near one of its loss."""
    layers = model.forward(x)
    for said, layer in zip(model.layers, layers, strict=True):
        for at in KINKS.get(_activations.name_of(said.activation), ()):
            if np.abs(layer.z - at).min() < KINK:
                return False
    if loss.name not in LOSS_KINKS:
        return True
    return np.abs(LOSS_KINKS[loss.name](loss, layers[-1].a, y)).min() > KINK


def network(layers, loss, n_inputs=N_INPUTS, rows=ROWS):
    """A model with random weights and biases, and x and y for it, all away from kinks."""
    model = dnn.Sequential([dnn.Input(n_inputs), *layers], seed=0, dtype="float64")
    model.compile(loss=loss)
    loss = model.loss
    # e^e^e^z is a number for small z only.
    grows = any(_activations.name_of(layer.activation) == "exponential" for layer in model.layers)
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        model.set_weights([rng.normal(0, 0.2 if grows else 0.7, w.shape) for w in model.get_weights()])
        x, y = rng.normal(size=(rows, n_inputs)), targets(model, rng, rows)
        if away_from_kinks(model, x, y, loss):
            return model, x, y
    raise AssertionError("no seed keeps away from the kinks")


def hidden_like(output):
    return "tanh" if output == "softmax" else output


def three_layers(output, loss="mse", **options):
    hidden = hidden_like(output)
    return [
        dnn.Dense(5, hidden, **options),
        dnn.Dense(4, hidden, **options),
        dnn.Dense(last_units(loss), output, **options),
    ]


def differences(model, x, y, sample_weight=None):
    """(L(p + STEP) - L(p - STEP)) / (2 STEP) for every parameter p, in the shapes of the weights."""
    weights = model.get_weights()
    quotients = [np.empty_like(array) for array in weights]
    for array, quotient in zip(weights, quotients, strict=True):
        for at in np.ndindex(array.shape):
            p, losses = array[at], []
            for moved in (p - STEP, p + STEP):
                array[at] = moved
                model.set_weights(weights)
                losses.append(model.loss_and_gradients(x, y, sample_weight=sample_weight)[0])
            array[at] = p
            quotient[at] = (losses[1] - losses[0]) / (2 * STEP)
    model.set_weights(weights)
    return quotients


def assert_agree(gradients, quotients):
    """Equal up to TOLERANCE, relative to the largest element of each array."""
    largest = max(np.abs(quotient).max() for quotient in quotients)
    assert largest > 3e-4, "nothing to compare"
    for gradient, quotient in zip(gradients, quotients, strict=True):
        # An array may be tiny beside the others, and rounding of the loss is not.
        size = max(np.abs(quotient).max(), 1e-2 * largest)
        assert np.abs(gradient - quotient).max() <= TOLERANCE * size


def assert_gradients_are_derivatives(model, x, y, sample_weight=None):
    _, gradients = model.loss_and_gradients(x, y, sample_weight=sample_weight)
    assert_agree(gradients, differences(model, x, y, sample_weight))
    assert model.check_gradients(x, y, sample_weight=sample_weight).largest < TOLERANCE


@pytest.mark.parametrize(("output", "loss"), PAIRS, ids=repr)
def test_every_activation_with_every_loss_it_fits(output, loss):
    assert_gradients_are_derivatives(*network(three_layers(output, loss), loss))


@pytest.mark.parametrize(("output", "loss"), EACH, ids=repr)
def test_weighted_rows(output, loss):
    model, x, y = network(three_layers(output, loss), loss)
    sample_weight = [0.3, 2.0, 0.0, 1.0, 5.0, 0.1, 1.0]
    assert_gradients_are_derivatives(model, x, y, sample_weight)


def test_every_activation_with_a_parameter_is_checked_with_it():
    assert {type(activation) for activation in PARAMETERS} == set(_activations.WITH_PARAMETERS.values())


@pytest.mark.parametrize("activation", PARAMETERS, ids=repr)
def test_activations_with_a_parameter_of_their_own(activation):
    assert_gradients_are_derivatives(*network(three_layers(activation), "mse"))


@pytest.mark.parametrize("delta", [0.1, 3.0])
def test_huber_on_both_sides_of_its_delta(delta):
    model = dnn.Sequential([dnn.Input(1), dnn.Dense(1)], seed=0, dtype="float64")
    model.compile(loss=dnn.Huber(delta))
    model.set_weights([[[1.0]], [0.0]])
    # Distances of 0.05, -1, 2 and -5: near and far for both deltas.
    assert_gradients_are_derivatives(model, [[0.05], [1.0], [2.0], [3.0]], [[0.0], [2.0], [0.0], [8.0]])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden_layers", [0, 1, 2, 5])
def test_every_depth(hidden_layers, activation):
    layers = [*(dnn.Dense(6, activation) for _ in range(hidden_layers)), dnn.Dense(2)]
    assert_gradients_are_derivatives(*network(layers, "mse"))


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("use_bias", [False, True])
def test_layers_with_and_without_bias(use_bias, loss):
    output = "softmax" if loss == "cross_entropy" else "identity"
    assert_gradients_are_derivatives(*network(three_layers(output, use_bias=use_bias), loss))


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.0, 0.1), (0.05, 0.2)])
@pytest.mark.parametrize(("output", "loss"), [("identity", "mse"), ("softmax", "cross_entropy")])
def test_l1_and_l2_are_in_loss_and_gradients(output, loss, l1, l2):
    model, x, y = network(three_layers(output, l1=l1, l2=l2), loss)
    # Weights away from 0, where l1 has its kink.
    model.set_weights([w + 0.01 * np.sign(w) for w in model.get_weights()])
    assert_gradients_are_derivatives(model, x, y)

    plain, _, _ = network(three_layers(output, loss), loss)
    plain.set_weights(model.get_weights())
    matrices = model.get_weights()[0::2]
    penalty = sum(l1 * np.abs(w).sum() + l2 * (w**2).sum() for w in matrices)
    expected = plain.loss_and_gradients(x, y)[0] + penalty
    assert model.loss_and_gradients(x, y)[0] == pytest.approx(expected, rel=1e-13)  # rounding of one sum


@pytest.mark.parametrize("column", [False, True])
def test_labels_have_the_loss_and_gradients_of_their_one_hot_rows(column):
    model, x, _ = network(three_layers("softmax"), "cross_entropy")
    labels = np.array([0, 1, 2, 2, 1, 0, 2])
    given = labels[:, None] if column else labels
    assert_gradients_are_derivatives(model, x, given)
    loss, gradients = model.loss_and_gradients(x, given)
    dense_loss, dense_gradients = model.loss_and_gradients(x, np.eye(3)[labels])
    # The same sums, with zeros in between.
    assert loss == pytest.approx(dense_loss, rel=1e-15)
    for ours, dense in zip(gradients, dense_gradients, strict=True):
        np.testing.assert_allclose(ours, dense, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("output", "loss"), [("identity", "mse"), ("softmax", "cross_entropy"), ("tanh", "hinge")]
)
def test_a_weight_of_2_is_the_row_twice(output, loss):
    model, x, y = network(three_layers(output, loss), loss)
    weighted = model.loss_and_gradients(x, y, sample_weight=[2, 1, 0, 1, 3, 1, 1])
    index = [0, 0, 1, 3, 4, 4, 4, 5, 6]
    repeated = model.loss_and_gradients(x[index], y[index])
    assert weighted[0] == pytest.approx(repeated[0], rel=1e-13)  # rounding of one sum
    for ours, other in zip(weighted[1], repeated[1], strict=True):
        np.testing.assert_allclose(ours, other, rtol=0, atol=1e-13 * np.abs(other).max())


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_only_the_ratio_of_row_weights_counts(scale):
    model, x, y = network(three_layers("identity"), "mse")
    sample_weight = np.array([0.3, 2.0, 0.0, 1.0, 5.0, 0.1, 1.0])
    loss, gradients = model.loss_and_gradients(x, y, sample_weight=sample_weight)
    scaled_loss, scaled = model.loss_and_gradients(x, y, sample_weight=scale * sample_weight)
    assert scaled_loss == pytest.approx(loss, rel=1e-13)  # rounding of one sum
    for ours, other in zip(scaled, gradients, strict=True):
        np.testing.assert_allclose(ours, other, rtol=0, atol=1e-13 * np.abs(other).max())


@pytest.mark.parametrize(("output", "loss"), EACH, ids=repr)
def test_input_gradients_are_derivatives_for_x(output, loss):
    model, x, y = network(three_layers(output, loss), loss)
    gradient = model.input_gradients(x, y)
    assert gradient.shape == x.shape
    quotient = np.empty_like(x)
    for at in np.ndindex(x.shape):
        p, losses = x[at], []
        for moved in (p - STEP, p + STEP):
            x[at] = moved
            losses.append(model.evaluate(x, y)["loss"])
        x[at] = p
        quotient[at] = (losses[1] - losses[0]) / (2 * STEP)
    assert_agree([gradient], [quotient])


@pytest.mark.parametrize(("output", "loss"), EACH, ids=repr)
def test_deltas_give_the_gradients(output, loss):
    model, x, y = network(three_layers(output, loss), loss)
    inputs = [x, *(layer.a for layer in model.forward(x))]
    _, gradients = model.loss_and_gradients(x, y)
    for at, delta in enumerate(model.deltas(x, y)):
        # dL/dW = a^T delta and dL/db the sum of delta over rows, summed in another order.
        for ours, expected in (
            (gradients[2 * at], inputs[at].T @ delta),
            (gradients[2 * at + 1], delta.sum(0)),
        ):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-13 * max(1e-3, np.abs(delta).sum()))


@pytest.mark.parametrize(
    ("output", "loss"), [("sigmoid", "binary_cross_entropy"), ("softmax", "cross_entropy")]
)
def test_a_saturated_output_keeps_its_gradient(output, loss):
    # Fused with their activation, these two have delta = y - t, whatever z is; 1/y of the formula is never
    # taken.
    model = dnn.Sequential([dnn.Input(2), dnn.Dense(2, output)], seed=0, dtype="float64")
    model.compile(loss=loss)
    model.set_weights([[[2000.0, 0.0], [0.0, -2000.0]], [0.0, 0.0]])
    x, y = np.array([[1.0, 1.0]]), np.array([[0.0, 1.0]])
    value, gradients = model.loss_and_gradients(x, y)
    # Of the wrong class: ln of a probability exp(-4000), and two times exp(-2000), which float64 doesn't
    # have.
    assert value == pytest.approx(4000.0 if loss == "cross_entropy" else 2000.0, rel=1e-12)
    share = 1.0 if loss == "cross_entropy" else 0.5
    np.testing.assert_allclose(gradients[0], [[share, -share], [share, -share]], rtol=1e-12)


def test_relu_has_slope_zero_at_zero():
    model = dnn.Sequential([dnn.Input(1), dnn.Dense(1, "relu")], seed=0, dtype="float64")
    model.compile(loss="mse")
    model.set_weights([[[1.0]], [0.0]])
    _, gradients = model.loss_and_gradients([[0.0]], [[1.0]])
    assert [float(g.ravel()[0]) for g in gradients] == [0.0, 0.0]


def test_frozen_layers_let_gradients_pass_to_those_below():
    layers = [dnn.Dense(5, "tanh"), dnn.Dense(4, "tanh", trainable=False), dnn.Dense(2)]
    model, x, y = network(layers, "mse")
    free, _, _ = network([dnn.Dense(5, "tanh"), dnn.Dense(4, "tanh"), dnn.Dense(2)], "mse")
    free.set_weights(model.get_weights())
    _, gradients = model.loss_and_gradients(x, y)
    _, expected = free.loss_and_gradients(x, y)
    for at in (0, 1, 4, 5):
        np.testing.assert_array_equal(gradients[at], expected[at])


def test_a_wrong_gradient_would_be_seen():
    model, x, y = network(three_layers("tanh"), "mse")
    _, gradients = model.loss_and_gradients(x, y)
    gradients[0] = gradients[0] * (1 + 1e-4)
    with pytest.raises(AssertionError):
        assert_agree(gradients, differences(model, x, y))
