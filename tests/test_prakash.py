"""Prakash Jay's example, a 3-3-3-3 network of relu, sigmoid and softmax with cross entropy, corrected.

Numbers: tests/references/prakash.json, computed in float64 with NumPy and checked by central differences. The
gradients and updated weights that the article prints are wrong (most of them in their sign) and are not used.
"""

import json
from pathlib import Path

import dnn
import numpy as np
import pytest

PRAKASH = json.loads((Path(__file__).parent / "references" / "prakash.json").read_text())
CORRECT = PRAKASH["correct"]
X, T = [PRAKASH["input"]], [PRAKASH["target"]]

# A handful of roundings in a different order than NumPy's.
ONE_STEP = 1e-12
# The roundings of up to 1000 steps.
LONG_RUN = 1e-10
# float32 has 6e-8 for each rounding; the smallest numbers are differences of larger ones.
SINGLE = 2e-5

DTYPES = pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ONE_STEP), ("float32", SINGLE)])


def network(dtype="float64", trainable_bias=True, first=0):
    """The network from layer `first` on."""
    layers = [
        dnn.Dense(3, activation, trainable_bias=trainable_bias)
        for activation in ("relu", "sigmoid", "softmax")[first:]
    ]
    model = dnn.Sequential([dnn.Input(3), *layers], seed=0, dtype=dtype)
    pairs = zip(PRAKASH["W"][first:], PRAKASH["b"][first:], strict=True)
    model.set_weights([array for pair in pairs for array in pair])
    model.compile(dnn.SGD(PRAKASH["learning_rate"]), loss="cross_entropy")
    return model


def expected_after(updates, trainable_bias):
    return CORRECT["training"][f"{updates}_updates_bias_{'updated' if trainable_bias else 'frozen'}"]


def trained(updates, dtype="float64", trainable_bias=True):
    model = network(dtype, trainable_bias)
    model.fit(X, T, batch_size="full", epochs=updates, verbose=0)
    return model


@DTYPES
def test_z_and_a_of_every_layer(dtype, tolerance):
    layers = network(dtype).forward(X)
    for layer, z, a in zip(layers, ("z1", "z2", "z3"), ("a1", "a2", "p"), strict=True):
        assert layer.z[0] == pytest.approx(CORRECT[z], rel=tolerance, abs=0)
        assert layer.a[0] == pytest.approx(CORRECT[a], rel=tolerance, abs=0)


@DTYPES
@pytest.mark.parametrize("target", [T, [0]], ids=["probabilities", "label"])
def test_loss(target, dtype, tolerance):
    assert network(dtype).evaluate(X, target)["loss"] == pytest.approx(CORRECT["loss"], rel=tolerance, abs=0)


@DTYPES
@pytest.mark.parametrize("target", [T, [0]], ids=["probabilities", "label"])
def test_deltas_of_every_layer(target, dtype, tolerance):
    for delta, name in zip(network(dtype).deltas(X, target), ("delta1", "delta2", "delta3"), strict=True):
        assert delta[0] == pytest.approx(CORRECT[name], rel=tolerance, abs=0)


@DTYPES
@pytest.mark.parametrize("target", [T, [0]], ids=["probabilities", "label"])
def test_derivative_for_every_weight_and_bias(target, dtype, tolerance):
    loss, gradients = network(dtype).loss_and_gradients(X, target)
    assert loss == pytest.approx(CORRECT["loss"], rel=tolerance, abs=0)
    for layer in range(3):
        np.testing.assert_allclose(gradients[2 * layer], CORRECT["dW"][layer], rtol=tolerance)
        np.testing.assert_allclose(gradients[2 * layer + 1], CORRECT["db"][layer], rtol=tolerance)


@pytest.mark.parametrize(("first", "a", "name"), [(1, "a1", "dE_da1"), (2, "a2", "dE_da2")])
def test_derivative_for_the_output_of_every_hidden_neuron(first, a, name):
    gradient = network(first=first).input_gradients([CORRECT[a]], T)
    assert gradient[0] == pytest.approx(CORRECT[name], rel=ONE_STEP, abs=0)


@DTYPES
@pytest.mark.parametrize("trainable_bias", [False, True])
def test_parameters_after_one_update(trainable_bias, dtype, tolerance):
    expected = expected_after(1, trainable_bias)
    weights = trained(1, dtype, trainable_bias).get_weights()
    for layer in range(3):
        np.testing.assert_allclose(weights[2 * layer], expected["W"][layer], rtol=tolerance)
        np.testing.assert_allclose(weights[2 * layer + 1], expected["b"][layer], rtol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", LONG_RUN), ("float32", SINGLE)])
@pytest.mark.parametrize("trainable_bias", [False, True])
@pytest.mark.parametrize("updates", [1, 10, 100, 1000])
def test_loss_and_probabilities_after_many_updates(updates, trainable_bias, dtype, tolerance):
    expected = expected_after(updates, trainable_bias)
    model = trained(updates, dtype, trainable_bias)
    # The loss is -ln p: what p may be wrong by, relative to 1, the loss may be wrong by, absolutely.
    allowed = tolerance if dtype == "float64" else tolerance * max(1, 1 / expected["loss"])
    assert model.evaluate(X, T)["loss"] == pytest.approx(expected["loss"], rel=allowed, abs=0)
    assert model.predict(X)[0] == pytest.approx(expected["p"], rel=tolerance, abs=0)


@pytest.mark.parametrize("trainable_bias", [False, True])
def test_the_history_has_the_loss_before_each_update(trainable_bias):
    losses = trained(1001, trainable_bias=trainable_bias).history.history["loss"]
    assert losses[0] == pytest.approx(CORRECT["loss"], rel=ONE_STEP, abs=0)
    for updates in (1, 10, 100, 1000):
        expected = expected_after(updates, trainable_bias)["loss"]
        assert losses[updates] == pytest.approx(expected, rel=LONG_RUN, abs=0)


def test_what_the_article_prints_of_the_forward_pass_is_near():
    layers = network().forward(X)
    assert layers[0].z[0] == pytest.approx([float(z) for z in PRAKASH["printed"]["z1"]], rel=ONE_STEP, abs=0)
    # The article goes on from activations cut to two or three digits: 3e-3 in z3, 4e-4 in the probabilities.
    assert layers[2].z[0] == pytest.approx([float(z) for z in PRAKASH["printed"]["z3"]], abs=3e-3)
    assert layers[2].a[0] == pytest.approx([float(p) for p in PRAKASH["printed"]["softmax_edit1"]], abs=4e-4)


def test_the_gradients_of_both_hidden_layers_are_positive_where_the_article_has_them_negative():
    _, gradients = network().loss_and_gradients(X, T)
    for gradient in gradients[:4]:
        assert (gradient > 0).all()
