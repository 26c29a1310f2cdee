"""The oracle itself: `numpy_mlp` against central differences and the textbook, then dnn against it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.numpy_mlp import ACTIVATIONS, FUSED, LOSSES, SGD, Adam, NumpyMLP

HIDDEN = [name for name in ACTIVATIONS if name != "softmax"]
PARAMETERS = [("leaky_relu", 0.3), ("elu", 1.7)]
# Every loss after every output activation it fits.
PAIRS = [
    (output, loss) for loss in LOSSES for output in ([FUSED[loss]] if loss in FUSED else list(ACTIVATIONS))
]


def network(widths, activations, loss, **options):
    """A float64 network whose biases are not zero."""
    model = NumpyMLP(widths, activations, loss, dtype=np.float64, seed=3, **options)
    rng = np.random.default_rng(4)
    for b in model.weights[1::2]:
        b[...] = rng.normal(0, 0.3, b.shape)
    return model


def targets(loss, rows, n_out, labels=False):
    rng = np.random.default_rng(5)
    if loss == "cross_entropy":
        return rng.integers(0, n_out, rows) if labels else rng.dirichlet(np.ones(n_out), rows)
    if loss == "binary_cross_entropy":
        return rng.uniform(0, 1, (rows, n_out))
    if "hinge" in loss:
        return rng.choice([-1.0, 1.0], (rows, n_out))
    return rng.normal(0, 1, (rows, n_out))


def assert_gradients_are_central_differences(model, x, t, weight=None, step=1e-6):
    """float64: the truncation error is about step^2, the rounding error about 1e-16 / step = 1e-10."""
    _, gradients = model.loss_and_gradients(x, t, weight)
    gradient = model.gradient.copy()
    numeric = np.empty_like(gradient)
    for i, p in enumerate(model.parameters.copy()):
        model.parameters[i] = p + step
        above, _ = model.loss_and_gradients(x, t, weight)
        model.parameters[i] = p - step
        below, _ = model.loss_and_gradients(x, t, weight)
        model.parameters[i] = p
        numeric[i] = (above - below) / (2 * step)
    scale = np.abs(numeric).max()
    assert scale > 0
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8 * max(scale, 1))
    assert len(gradients) == len(model.weights)


@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_gradients_are_central_differences_for_every_loss_and_output(output, loss):
    model = network([3, 5, 4], ["tanh", output], loss)
    x = np.random.default_rng(6).normal(size=(7, 3))
    assert_gradients_are_central_differences(model, x, targets(loss, 7, 4))


@pytest.mark.parametrize("hidden", HIDDEN + PARAMETERS, ids=str)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "binary_cross_entropy"])
def test_gradients_are_central_differences_through_every_hidden_activation(hidden, loss):
    model = network([3, 6, 5, 4], [hidden, hidden, FUSED.get(loss, "identity")], loss)
    x = np.random.default_rng(7).normal(size=(6, 3))
    assert_gradients_are_central_differences(model, x, targets(loss, 6, 4))


@pytest.mark.parametrize("loss", [*LOSSES, ("huber", 0.3)], ids=str)
def test_gradients_hold_with_row_weights_and_penalties(loss):
    name = loss if isinstance(loss, str) else loss[0]
    model = network(
        [3, 5, 2], ["sigmoid", FUSED.get(name, "identity")], loss, l1=[0.01, 0.02], l2=[0.03, 0.0]
    )
    rng = np.random.default_rng(8)
    x, weight = rng.normal(size=(6, 3)), rng.uniform(0.1, 3, 6)
    assert_gradients_are_central_differences(model, x, targets(name, 6, 2), weight)
    if name == "cross_entropy":
        assert_gradients_are_central_differences(model, x, targets(name, 6, 2, labels=True), weight)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_row_of_weight_two_counts_like_two_rows(loss):
    model = network([3, 5, 2], ["tanh", FUSED.get(loss, "identity")], loss)
    x = np.random.default_rng(9).normal(size=(4, 3))
    t = targets(loss, 4, 2)
    weighted, _ = model.loss_and_gradients(x, t, np.array([1.0, 2.0, 1.0, 1.0]))
    gradient = model.gradient.copy()
    twice = [0, 1, 1, 2, 3]
    repeated, _ = model.loss_and_gradients(x[twice], t[twice])
    assert weighted == pytest.approx(repeated, rel=1e-13)
    np.testing.assert_allclose(gradient, model.gradient, rtol=1e-11, atol=1e-15)


def test_losses_are_the_formulas():
    """Two rows and two outputs, worked by hand: y - t = [[1, -2], [0.5, 0]]."""
    y = np.array([[2.0, -1.0], [0.5, 3.0]])
    t = y - np.array([[1.0, -2.0], [0.5, 0.0]])
    expected = {
        "mse": (1 + 4 + 0.25) / 4,
        "half_mse": (1 + 4 + 0.25) / 8,
        "sse": (1 + 4 + 0.25) / 2,
        "mae": 3.5 / 4,
        "huber": (0.5 + 1.5 + 0.125) / 4,
    }
    for loss, value in expected.items():
        model = NumpyMLP([2, 2], ["identity"], loss, np.float64, [np.eye(2), np.zeros(2)])
        assert model.loss_and_gradients(y, t)[0] == pytest.approx(value, rel=1e-15), loss


def test_cross_entropy_of_labels_is_that_of_one_hot_rows_and_finite_at_probability_zero():
    model = NumpyMLP([3, 3], ["softmax"], "cross_entropy", np.float64, [np.eye(3), np.zeros(3)])
    x = np.array([[0.0, 2000.0, 0.0], [1.0, 2.0, 3.0]])
    labels = np.array([0, 2])
    a, _ = model.loss_and_gradients(x, labels)
    first = model.gradient.copy()
    b, _ = model.loss_and_gradients(x, np.eye(3)[labels])
    assert a == b == pytest.approx((2000 + np.log(1 + np.exp(-1) + np.exp(-2))) / 2, rel=1e-15)
    np.testing.assert_array_equal(first, model.gradient)


def trained(optimizer, steps=7):
    """A vector after some steps along prescribed gradients, and those gradients."""
    p = np.array([1.0, -2.0, 0.5])
    gradients = np.random.default_rng(10).normal(size=(steps, 3))
    for g in gradients:
        optimizer.step(p, g.copy())
    return p, gradients


@pytest.mark.parametrize("kind", ["plain", "momentum", "nesterov", "dampened"])
def test_sgd_is_the_textbook_s(kind):
    m = 0.0 if kind == "plain" else 0.9
    p, gradients = trained(SGD(lambda step: 0.1 / (1 + step), m, kind == "nesterov", kind == "dampened"))
    q, v = np.array([1.0, -2.0, 0.5]), np.zeros(3)
    for step, g in enumerate(gradients):
        r = 0.1 / (1 + step)
        if kind == "dampened":
            v = m * v + (1 - m) * g
            q -= r * v
        else:
            v = m * v - r * g
            q += m * v - r * g if kind == "nesterov" else v
    np.testing.assert_allclose(p, q, rtol=1e-14)


@pytest.mark.parametrize("epsilon_hat", [False, True])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_is_the_textbook_s(amsgrad, epsilon_hat):
    epsilon = 1e-2  # large, so that its place shows
    p, gradients = trained(Adam(0.05, epsilon=epsilon, amsgrad=amsgrad, epsilon_hat=epsilon_hat))
    q, m, v, largest = np.array([1.0, -2.0, 0.5]), np.zeros(3), np.zeros(3), np.zeros(3)
    for t, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        largest = np.maximum(largest, v)
        second = largest if amsgrad else v
        if epsilon_hat:
            q -= 0.05 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(second) + epsilon)
        else:
            q -= 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + epsilon)
    np.testing.assert_allclose(p, q, rtol=1e-12)


def digits_like(rows=333):
    rng = np.random.default_rng(11)
    x = rng.normal(size=(rows, 64))
    return x, (x @ rng.normal(size=(64, 10))).argmax(axis=1)


def test_training_goes_through_the_rows_in_the_given_order():
    x, y = digits_like(50)
    orders = [np.random.default_rng(i).permutation(50) for i in range(3)]
    one, other = (NumpyMLP([64, 8, 10], ["relu", "softmax"], "cross_entropy", np.float64) for _ in range(2))
    losses = one.train(x, y, batch_size=16, epochs=3, optimizer=Adam(0.01), orders=orders)
    adam = Adam(0.01)
    for epoch, order in enumerate(orders):
        total = 0.0
        for rows in (order[0:16], order[16:32], order[32:48], order[48:50]):
            loss, _ = other.loss_and_gradients(x[rows], y[rows])
            total += loss * len(rows)
            adam.step(other.parameters, other.gradient)
        assert losses[epoch] == pytest.approx(total / 50, rel=1e-14)
    np.testing.assert_array_equal(one.parameters, other.parameters)


# float64: sums in another order, 1e-16 each, grown over 60 steps. float32: the same from 6e-8.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 2e-3)])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam"])
def test_dnn_and_numpy_train_the_same_problem_to_the_same_losses_and_weights(optimizer, dtype, tolerance):
    pytest.importorskip("dnn._core", reason="the extension module is not built")
    import dnn

    theirs, ours = {
        "sgd": (SGD(0.1), dnn.SGD(0.1)),
        "momentum": (SGD(0.02, 0.9), dnn.SGD(0.02, momentum=0.9)),
        "nesterov": (SGD(0.02, 0.9, nesterov=True), dnn.SGD(0.02, momentum=0.9, nesterov=True)),
        "adam": (Adam(0.002), dnn.Adam(0.002)),
    }[optimizer]
    x, y = digits_like()
    x = x.astype(dtype)
    oracle = NumpyMLP([64, 32, 16, 10], ["relu", "tanh", "softmax"], "cross_entropy", dtype, seed=12)
    layers = [dnn.Input(64), dnn.Dense(32, "relu"), dnn.Dense(16, "tanh"), dnn.Dense(10, "softmax")]
    model = dnn.Sequential(layers, dtype=dtype)
    model.compile(optimizer=ours, loss="cross_entropy")
    model.set_weights([w.copy() for w in oracle.weights])

    losses = oracle.train(x, y, batch_size=32, epochs=5, optimizer=theirs, shuffle=False)
    history = model.fit(x, y, batch_size=32, epochs=5, shuffle=False, verbose=0)

    np.testing.assert_allclose(history.history["loss"], losses, rtol=tolerance)
    for mine, w in zip(model.get_weights(), oracle.weights, strict=True):
        np.testing.assert_allclose(mine, w, rtol=tolerance, atol=tolerance * np.abs(w).max())
