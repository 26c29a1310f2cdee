"""Initializers beside the usual ones: truncated normal, orthogonal, identity; and lsuv, which asks data."""

from __future__ import annotations

from typing import Any

import dnn
import numpy as np
import pytest
from models import same_bits

X = np.random.default_rng(1).normal(3.0, 5.0, (700, 20))


def deep(activation: str) -> dnn.Sequential:
    # Biases would leave 0, however small the step.
    options: dict[str, Any] = {"weight_initializer": "lsuv", "trainable_bias": False}
    layers = [dnn.Dense(30, activation, **options) for _ in range(8)]
    return dnn.Sequential([dnn.Input(20), *layers, dnn.Dense(1, **options)], seed=2)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "mish"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lsuv_gives_every_layer_the_variance_1_on_the_data(activation: str, dtype: str) -> None:
    model = dnn.Sequential(deep(activation).layers, seed=2, dtype=dtype)
    # The step is below rounding: what is left is the initialization.
    model.fit(X[:512], np.zeros(512), optimizer=dnn.SGD(1e-30), verbose=0)
    for layer in model.forward(X[:512]):
        assert np.var(layer.z) == pytest.approx(1.0, abs=2e-3)


def test_lsuv_reaches_the_layers_within_a_residual_connection() -> None:
    within = dnn.Residual([dnn.Dense(16, weight_initializer="lsuv", trainable_bias=False)])
    model = dnn.Sequential([dnn.Input(20), dnn.Dense(16), within, dnn.Dense(1)], seed=2)
    model.fit(X[:512], np.zeros(512), optimizer=dnn.SGD(1e-30), verbose=0)
    assert np.var(model.forward(X[:512])[1].z) == pytest.approx(1.0, abs=2e-3)


def test_lsuv_only_scales_the_orthogonal_weights() -> None:
    model, start = deep("relu"), deep("relu").get_weights()
    model.fit(X, np.zeros(700), optimizer=dnn.SGD(1e-30), verbose=0)
    for after, before in zip(model.get_weights()[::2], start[::2], strict=True):
        ratio = after / before
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)  # roundings of float32


def test_lsuv_happens_once_and_never_to_weights_that_were_set() -> None:
    model = deep("relu")
    model.fit(X, np.zeros(700), optimizer=dnn.SGD(1e-30), verbose=0)
    first = model.flat_parameters
    model.fit(100 * X, np.zeros(700), optimizer=dnn.SGD(1e-30), verbose=0)
    assert (model.flat_parameters == first).all()
    given = deep("relu")
    given.flat_parameters = first * 1.5
    given.fit(X, np.zeros(700), optimizer=dnn.SGD(1e-30), verbose=0)
    assert (given.flat_parameters == first * 1.5).all()
    step = deep("relu")
    step.compile(dnn.SGD(1e-30))
    step.train_on_batch(X, np.zeros(700))
    assert (step.flat_parameters == first).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_lsuv_has_the_same_bits_for_any_number_of_threads(threads: int) -> None:
    model = deep("tanh")
    model.fit(X, np.zeros(700), optimizer=dnn.SGD(1e-30), verbose=0, n_threads=threads)
    alone = deep("tanh")
    alone.fit(X, np.zeros(700), optimizer=dnn.SGD(1e-30), verbose=0, n_threads=1)
    assert same_bits([model.flat_parameters], [alone.flat_parameters])


def test_lsuv_leaves_a_layer_alone_that_sees_nothing() -> None:
    model = deep("relu")
    start = model.flat_parameters
    model.fit(np.zeros((9, 20)), np.zeros(9), optimizer=dnn.SGD(1e-30), verbose=0)
    assert same_bits([model.flat_parameters], [start])


def test_a_refused_fit_does_not_scale() -> None:
    model = deep("relu")
    start = model.flat_parameters
    with pytest.raises(ValueError, match="batch_size"):
        model.fit(X, np.zeros(700), batch_size=0)
    assert same_bits([model.flat_parameters], [start])


def test_orthogonal_keeps_lengths_and_identity_keeps_everything() -> None:
    layers = [dnn.Input(20), dnn.Dense(20, weight_initializer=dnn.Orthogonal(gain=2.0))]
    model = dnn.Sequential(layers, seed=4, dtype="float64")
    lengths = np.linalg.norm(model.predict(X), axis=1) / np.linalg.norm(X, axis=1)
    np.testing.assert_allclose(lengths, 2.0, rtol=1e-13)
    same = dnn.Sequential([dnn.Input(20), dnn.Dense(20, weight_initializer="identity")], dtype="float64")
    assert (same.predict(X) == X).all()
    wide = dnn.Sequential([dnn.Input(2), dnn.Dense(3, weight_initializer="identity")])
    assert wide.get_weights()[0].tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("argument", "given", "error", "message"),
    [
        ("bias_initializer", "orthogonal", ValueError, "unknown bias_initializer"),
        ("bias_initializer", "lsuv", ValueError, "known: ones, zeros"),
        ("bias_initializer", dnn.Orthogonal(), ValueError, "which is for weights"),
        ("weight_initializer", "truncated_normal", ValueError, r"write dnn\.TruncatedNormal"),
    ],
)
def test_what_is_no_initializer_there_is_refused(
    argument: str, given: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        dnn.Dense(3, **{argument: given})
