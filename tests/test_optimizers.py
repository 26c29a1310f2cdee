"""Every optimizer follows its owner's implementation; gradients are clipped, and gathered over batches.

The courses of PyTorch and scikit-learn are recorded by tests/record/optimizers.py; Keras's numbers are those
that its own tests publish.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from dnn._optimizers import OPTIMIZERS
from models import same_bits

from benchmarks.numpy_mlp import NumpyMLP
from benchmarks.numpy_optimizers import KerasRMSprop, Lamb, Lion

RECORD = json.loads((Path(__file__).parent / "values" / "optimizers.json").read_text(encoding="utf-8"))
X, Y = np.array(RECORD["x"]), np.array(RECORD["y"])


def network(**options):
    """The recorded network with its first weights, in float64."""
    layers = [dnn.Dense(5, "tanh"), dnn.Dense(4, "tanh"), dnn.Dense(2)]
    model = dnn.Sequential(layers, dtype="float64", seed=1, **options)
    model.set_weights([np.array(w) for w in RECORD["weights"]])
    return model


def made(written):
    """The optimizer that `written` is the code of."""
    return eval(written, vars(dnn))


@pytest.mark.parametrize("written", RECORD["courses"])
def test_every_optimizer_follows_its_owner_for_a_hundred_steps(written):
    model, done = network(), 0
    model.compile(made(written), loss="half_mse")
    for steps, expected in RECORD["courses"][written].items():
        model.fit(X, Y, batch_size="full", epochs=int(steps) - done, verbose=0)
        done = int(steps)
        # Rounding of 1e-16 a step, grown over up to 100 steps.
        np.testing.assert_allclose(model.flat_parameters, expected, rtol=1e-10, atol=1e-10, err_msg=steps)


# What PyTorch does not have; for Adam's kin the other convention is recorded above.
TWINS = {
    "Lion(0.01)": lambda: Lion(0.01),
    "Lion(0.01, beta_1=0.8, beta_2=0.95, weight_decay=0.1)": lambda: Lion(0.01, 0.8, 0.95, weight_decay=0.1),
    "Lion(weight_decay=0.5, decay_bias=True)": lambda: Lion(weight_decay=0.5, decay_bias=True),
    "Lamb(0.01)": lambda: Lamb(0.01),
    "Lamb(0.01, weight_decay=0.1)": lambda: Lamb(0.01, weight_decay=0.1),
    "Lamb(0.01, epsilon=1e-3, weight_decay=0.1, decay_bias=True)": lambda: Lamb(
        0.01, epsilon=1e-3, weight_decay=0.1, decay_bias=True
    ),
    "RMSprop(0.001, epsilon=1e-7, epsilon_inside=True)": lambda: KerasRMSprop(),
    "RMSprop(0.001, epsilon=1e-4, epsilon_inside=True, centered=True)": lambda: KerasRMSprop(
        epsilon=1e-4, centered=True
    ),
}


@pytest.mark.parametrize("written", TWINS)
def test_optimizers_without_an_owner_in_pytorch_follow_their_formula_for_a_hundred_steps(written):
    model, twin = network(), TWINS[written]()
    oracle = NumpyMLP([3, 5, 4, 2], ["tanh", "tanh", "identity"], "half_mse", np.float64, RECORD["weights"])
    for _ in range(100):
        oracle.loss_and_gradients(X, Y)
        twin.step_arrays(oracle.weights, oracle.gradients)
    model.fit(X, Y, batch_size="full", epochs=100, loss="half_mse", optimizer=made(written), verbose=0)
    for ours, theirs in zip(model.get_weights(), oracle.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def weights_after(optimizer, start, gradients):
    """The weights of one linear unit after steps along given gradients: (w x - t) x, with w x - t = 1."""
    model = dnn.Sequential([dnn.Dense(1, use_bias=False)], dtype="float64", seed=1)
    model.set_weights([np.array(start)[:, None]])
    model.compile(optimizer, loss="half_mse")
    course = []
    for gradient in gradients:
        row = np.array(gradient)[None, :]
        model.train_on_batch(row, model.predict(row) - 1.0)
        course.append(model.get_weights()[0][:, 0])
    return np.array(course)


@pytest.mark.parametrize(
    ("optimizer", "after"),
    [
        (dnn.Lion(0.5), [0.5, 1.5, 2.5, 3.5]),
        (dnn.Lamb(0.5), [-0.3693, 0.6306, 1.6306, 2.6306]),
        (dnn.RMSprop(0.5, epsilon=1e-7, epsilon_inside=True), [-0.5811, 0.4189, 1.4189, 2.4189]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_single_step_is_the_one_in_the_tests_of_keras(optimizer, after):
    # lion_test.py, lamb_test.py, rmsprop_test.py: test_single_step, to the digits printed there.
    course = weights_after(optimizer, [1.0, 2.0, 3.0, 4.0], [[1.0, 6.0, 7.0, 2.0]])
    np.testing.assert_allclose(course[0], after, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "golden"),
    [
        (dnn.Lion(), [0.999, 0.998, 0.997, 0.996, 0.995]),
        (dnn.Lamb(), [0.999, 0.9982, 0.9974, 0.9965, 0.9955]),
        (
            dnn.RMSprop(0.001, epsilon=1e-7, epsilon_inside=True, centered=True),
            [0.9967, 0.9933, 0.9908, 0.9885, 0.9864],
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_five_steps_are_the_golden_ones_of_keras(optimizer, golden):
    # test_correctness_with_golden, to the tolerance given there.
    gradients = [np.full(10, 0.01), *[np.arange(0.1, 1.05, 0.1)] * 4]
    course = weights_after(optimizer, np.ones(10), gradients)
    np.testing.assert_allclose(course, np.tile(np.array(golden)[:, None], (1, 10)), rtol=5e-4, atol=5e-4)


def test_adamw_leaves_biases_undecayed_unless_asked():
    rows = np.zeros((4, 3))  # a layer of inputs 0: the gradient of W is 0
    for decay_bias in (False, True):
        model = dnn.Sequential([dnn.Dense(2)], dtype="float64", seed=1)
        model.set_weights([np.ones((3, 2)), np.ones(2)])
        decayed = dnn.AdamW(0.1, weight_decay=0.5, decay_bias=decay_bias)
        model.fit(rows, np.ones((4, 2)), batch_size="full", optimizer=decayed, verbose=0)
        w, b = model.get_weights()
        np.testing.assert_allclose(w, 0.95, rtol=1e-15)
        np.testing.assert_allclose(b, 0.95 if decay_bias else 1.0, rtol=1e-15)


# L-BFGS, which takes no rate, has tests of its own.
EVERY = {name: optimizer() for name, optimizer in OPTIMIZERS.items() if name != "lbfgs"}


@pytest.mark.parametrize("name", EVERY)
def test_a_file_and_a_copy_go_on_with_the_bits_of_never_having_stopped(name, tmp_path, regression):
    whole, parts = (dnn.Sequential([dnn.Dense(6, "tanh"), dnn.Dense(1)], seed=3) for _ in range(2))
    whole.fit(*regression, epochs=6, optimizer=EVERY[name], verbose=0)
    parts.fit(*regression, epochs=4, optimizer=EVERY[name], verbose=0)
    parts.save(tmp_path / "model.dnn")
    loaded, copied = dnn.load(tmp_path / "model.dnn"), pickle.loads(pickle.dumps(parts))
    assert loaded.optimizer == EVERY[name]
    for model in (parts, loaded, copied):
        model.fit(*regression, epochs=6, initial_epoch=4, verbose=0)
        assert same_bits([model.flat_parameters], [whole.flat_parameters])


@pytest.mark.parametrize("name", EVERY)
def test_an_optimizer_is_known_by_its_name_and_written_as_its_code(name):
    model = dnn.Sequential([dnn.Dense(1)])
    model.compile(name)
    assert model.optimizer == EVERY[name]
    assert made(repr(EVERY[name])) == EVERY[name]
    assert getattr(dnn, type(EVERY[name]).__name__) is OPTIMIZERS[name]
    clipped = dataclasses.replace(EVERY[name], clip_norm=2.0)
    assert "clip" not in repr(EVERY[name])
    assert made(repr(clipped)) == clipped != EVERY[name]


# Gradients that are clipped, and gathered over several batches

GRADIENTS = np.random.default_rng(5).normal(0, [[1.0], [0.1], [3.0], [0.5], [2.0]], (5, 4))


@pytest.mark.parametrize("name", EVERY)
def test_every_optimizer_steps_along_the_clipped_gradient(name):
    start = [1.0, -2.0, 0.5, 3.0]
    norms = np.linalg.norm(GRADIENTS, axis=1, keepdims=True)
    assert norms.min() < 0.8 < norms.max()
    for clip, shortened in [
        ({"clip_norm": 0.8}, GRADIENTS * np.minimum(1.0, 0.8 / norms)),
        ({"clip_value": 0.3}, np.clip(GRADIENTS, -0.3, 0.3)),
    ]:
        clipped = weights_after(dataclasses.replace(EVERY[name], **clip), start, GRADIENTS)
        by_hand = weights_after(EVERY[name], start, shortened)
        np.testing.assert_allclose(clipped, by_hand, rtol=1e-10, err_msg=str(clip))
        # Signs are the same in a shorter gradient; all others step otherwise.
        if name not in ("lion", "rprop", "muon"):
            assert not np.allclose(clipped, weights_after(EVERY[name], start, GRADIENTS), rtol=1e-6)


def test_changing_a_clip_keeps_the_memory_of_the_optimizer(regression):
    one, other = (dnn.Sequential([dnn.Dense(4, "tanh"), dnn.Dense(1)], seed=5) for _ in range(2))
    one.fit(*regression, epochs=2, optimizer=dnn.Adam(0.01), verbose=0)
    other.fit(*regression, epochs=2, optimizer=dnn.Adam(0.01, clip_norm=1e9), verbose=0)
    one.fit(*regression, epochs=2, verbose=0)
    other.fit(*regression, epochs=2, optimizer=dnn.Adam(0.01, clip_value=1e9), verbose=0)
    assert same_bits([one.flat_parameters], [other.flat_parameters])


def test_a_clip_is_kept_in_a_file(tmp_path):
    model = dnn.Sequential([dnn.Input(2), dnn.Dense(1)])
    model.compile(dnn.Adam(clip_norm=np.float32(0.5)))
    model.save(tmp_path / "model.dnn")
    assert dnn.load(tmp_path / "model.dnn").optimizer == dnn.Adam(clip_norm=0.5)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize(
    "optimizer", ["adam", dnn.SGD(0.1, momentum=0.9), dnn.SGD(0.1, clip_norm=0.1)], ids=str
)
def test_batches_accumulated_equal_one_batch_so_many_times_as_large(loss, optimizer, classes):
    x, y = classes
    weight = np.random.default_rng(6).uniform(0.1, 3, len(x))
    output = dnn.Dense(3, "softmax" if loss == "cross_entropy" else "identity")
    y = y if loss == "cross_entropy" else np.eye(3)[y]
    one, other = (
        dnn.Sequential([dnn.Dense(6, "tanh", l2=0.01), output], dtype="float64", seed=6) for _ in range(2)
    )
    # 90 rows: steps of 4 x 8 rows, and the last of 26: three batches of 8 and one of 2.
    options = {"epochs": 3, "loss": loss, "optimizer": optimizer, "sample_weight": weight, "verbose": 0}
    steps = []
    count = dnn.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    gathered = one.fit(x, y, 8, accumulate=4, callbacks=[count], **options).history
    at_once = other.fit(x, y, 32, **options).history
    assert steps == [0, 1, 2] * 3
    # The sums over the rows are cut in other places: rounding, grown over 9 steps.
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(gathered[name], at_once[name], rtol=1e-12)
    np.testing.assert_allclose(one.flat_parameters, other.flat_parameters, rtol=1e-10, atol=1e-12)


# Weights whose norm is limited


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_max_norm_scales_the_columns_of_w_that_have_become_too_long_after_each_step(dtype):
    x, y = X.astype(dtype), Y.astype(dtype)
    free, limited = (
        dnn.Sequential([dnn.Dense(5, "tanh", max_norm=limit), dnn.Dense(2)], dtype=dtype, seed=7)
        for limit in (None, 0.7)
    )
    limited.set_weights(network_of(free, x, y))
    free.set_weights(limited.get_weights())
    for _ in range(5):
        for model in (free, limited):
            model.fit(x, y, batch_size="full", optimizer=dnn.SGD(0.3), loss="mse", verbose=0)
        expected = free.get_weights()
        norms = np.linalg.norm(expected[0], axis=0)
        expected[0] = expected[0] * np.minimum(1.0, 0.7 / norms)
        tolerance = 1e-6 if dtype == "float32" else 1e-14
        for ours, theirs in zip(limited.get_weights(), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
        free.set_weights(limited.get_weights())
    norms = np.linalg.norm(limited.get_weights()[0], axis=0)
    assert norms.max() <= 0.7 * (1 + tolerance)


def network_of(model, x, y):
    """The weights of a model after a first, long step."""
    model.fit(x, y, batch_size="full", optimizer=dnn.SGD(1.0), loss="mse", verbose=0)
    return model.get_weights()


def test_max_norm_is_kept_in_a_file_and_refused_where_it_cannot_hold(tmp_path):
    model = dnn.Sequential([dnn.Input(3), dnn.Dense(5, max_norm=2), dnn.Dense(2)])
    model.save(tmp_path / "model.dnn")
    assert dnn.load(tmp_path / "model.dnn").layers[0].max_norm == 2.0
    with pytest.raises(ValueError, match=r"max_norm must be a finite number above 0, got 0"):
        dnn.Dense(5, max_norm=0)
    with pytest.raises(
        ValueError, match=r"layer 1 has a max_norm, which the line search of L-BFGS can't keep"
    ):
        model.fit(X, Y, optimizer="lbfgs", verbose=0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dnn.SGD(clip_norm=0.0), ValueError, r"clip_norm must be a finite number above 0, got 0"),
        (lambda: dnn.SGD(clip_value=-1), ValueError, r"clip_value must be .* above 0"),
        (lambda: dnn.Adam(clip_norm="1"), TypeError, r"clip_norm must be .*'1' \(str\)"),
        (lambda: dnn.Adam(clip_norm=1, clip_value=1), ValueError, r"don't go together"),
        (lambda: dnn.AdamW(weight_decay=-0.1), ValueError, r"weight_decay must be .* at least 0"),
        (lambda: dnn.AdamW(decay_bias=1), TypeError, r"decay_bias must be True or False"),
        (lambda: dnn.RMSprop(rho=1.0), ValueError, r"rho must be .* below 1"),
        (lambda: dnn.RMSprop(epsilon=0.0), ValueError, r"epsilon must be .* above 0"),
        (lambda: dnn.Adagrad(initial_accumulator=-1.0), ValueError, r"initial_accumulator must be"),
        (lambda: dnn.Adadelta(rho=-0.1), ValueError, r"rho must be .* at least 0"),
        (lambda: dnn.Nadam(momentum_decay=np.inf), ValueError, r"momentum_decay must be a finite"),
        (lambda: dnn.RAdam(beta_2=0.5), ValueError, r"beta_2 must be .* above 0\.6"),
        (lambda: dnn.Rprop(etas=(0.5, 0.9)), ValueError, r"etas must be .* one above 1, got 0\.5 and 0\.9"),
        (lambda: dnn.Rprop(etas=(0.5,)), ValueError, r"etas has 1 number, but needs 2"),
        (lambda: dnn.Rprop(etas=0.5), TypeError, r"etas must be a list"),
        (lambda: dnn.Rprop(step_sizes=(1.0, 0.1)), ValueError, r"the smaller first"),
        (lambda: dnn.Muon(ns_steps=100), ValueError, r"ns_steps must be a whole number from 0 to 99"),
        (lambda: dnn.Muon(ns_coefficients=(1, "2", 3)), TypeError, r"ns_coefficients\[1\] must be"),
        (
            lambda: dnn.Muon(adjust_rate="orignal"),
            ValueError,
            r"unknown adjust_rate .* did you mean 'original'",
        ),
        (lambda: dnn.Muon(adjust_rate=None), TypeError, r"adjust_rate must be a name"),
        (lambda: network().compile("rmsprob"), ValueError, r"unknown optimizer .* did you mean 'rmsprop'"),
        (
            lambda: network().compile(dnn.Muon(ns_coefficients=(4.0, 0.0, 0.0), ns_steps=50)),
            ValueError,
            r"ns_coefficients .* must stay below 1000",
        ),
        (
            lambda: network().fit(X, Y, accumulate=0),
            ValueError,
            r"accumulate must be a whole number, 1 or more",
        ),
        (lambda: network().fit(X, Y, accumulate=2.0), TypeError, r"accumulate must be"),
        (lambda: network().fit(X, Y, "full", accumulate=2), ValueError, r"leaves nothing to accumulate"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "optimizer",
    [
        dnn.AdamW(0.1, weight_decay=1.0),
        dnn.Lion(0.1, weight_decay=1.0),
        dnn.Lamb(0.1, weight_decay=1.0),
        dnn.Muon(0.1, weight_decay=1.0),
    ],
)
def test_gamma_and_beta_do_not_decay(optimizer: Any) -> None:
    x, y = np.zeros((4, 3)), np.zeros((4, 1))
    layers = [dnn.BatchNormalization(), dnn.Dense(1, weight_initializer="zeros")]
    model = dnn.Sequential(layers, dtype="float64")
    model.fit(x, y, loss="mse", optimizer=optimizer, batch_size=4, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], np.ones(3))  # its gradient is 0
