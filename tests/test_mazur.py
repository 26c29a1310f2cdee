"""Matt Mazur's step-by-step example, a 2-2-2 sigmoid network with one row, through the public API.

Numbers: tests/references/mazur.json. E is half the sum of squares over the two outputs, which is `mse` for
two outputs, so the learning rate is the article's 0.5. Its long run mixes two orders of updating; here all
parameters move at once, as its text says.
"""

import json
from pathlib import Path

import dnn
import numpy as np
import pytest

MAZUR = json.loads((Path(__file__).parent / "references" / "mazur.json").read_text())
STEP0 = {name: entry["computed"] for name, entry in MAZUR["step0"].items()}
SIMULTANEOUS = {
    False: MAZUR["trajectories"]["A_simultaneous_bias_frozen"],
    True: MAZUR["trajectories"]["C_simultaneous_bias_updated"],
}
SEQUENTIAL = {
    False: MAZUR["trajectories"]["B_sequential_bias_frozen"],
    True: MAZUR["trajectories"]["D_sequential_bias_updated"],
}
X, T = [MAZUR["inputs"]], [MAZUR["targets"]]
UPDATES = [1, 2, 5, 10, 100, 1000, 9998, 9999, 10000, 10001]

# A handful of roundings in a different order than NumPy's.
ONE_STEP = 1e-12
# The roundings of up to 10001 steps; the steps pull errors together, so they hardly add up.
LONG_RUN = 1e-10
# float32 has 6e-8 for each rounding; measured with NumPy in float32 after 10000 updates: 9e-6.
SINGLE = 2e-5


def network(dtype="float64", trainable_bias=True):
    model = dnn.Sequential(
        [
            dnn.Input(2),
            dnn.Dense(2, "sigmoid", trainable_bias=trainable_bias),
            dnn.Dense(2, "sigmoid", trainable_bias=trainable_bias),
        ],
        seed=0,
        dtype=dtype,
    )
    model.set_weights([MAZUR[name] for name in ("W1", "b1", "W2", "b2")])
    model.compile(dnn.SGD(MAZUR["learning_rate"]), loss="mse")
    return model


def trained(updates, dtype="float64", trainable_bias=True):
    model = network(dtype, trainable_bias)
    model.fit(X, T, batch_size="full", epochs=updates, verbose=0)
    return model


def output_layer(columns, loss):
    """The second layer alone, as a network from h to the outputs in `columns`."""
    model = dnn.Sequential([dnn.Input(2), dnn.Dense(len(columns), "sigmoid")], seed=0, dtype="float64")
    model.set_weights([np.array(MAZUR["W2"])[:, columns], np.array(MAZUR["b2"])[columns]])
    model.compile(dnn.SGD(0.5), loss=loss)
    return model


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ONE_STEP), ("float32", SINGLE)])
def test_z_and_a_of_both_layers_are_the_articles(dtype, tolerance):
    hidden, output = network(dtype).forward(X)
    for layer, z, a in ((hidden, "net_h", "out_h"), (output, "net_o", "out_o")):
        assert layer.z[0] == pytest.approx([STEP0[z + "1"], STEP0[z + "2"]], rel=tolerance, abs=0)
        assert layer.a[0] == pytest.approx([STEP0[a + "1"], STEP0[a + "2"]], rel=tolerance, abs=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ONE_STEP), ("float32", SINGLE)])
def test_the_first_error_is_the_articles(dtype, tolerance):
    model = network(dtype)
    assert model.evaluate(X, T)["loss"] == pytest.approx(STEP0["E_total"], rel=tolerance, abs=0)
    assert model.loss_and_gradients(X, T)[0] == pytest.approx(STEP0["E_total"], rel=tolerance, abs=0)


@pytest.mark.parametrize("output", [1, 2])
def test_the_error_of_one_output_is_the_articles(output):
    model = output_layer([output - 1], "half_mse")
    hidden = [[STEP0["out_h1"], STEP0["out_h2"]]]
    error = model.evaluate(hidden, [[T[0][output - 1]]])["loss"]
    assert error == pytest.approx(STEP0[f"E_o{output}"], rel=ONE_STEP, abs=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ONE_STEP), ("float32", SINGLE)])
def test_deltas_of_both_layers_are_the_articles(dtype, tolerance):
    hidden, output = network(dtype).deltas(X, T)
    assert hidden[0] == pytest.approx([STEP0["delta_h1"], STEP0["delta_h2"]], rel=tolerance, abs=0)
    assert output[0] == pytest.approx([STEP0["delta_o1"], STEP0["delta_o2"]], rel=tolerance, abs=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ONE_STEP), ("float32", SINGLE)])
def test_the_derivative_for_every_weight_is_the_articles(dtype, tolerance):
    _, (dw1, db1, dw2, db2) = network(dtype).loss_and_gradients(X, T)
    # Weights are (n_in, n_out): w1 and w2 lead from i1 and i2 to h1.
    assert dw1.T.ravel() == pytest.approx([STEP0[f"dE_dw{k}"] for k in (1, 2, 3, 4)], rel=tolerance, abs=0)
    assert dw2.T.ravel() == pytest.approx([STEP0[f"dE_dw{k}"] for k in (5, 6, 7, 8)], rel=tolerance, abs=0)
    assert db1 == pytest.approx([STEP0["delta_h1"], STEP0["delta_h2"]], rel=tolerance, abs=0)
    assert db2 == pytest.approx([STEP0["delta_o1"], STEP0["delta_o2"]], rel=tolerance, abs=0)


def test_the_derivative_for_the_output_of_a_hidden_neuron_is_the_sum_over_both_outputs():
    hidden = [[STEP0["out_h1"], STEP0["out_h2"]]]
    of_both = output_layer([0, 1], "mse").input_gradients(hidden, T)[0]
    of_each = [output_layer([k], "half_mse").input_gradients(hidden, [[T[0][k]]])[0] for k in (0, 1)]
    assert of_both == pytest.approx(
        [STEP0["dE_total_dout_h1"], STEP0["dE_total_dout_h2"]], rel=ONE_STEP, abs=0
    )
    assert of_each[0][0] == pytest.approx(STEP0["dE_o1_dout_h1"], rel=ONE_STEP, abs=0)
    assert of_each[1][0] == pytest.approx(STEP0["dE_o2_dout_h1"], rel=ONE_STEP, abs=0)


def test_the_factors_of_the_chain_rule_are_the_articles():
    model = network()
    hidden, output = model.forward(X)
    hidden_deltas, output_deltas = model.deltas(X, T)
    slope = output.a[0] * (1 - output.a[0])
    assert slope == pytest.approx([STEP0["dout_o1_dnet_o1"], STEP0["dout_o2_dnet_o2"]], rel=ONE_STEP, abs=0)
    expected = [STEP0["dE_dout_o1"], STEP0["dE_dout_o2"]]
    assert output_deltas[0] / slope == pytest.approx(expected, rel=ONE_STEP, abs=0)
    slope = hidden.a[0] * (1 - hidden.a[0])
    assert slope[0] == pytest.approx(STEP0["dout_h1_dnet_h1"], rel=ONE_STEP, abs=0)
    expected = [STEP0["dE_total_dout_h1"], STEP0["dE_total_dout_h2"]]
    assert hidden_deltas[0] / slope == pytest.approx(expected, rel=ONE_STEP, abs=0)


def test_the_numbers_the_article_prints_come_out_to_every_digit_that_is_right():
    model = network()
    hidden, output = model.forward(X)
    _, (dw1, _, dw2, _) = model.loss_and_gradients(X, T)
    ours = {
        "net_h1": hidden.z[0, 0],
        "out_h1": hidden.a[0, 0],
        "out_h2": hidden.a[0, 1],
        "net_o1": output.z[0, 0],
        "out_o1": output.a[0, 0],
        "out_o2": output.a[0, 1],
        "E_total": model.evaluate(X, T)["loss"],
        "dE_dw5": dw2[0, 0],
        "dE_dw1": dw1[0, 0],
    }
    model = trained(1, trainable_bias=False)
    w1, _, w2, _ = model.get_weights()
    ours |= {f"w{k}_after_1": w for k, w in enumerate([*w1.T.ravel(), *w2.T.ravel()], 1)}
    for name, value in ours.items():
        entry = MAZUR["step0"][name]
        assert entry["agrees_to_all_printed_digits"]
        assert value == pytest.approx(float(entry["printed"]), abs=0.51 * 10 ** -entry["decimals"]), name


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ONE_STEP), ("float32", SINGLE)])
@pytest.mark.parametrize("trainable_bias", [False, True])
def test_one_update_moves_every_parameter_from_the_old_values(trainable_bias, dtype, tolerance):
    expected = SIMULTANEOUS[trainable_bias]["params_after_1"]
    w1, b1, w2, b2 = trained(1, dtype, trainable_bias).get_weights()
    np.testing.assert_allclose(w1.T, expected["W1"], rtol=tolerance)
    np.testing.assert_allclose(b1, expected["b1"], rtol=tolerance)
    np.testing.assert_allclose(w2.T, expected["W2"], rtol=tolerance)
    np.testing.assert_allclose(b2, expected["b2"], rtol=tolerance)


def test_frozen_biases_keep_their_bits():
    before, after = network(trainable_bias=False), trained(100, trainable_bias=False)
    for layer in (1, 3):
        assert after.get_weights()[layer].tobytes() == before.get_weights()[layer].tobytes()


@pytest.mark.parametrize("trainable_bias", [False, True])
@pytest.mark.parametrize("updates", UPDATES)
def test_error_and_outputs_after_many_simultaneous_updates(updates, trainable_bias):
    expected = SIMULTANEOUS[trainable_bias][str(updates)]
    model = trained(updates, trainable_bias=trainable_bias)
    assert model.evaluate(X, T)["loss"] == pytest.approx(expected["E"], rel=LONG_RUN, abs=0)
    assert model.predict(X)[0] == pytest.approx(expected["out"], rel=LONG_RUN, abs=0)


@pytest.mark.parametrize("trainable_bias", [False, True])
def test_the_history_has_the_error_before_each_update(trainable_bias):
    losses = trained(10002, trainable_bias=trainable_bias).history.history["loss"]
    expected = SIMULTANEOUS[trainable_bias]
    assert losses[0] == pytest.approx(STEP0["E_total"], rel=ONE_STEP, abs=0)
    for updates in UPDATES:
        assert losses[updates] == pytest.approx(expected[str(updates)]["E"], rel=LONG_RUN, abs=0)


@pytest.mark.parametrize("trainable_bias", [False, True])
def test_parameters_after_10000_updates(trainable_bias):
    expected = SIMULTANEOUS[trainable_bias]["params_after_10000"]
    w1, b1, w2, b2 = trained(10000, trainable_bias=trainable_bias).get_weights()
    np.testing.assert_allclose(w1.T, expected["W1"], rtol=LONG_RUN)
    np.testing.assert_allclose(b1, expected["b1"], rtol=LONG_RUN)
    np.testing.assert_allclose(w2.T, expected["W2"], rtol=LONG_RUN)
    np.testing.assert_allclose(b2, expected["b2"], rtol=LONG_RUN)


@pytest.mark.parametrize("trainable_bias", [False, True])
@pytest.mark.parametrize("updates", [1, 10, 100, 1000, 10000])
def test_in_float32_the_error_after_many_updates_is_the_same(updates, trainable_bias):
    model = trained(updates, "float32", trainable_bias)
    expected = SIMULTANEOUS[trainable_bias][str(updates)]
    # The error is a square of differences of outputs near 0.01 and 0.99: an output that is wrong by one unit
    # in the last place of 1 (6e-8) changes an error E by 6e-8 sqrt(2 E), beside the relative tolerance.
    allowed = SINGLE * expected["E"] + 6e-8 * np.sqrt(2 * expected["E"])
    assert abs(model.evaluate(X, T)["loss"] - expected["E"]) <= allowed
    assert model.predict(X)[0] == pytest.approx(expected["out"], rel=SINGLE, abs=0)


@pytest.mark.parametrize("trainable_bias", [False, True])
@pytest.mark.parametrize("updates", [1, 10, 100, 1000, 10000])
def test_updating_layer_after_layer_gives_other_numbers_which_do_not_come_out(updates, trainable_bias):
    # The article prints 0.291027924 after one update and 0.015912196 after 10000: hidden deltas taken with
    # weights that have already moved. The two orders differ by at least 5e-7 (relative) at each of these
    # counts.
    simultaneous = SIMULTANEOUS[trainable_bias][str(updates)]["E"]
    sequential = SEQUENTIAL[trainable_bias][str(updates)]["E"]
    error = trained(updates, trainable_bias=trainable_bias).evaluate(X, T)["loss"]
    assert abs(error - sequential) > 1e4 * abs(error - simultaneous)
    assert error != pytest.approx(sequential, rel=1e-7, abs=0)


def test_half_the_rate_with_twice_the_error_is_the_same_training():
    model = network()
    model.compile(dnn.SGD(MAZUR["learning_rate"] / 2), loss="sse")
    assert model.evaluate(X, T)["loss"] == pytest.approx(2 * STEP0["E_total"], rel=ONE_STEP, abs=0)
    model.fit(X, T, batch_size="full", epochs=100, verbose=0)
    for ours, same in zip(model.get_weights(), trained(100).get_weights(), strict=True):
        np.testing.assert_allclose(ours, same, rtol=ONE_STEP)
