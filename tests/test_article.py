"""The article the project began from, "Deep Neural Network(2)" (18 Oct 2019): each of its points, A1 to A11.

`docs/math.md` walks through the same points.
"""

import json
import math
import warnings
from pathlib import Path

import dnn
import numpy as np
import pytest

REFERENCES = Path(__file__).parent / "references"
# A handful of float64 roundings in a different order.
EXACT = 1e-12


def model_of(n_inputs, layers, weights=None, *, loss="mse", rate=0.1):
    model = dnn.Sequential([dnn.Input(n_inputs), *layers], seed=1, dtype="float64")
    if weights is not None:
        model.set_weights(weights)
    model.compile(dnn.SGD(rate), loss=loss)
    return model


def small_table(rows=12):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(rows, 2))
    return x, np.sin(x[:, :1]) + x[:, 1:] ** 2


# ---- A1: two or more hidden layers, a bias neuron in every layer but the output ----------------------------


def test_a1_a_2_16_16_1_network_has_337_parameters():
    model = model_of(2, [dnn.Dense(16, "relu"), dnn.Dense(16, "relu"), dnn.Dense(1)])
    assert model.n_parameters == (2 + 1) * 16 + (16 + 1) * 16 + (16 + 1) * 1 == 337
    assert [w.shape for w in model.get_weights()] == [(2, 16), (16,), (16, 16), (16,), (16, 1), (1,)]
    assert "337" in str(model.summary())


def test_a1_a_bias_is_the_weight_of_a_neuron_that_is_always_one():
    rng = np.random.default_rng(3)
    x, w, b = rng.normal(size=(5, 2)), rng.normal(size=(2, 3)), rng.normal(size=3)
    with_bias = model_of(2, [dnn.Dense(3, "tanh")], [w, b])
    as_neuron = model_of(3, [dnn.Dense(3, "tanh", use_bias=False)], [np.vstack([w, b])])
    ones = np.ones((5, 1))
    np.testing.assert_allclose(as_neuron.predict(np.hstack([x, ones])), with_bias.predict(x), rtol=EXACT)


@pytest.mark.parametrize("hidden_layers", [2, 3, 10, 50])
def test_a1_a_network_may_have_any_number_of_hidden_layers(hidden_layers):
    x, y = small_table()
    model = dnn.Sequential([*(dnn.Dense(8, "tanh") for _ in range(hidden_layers)), dnn.Dense(1)], seed=1)
    optimizer = dnn.Adam(0.003)
    losses = model.fit(x, y, batch_size="full", epochs=300, optimizer=optimizer, verbose=0).history["loss"]
    # 50 layers of 8 learn slowly.
    assert losses[-1] < 0.8 * losses[0]


# ---- A2: the mean squared error ----------------------------------------------------------------------------


def test_a2_mse_is_the_mean_over_all_outputs_and_its_gradient_has_the_factor_two_over_n():
    x, y = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[0.5, 0.0, 1.0], [-1.0, 2.0, 0.0]])
    w, b = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]), np.array([0.1, 0.0, -0.1])
    model = model_of(2, [dnn.Dense(3)], [w, b])
    difference = x @ w + b - y
    loss, (dw, db) = model.loss_and_gradients(x, y)
    assert loss == pytest.approx((difference**2).sum() / 6, rel=EXACT)
    np.testing.assert_allclose(dw, x.T @ (2 / 6 * difference), rtol=EXACT)
    np.testing.assert_allclose(db, (2 / 6 * difference).sum(axis=0), rtol=EXACT)


def test_a2_a_network_with_mse_learns_a_regression():
    rng = np.random.default_rng(4)
    x = rng.uniform(-1, 1, (200, 1))
    y = np.sin(3 * x)
    model = dnn.Sequential([dnn.Dense(16, "tanh"), dnn.Dense(16, "tanh"), dnn.Dense(1)], seed=1)
    model.fit(x, y, epochs=200, optimizer=dnn.Adam(0.01), loss="mse", verbose=0)
    # The variance of the targets is about 0.5; a straight line would leave more than 0.04.
    assert model.evaluate(x, y)["loss"] < 0.01


# ---- A3: cross entropy, with the minus sign the article leaves out -----------------------------------------


def test_a3_cross_entropy_is_minus_the_sum_of_t_ln_y_mean_over_rows():
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    targets = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.2, 0.5, 0.3]])
    w = np.array([[0.3, -0.2, 0.1], [0.5, 0.4, -0.6]])
    model = model_of(2, [dnn.Dense(3, "softmax", use_bias=False)], [w], loss="cross_entropy")
    exponentials = np.exp(x @ w)
    p = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(x), p, rtol=EXACT)
    loss = model.evaluate(x, targets)["loss"]
    assert (
        loss > 0
    )  # the article's formula, without its minus sign, would be negative and grow with the error
    assert loss == pytest.approx(-(targets * np.log(p)).sum(axis=1).mean(), rel=EXACT)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a3_cross_entropy_of_an_impossible_class_is_finite(dtype):
    model = dnn.Sequential([dnn.Input(1), dnn.Dense(2, "softmax", use_bias=False)], seed=1, dtype=dtype)
    model.compile(loss="cross_entropy")
    model.set_weights([[[5000.0, -5000.0]]])
    assert model.predict([[1.0]]).tolist() == [[1.0, 0.0]]
    loss, gradients = model.loss_and_gradients([[1.0]], [1])
    # -ln exp(-10000), though the probability itself is 0; exact, but for the rounding of float32.
    assert loss == pytest.approx(10000.0, rel=1e-6)
    assert gradients[0].tolist() == [[1.0, -1.0]]


def test_a3_a_network_with_cross_entropy_learns_to_classify():
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1, 2], 40)
    x = rng.normal(size=(120, 2)) + np.array([[0.0, 5.0], [5.0, 0.0], [-5.0, -5.0]])[labels]
    model = dnn.Sequential([dnn.Dense(8, "tanh"), dnn.Dense(8, "tanh"), dnn.Dense(3, "softmax")], seed=1)
    model.fit(x, labels, epochs=50, optimizer=dnn.Adam(0.01), verbose=0)
    # Clouds of deviation 1 that are 7 apart.
    assert (model.predict_classes(x) == labels).mean() > 0.97


# ---- A4: gradient descent until a tolerance ----------------------------------------------------------------


def test_a4_gradient_descent_subtracts_the_gradient_times_the_learning_rate():
    x, y = small_table()
    layers = [dnn.Dense(4, "tanh"), dnn.Dense(4, "tanh"), dnn.Dense(1)]
    model, by_hand = model_of(2, layers), model_of(2, layers)
    losses = []
    for _ in range(50):
        loss, gradients = by_hand.loss_and_gradients(x, y)
        losses.append(loss)
        by_hand.set_weights([w - 0.1 * g for w, g in zip(by_hand.get_weights(), gradients, strict=True)])
    history = model.fit(x, y, batch_size="full", epochs=50, verbose=0).history
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-10)  # the roundings of 50 steps
    for ours, expected in zip(model.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tol", [1e-2, 1e-3, 1e-4])
def test_a4_training_stops_in_the_first_epoch_that_improves_the_loss_by_no_more_than_the_tolerance(tol):
    # y = 2 x with mse and a small rate: the loss falls steadily, each time by less.
    x, y = [[1.0], [-1.0]], [[2.0], [-2.0]]
    model = model_of(1, [dnn.Dense(1)], [[[0.0]], [0.0]], rate=0.02)
    history = model.fit(x, y, batch_size="full", epochs=1000, tol=tol, n_iter_no_change=1, verbose=0)
    losses = history.history["loss"]
    improvements = -np.diff(losses)
    assert history.stopped_because == "tol"
    assert len(losses) < 1000
    assert improvements[-1] <= tol
    assert (improvements[:-1] > tol).all()


def test_a4_a_single_fixed_row_can_be_learned_by_heart():
    model = model_of(2, [dnn.Dense(4, "sigmoid"), dnn.Dense(4, "sigmoid"), dnn.Dense(1)], rate=0.5)
    history = model.fit([[0.3, -0.7]], [[0.25]], epochs=2000, stop_at_loss=1e-20, verbose=0)
    assert history.stopped_because == "stop_at_loss"
    assert history.history["loss"][-1] <= 1e-20


# ---- A5: batch, stochastic and mini-batch gradient descent -------------------------------------------------


@pytest.mark.parametrize("batch_size", ["full", 1, 2, 5, 12, 100])
def test_a5_a_batch_may_be_all_rows_or_one_or_any_number(batch_size):
    x, y = small_table()
    w, b = np.array([[0.1], [-0.2]]), np.array([0.3])
    model = model_of(2, [dnn.Dense(1)], [w, b])
    model.fit(x, y, batch_size=batch_size, epochs=3, shuffle=False, verbose=0)
    size = len(x) if batch_size == "full" else batch_size
    for _ in range(3):
        for start in range(0, len(x), size):
            rows, t = x[start : start + size], y[start : start + size]
            delta = 2 / len(rows) * (rows @ w + b - t)
            w, b = w - 0.1 * rows.T @ delta, b - 0.1 * delta.sum(axis=0)
    np.testing.assert_allclose(model.get_weights()[0], w, rtol=EXACT)
    np.testing.assert_allclose(model.get_weights()[1], b, rtol=EXACT)


@pytest.mark.parametrize(
    "optimizer",
    ["sgd", "adam", dnn.SGD(0.05, momentum=0.9), dnn.SGD(0.05, momentum=0.9, nesterov=True), dnn.Adam(0.01)],
    ids=str,
)
def test_a5_the_other_variants_of_gradient_descent_learn_too(optimizer):
    x, y = small_table(60)
    model = dnn.Sequential([dnn.Dense(16, "tanh"), dnn.Dense(16, "tanh"), dnn.Dense(1)], seed=1)
    losses = model.fit(x, y, batch_size=10, epochs=100, optimizer=optimizer, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


# ---- A6: the loss must be differentiable; small and large gradients; the learning rate ---------------------


def test_a6_a_small_rate_is_slow_a_good_one_fast_and_a_large_one_diverges():
    # mse of w x on the one row x = 1, y = 0: w <- (1 - 2 rate) w, which grows for rates above 1.
    def loss_after_50(rate):
        model = model_of(1, [dnn.Dense(1, use_bias=False)], [[[1.0]]], rate=rate)
        model.fit([[1.0]], [[0.0]], epochs=50, verbose=0)
        return model.evaluate([[1.0]], [[0.0]])["loss"]

    for rate in (0.001, 0.4, 1.1):
        # The roundings of 50 products.
        assert loss_after_50(rate) == pytest.approx((1 - 2 * rate) ** 100, rel=1e-11, abs=0)


def test_a6_divergence_is_named_and_the_last_finite_weights_come_back():
    x, y = small_table()
    model = model_of(2, [dnn.Dense(4, "relu"), dnn.Dense(4, "relu"), dnn.Dense(1)], rate=1e6)
    with pytest.warns(dnn.DivergenceWarning) as caught:
        history = model.fit(x, y, batch_size=4, epochs=1000, verbose=0)
    assert history.stopped_because == "diverged"
    message = str(caught[0].message).lower()
    assert all(word in message for word in ("epoch", "step", "layer"))
    assert all(np.isfinite(w).all() for w in model.get_weights())
    # It is survived: from sound weights, with a sound rate, the model trains.
    model.set_weights(model_of(2, [dnn.Dense(4, "relu"), dnn.Dense(4, "relu"), dnn.Dense(1)]).get_weights())
    history = model.fit(x, y, epochs=5, optimizer=dnn.SGD(0.01), verbose=0)
    assert history.stopped_because == "epochs"


@pytest.mark.parametrize("epochs", [1, 2])
def test_a6_a_step_that_would_make_a_weight_infinite_is_not_made(epochs):
    # Loss 1e30 and gradient 2e30 are finite in float32, 1e10 times the gradient is not.
    model = dnn.Sequential([dnn.Input(1), dnn.Dense(1, use_bias=False)], seed=1)
    model.set_weights([[[1.0]]])
    with pytest.warns(dnn.DivergenceWarning):
        history = model.fit([[1e15]], [[0.0]], epochs=epochs, optimizer=dnn.SGD(1e10), loss="mse", verbose=0)
    assert history.stopped_because == "diverged"
    assert model.get_weights()[0].tolist() == [[1.0]]


# ---- A7: back-propagation ----------------------------------------------------------------------------------


def test_a7_all_deltas_come_from_the_old_weights_and_then_all_parameters_move_at_once():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(3, 2)), rng.random((3, 2))
    weights = [rng.normal(size=shape) for shape in ((2, 3), (3,), (3, 3), (3,), (3, 2), (2,))]
    layers = [dnn.Dense(3, "sigmoid"), dnn.Dense(3, "sigmoid"), dnn.Dense(2, "sigmoid")]
    model = model_of(2, layers, weights, rate=0.5)
    w1, b1, w2, b2, w3, b3 = weights

    # Forward, error, backward through every layer, with weights that have not moved.
    a1 = 1 / (1 + np.exp(-(x @ w1 + b1)))
    a2 = 1 / (1 + np.exp(-(a1 @ w2 + b2)))
    a3 = 1 / (1 + np.exp(-(a2 @ w3 + b3)))
    d3 = 2 / 6 * (a3 - y) * a3 * (1 - a3)
    d2 = d3 @ w3.T * a2 * (1 - a2)
    d1 = d2 @ w2.T * a1 * (1 - a1)
    for ours, expected in zip(model.deltas(x, y), (d1, d2, d3), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=EXACT)

    # Every parameter's share; then all move.
    gradients = [x.T @ d1, d1.sum(0), a1.T @ d2, d2.sum(0), a2.T @ d3, d3.sum(0)]
    model.fit(x, y, batch_size="full", epochs=1, verbose=0)
    for ours, old, gradient in zip(model.get_weights(), weights, gradients, strict=True):
        np.testing.assert_allclose(ours, old - 0.5 * gradient, rtol=EXACT)


# ---- A8: the chain rule at one node ------------------------------------------------------------------------


def test_a8_at_one_node_the_gradients_are_the_products_of_the_chain_rule():
    # Inputs x and y, operation z = f(x, y), output a, loss L: dL/dx = dL/da da/dz dz/dx.
    x, y, target = 0.6, -0.4, 0.9
    u, v, b = 1.5, 0.5, 0.2
    model = model_of(2, [dnn.Dense(1, "tanh")], [[[u], [v]], [b]])
    z = u * x + v * y + b
    a = np.tanh(z)
    dl_da, da_dz = 2 * (a - target), 1 - a**2
    node = model.forward([[x, y]])[0]
    assert node.z[0, 0] == pytest.approx(z, rel=EXACT)
    assert node.a[0, 0] == pytest.approx(a, rel=EXACT)
    assert model.deltas([[x, y]], [[target]])[0][0, 0] == pytest.approx(dl_da * da_dz, rel=EXACT)
    expected = [dl_da * da_dz * u, dl_da * da_dz * v]
    assert model.input_gradients([[x, y]], [[target]])[0] == pytest.approx(expected, rel=EXACT)
    _, (dw, db) = model.loss_and_gradients([[x, y]], [[target]])
    assert dw[:, 0] == pytest.approx([dl_da * da_dz * x, dl_da * da_dz * y], rel=EXACT)
    assert db[0] == pytest.approx(dl_da * da_dz, rel=EXACT)


def test_a8_activations_deltas_and_gradients_of_every_layer_can_be_read():
    x, y = small_table()
    model = model_of(2, [dnn.Dense(5, "relu"), dnn.Dense(4, "tanh"), dnn.Dense(1)])
    layers, deltas = model.forward(x), model.deltas(x, y)
    _, gradients = model.loss_and_gradients(x, y)
    assert (
        [layer.z.shape for layer in layers]
        == [layer.a.shape for layer in layers]
        == [(12, 5), (12, 4), (12, 1)]
    )
    assert [delta.shape for delta in deltas] == [(12, 5), (12, 4), (12, 1)]
    assert [g.shape for g in gradients] == [w.shape for w in model.get_weights()]


# ---- A9: the worked examples -------------------------------------------------------------------------------
# In full in test_mazur.py and test_prakash.py.


def test_a9_the_worked_example_of_mazur_comes_out():
    mazur = json.loads((REFERENCES / "mazur.json").read_text())
    layers = [dnn.Dense(2, "sigmoid", trainable_bias=False), dnn.Dense(2, "sigmoid", trainable_bias=False)]
    model = model_of(2, layers, [mazur[name] for name in ("W1", "b1", "W2", "b2")], rate=0.5)
    model.fit([mazur["inputs"]], [mazur["targets"]], epochs=1, verbose=0)
    w1, _, w2, _ = model.get_weights()
    ours = [*w1.T.ravel(), *w2.T.ravel()]
    expected = [mazur["step0"][f"w{k}_after_1"]["computed"] for k in range(1, 9)]
    assert ours == pytest.approx(expected, rel=EXACT)
    # As printed: w1 0.149780716, ... w5 0.35891648, ...
    assert [round(float(ours[k]), 8) for k in (0, 4)] == [0.14978072, 0.35891648]


def test_a9_the_worked_example_of_prakash_comes_out_corrected():
    prakash = json.loads((REFERENCES / "prakash.json").read_text())
    layers = [dnn.Dense(3, "relu"), dnn.Dense(3, "sigmoid"), dnn.Dense(3, "softmax")]
    weights = [array for pair in zip(prakash["W"], prakash["b"], strict=True) for array in pair]
    model = model_of(3, layers, weights, loss="cross_entropy", rate=0.01)
    loss, gradients = model.loss_and_gradients([prakash["input"]], [prakash["target"]])
    assert loss == pytest.approx(prakash["correct"]["loss"], rel=EXACT)
    for layer in range(3):
        np.testing.assert_allclose(gradients[2 * layer], prakash["correct"]["dW"][layer], rtol=EXACT)


# ---- A10: activations must be differentiable ---------------------------------------------------------------

FORMULAS = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "selu": lambda z: (
        1.0507009873554805 * np.where(z > 0, z, 1.6732632423543773 * np.expm1(np.minimum(z, 0)))
    ),
    "gelu": lambda z: 0.5 * z * np.vectorize(math.erfc)(-z / math.sqrt(2)),
    "gelu_tanh": lambda z: 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "softplus": lambda z: np.logaddexp(z, 0),
    "softsign": lambda z: z / (1 + np.abs(z)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a10_activations_are_their_formulas(name):
    z = np.linspace(-8, 8, 321)[:, None]
    model = model_of(1, [dnn.Dense(1, name, use_bias=False)], [[[1.0]]])
    # Far on the negative side some of these are differences of numbers near 1, good to 1e-15 absolutely.
    np.testing.assert_allclose(model.predict(z), FORMULAS[name](z), rtol=EXACT, atol=2e-15)


@pytest.mark.parametrize("name", ["step", "heaviside", "sign"])
def test_a10_the_step_function_is_refused_with_the_reason_and_alternatives(name):
    with pytest.raises(ValueError, match="derivative") as refused:
        dnn.Sequential([dnn.Dense(4, name), dnn.Dense(1)])
    assert "zero" in str(refused.value)
    assert "sigmoid" in str(refused.value)


# ---- A11: gradients that vanish or explode -----------------------------------------------------------------


def first_to_last(activation, weights, hidden_layers=20):
    """How many times larger dL/dz is in the first layer than in the last hidden one, by its norm."""
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(32, 50)), rng.normal(size=(32, 50))
    layers = [dnn.Dense(50, activation, weight_initializer=weights) for _ in range(hidden_layers + 1)]
    model = dnn.Sequential([dnn.Input(50), *layers], seed=1, dtype="float64")
    model.compile(loss="mse")
    norms = [np.linalg.norm(delta) for delta in model.deltas(x, y)]
    return norms[0] / norms[-2]


def test_a11_gradients_vanish_through_many_sigmoids():
    # The slope of a sigmoid is at most 1/4.
    assert first_to_last("sigmoid", "glorot_uniform") < 1e-9


def test_a11_gradients_explode_with_large_weights():
    # Deviation 1 in 50 inputs: sqrt(50 / 2) for each layer.
    assert first_to_last("relu", dnn.Normal(std=1.0)) > 1e9


@pytest.mark.parametrize(
    ("activation", "weights"), [("relu", "he_normal"), ("tanh", "glorot_normal"), ("selu", "lecun_normal")]
)
def test_a11_initial_weights_that_suit_the_activation_are_the_cure(activation, weights):
    assert 1e-2 < first_to_last(activation, weights) < 1e2


def test_a11_an_explosion_stops_training_with_the_weights_still_finite():
    x, y = small_table()
    layers = [dnn.Dense(50, "relu", weight_initializer=dnn.Normal(std=5.0)) for _ in range(30)]
    model = dnn.Sequential([dnn.Input(2), *layers, dnn.Dense(1)], seed=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(x, y, epochs=100, optimizer=dnn.SGD(0.1), verbose=0)
    assert history.stopped_because == "diverged"
    assert [warning.category for warning in caught] == [dnn.DivergenceWarning]
    assert all(np.isfinite(w).all() for w in model.get_weights())
