"""Gradients are the derivatives of the loss for every layer with every activation and loss it may meet.

Driven by what there is: a layer that is new has to get a line in LAYERS, activations and losses come by
themselves. Noise is the same in all evaluations of a check.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import dnn
import numpy as np
import pytest
from dnn import _layers, _weights
from test_gradients import (
    EACH,
    TOLERANCE,
    assert_agree,
    assert_gradients_are_derivatives,
    differences,
    hidden_like,
    last_units,
    targets,
)

# By the name of the class (or more than that): a layer that takes n inputs and has n outputs.
LAYERS: dict[str, Any] = {
    "Activation": lambda n: dnn.Activation("tanh"),
    "Activation, learned": lambda n: dnn.PReLU(0.3),
    "AlphaDropout": lambda n: dnn.AlphaDropout(0.3),
    "BatchNormalization": lambda n: dnn.BatchNormalization(),
    "Dropout": lambda n: dnn.Dropout(0.3),
    "GaussianNoise": lambda n: dnn.GaussianNoise(0.5),
    "LayerNormalization": lambda n: dnn.LayerNormalization(),
    "Residual": lambda n: dnn.Residual([dnn.Dense(6, "tanh"), dnn.Dense(n)]),
    "Residual of an activation": lambda n: dnn.Residual([dnn.Activation("gelu")]),
    "Residual, nested": lambda n: dnn.Residual(
        [dnn.Residual([dnn.Dense(n, "silu"), dnn.Dropout(0.2)]), dnn.Residual([dnn.Dense(n, "prelu")])]
    ),
    "Residual, normalised": lambda n: dnn.Residual([dnn.BatchNormalization(), dnn.Dense(n, "tanh")]),
}
OUTPUTS = list(dict.fromkeys(output for output, _ in EACH))
ROWS, N_INPUTS = 7, 4


def problem(layers: list[Any], loss: str, seed: int = 0, scale: float = 0.7) -> Any:
    """A model with random weights, and x and y for it. No kink is as near as the differences reach: that is
    as likely as 1 in a thousand, and would be seen."""
    model = dnn.Sequential([dnn.Input(N_INPUTS), *layers], seed=seed, dtype="float64")
    model.compile(loss=loss)
    rng = np.random.default_rng(seed)
    weights = [w + rng.normal(0, scale, w.shape) for w in model.get_weights()]
    slots = _weights.slots(model.layers, N_INPUTS)
    model.set_weights(
        [np.abs(w) if s.kind == "running_variance" else w for w, s in zip(weights, slots, strict=True)]
    )
    return model, rng.normal(size=(ROWS, N_INPUTS)), targets(model, rng, ROWS)


def test_every_layer_is_here() -> None:
    def all_of(cls: type) -> set[str]:
        return {sub.__name__ for sub in cls.__subclasses__()} | {
            name for sub in cls.__subclasses__() for name in all_of(sub)
        }

    assert all_of(_layers.Layer) == {"Dense", *(name for name in LAYERS if " " not in name)}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_with_every_activation_and_every_loss_it_fits(name: str, output: str) -> None:
    hidden, layer = hidden_like(output), LAYERS[name]
    # e^e^e^z is a number for small z only.
    second, scale = ("tanh", 0.3) if output == "exponential" else (hidden, 0.7)
    for loss in (loss for pair, loss in EACH if pair == output):
        last = dnn.Dense(last_units(loss), output)
        layers = [dnn.Dense(5, hidden), layer(5), dnn.Dense(5, second), layer(5), last]
        # And e^-s has its digits for s of a few units.
        small = 0.3 if loss.name == "gaussian_nll" else scale
        # A network of rectifiers may be dead from the start, and has nothing to compare.
        for seed in range(20):
            model, x, y = problem(layers, loss, seed, scale=small)
            if max(np.abs(gradient).max() for gradient in model.loss_and_gradients(x, y)[1]) > 1e-6:
                break
        else:
            raise AssertionError("no seed gives a network that lives")
        assert model.check_gradients(x, y).largest < TOLERANCE


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_every_layer_at_the_input_and_at_the_output(name: str, loss: str) -> None:
    layers = [LAYERS[name](N_INPUTS), dnn.Dense(5, "tanh"), LAYERS[name](5)]
    assert_gradients_are_derivatives(*problem(layers, loss))


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_with_weighted_rows(name: str) -> None:
    layers = [dnn.Dense(5, "gelu"), LAYERS[name](5), dnn.Dense(2)]
    assert_gradients_are_derivatives(*problem(layers, "mse"), [0.3, 2.0, 0.0, 1.0, 5.0, 0.1, 1.0])


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_behind_another_of_its_kind(name: str) -> None:
    layers = [dnn.Dense(5), LAYERS[name](5), LAYERS[name](5), dnn.Dense(2)]
    assert_gradients_are_derivatives(*problem(layers, "mse"))


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_x_are_derivatives_too(name: str) -> None:
    # A dense layer in front, whose input gradient follows from its delta alone, and none.
    for front in ([dnn.Dense(N_INPUTS, "silu")], []):
        model, x, y = problem([*front, LAYERS[name](N_INPUTS), dnn.Dense(2)], "mse")
        gradient, quotient = model.input_gradients(x, y), np.empty_like(x)
        for at in np.ndindex(x.shape):
            p, losses = x[at], []
            for moved in (p - 1e-6, p + 1e-6):
                x[at] = moved
                losses.append(model.loss_and_gradients(x, y)[0])
            x[at] = p
            quotient[at] = (losses[1] - losses[0]) / 2e-6
        assert_agree([gradient], [quotient])


def test_what_is_frozen_below_lets_gradients_of_all_be_seen() -> None:
    layers = [dnn.Dropout(0.3), dnn.Dense(5, "tanh", trainable=False), dnn.Dropout(0.3), dnn.Dense(2)]
    model, x, y = problem(layers, "mse")
    _, gradients = model.loss_and_gradients(x, y)
    assert_agree(gradients, differences(model, x, y))
    assert all(np.abs(delta).max() > 0 for delta in model.deltas(x, y))


def test_gradients_through_a_frozen_batch_normalization_are_those_of_its_running_statistics() -> None:
    layers = [dnn.Dense(5, "tanh"), dnn.BatchNormalization(trainable=False), dnn.Dense(2)]
    model, x, y = problem(layers, "mse")
    assert model.check_gradients(x, y).largest < TOLERANCE
    assert [title for title, _ in model.check_gradients(x, y).differences][2:4] == [
        "gamma of layer 2",
        "beta of layer 2",
    ]


def test_a_batch_of_more_than_one_block_has_the_gradients_of_its_loss() -> None:
    # 600 rows: more than go through the network together where they may be divided.
    layers = [dnn.Dense(3, "tanh"), dnn.BatchNormalization(), dnn.LayerNormalization(), dnn.Dense(1)]
    model, _, _ = problem(layers, "mse")
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(600, N_INPUTS)), rng.normal(size=(600, 1))
    assert model.check_gradients(x, y).largest < TOLERANCE


# ---- regularisers ------------------------------------------------------------------------------------------

# By the name of the argument: a value at which the loss is smooth. Norms of columns are far below the limit.
REGULARISERS = {"l1": 0.05, "l2": 0.2, "max_norm": 1e3}
# Arguments of layers that do not regularise.
OTHERS = {
    *("activation", "beta_initializer", "bias_initializer", "epsilon", "gamma_initializer", "layers"),
    *("momentum", "rate", "std", "trainable", "trainable_bias", "units", "use_bias", "weight_initializer"),
}
# By the name of the class: a layer of 5 outputs with these arguments.
REGULARISED: dict[str, Any] = {"Dense": lambda **given: dnn.Dense(5, "tanh", **given)}
PENALISED = [(name, argument) for name in REGULARISED for argument in REGULARISERS]


def test_every_argument_of_every_layer_is_a_regulariser_or_known_not_to_be() -> None:
    def all_of(cls: type) -> list[type]:
        return [found for sub in cls.__subclasses__() for found in (sub, *all_of(sub))]

    for cls in all_of(_layers.Layer):
        names = {field.name for field in dataclasses.fields(cls)}
        assert names <= OTHERS | set(REGULARISERS), cls
        assert bool(names & set(REGULARISERS)) == (cls.__name__ in REGULARISED), cls
        if cls.__name__ in REGULARISED:
            assert {argument for name, argument in PENALISED if name == cls.__name__} <= names


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "argument"), PENALISED)
def test_every_regulariser_of_every_layer_that_takes_one(
    name: str, argument: str, weighted: bool, output: str
) -> None:
    def made(value: float | None, loss: Any) -> Any:
        given = {} if value is None else {argument: value}
        layers = [REGULARISED[name](**given), dnn.Residual([REGULARISED[name](**given)])]
        last = dnn.Dense(last_units(loss), output, **given)
        return problem([*layers, last], loss, scale=0.3)

    loss = next(loss for pair, loss in EACH if pair == output)
    model, x, y = made(REGULARISERS[argument], loss)
    # Away from 0, where l1 has its kink.
    model.set_weights([w + 0.01 * np.sign(w) for w in model.get_weights()])
    weight = [0.3, 2.0, 0.0, 1.0, 5.0, 0.1, 1.0] if weighted else None
    assert model.check_gradients(x, y, sample_weight=weight).largest < TOLERANCE
    # And it is there: with a penalty the loss is another, with a limit that is not reached it is not.
    plain, _, _ = made(None, loss)
    plain.set_weights(model.get_weights())
    with_it, without = (m.loss_and_gradients(x, y, sample_weight=weight)[0] for m in (model, plain))
    assert (with_it > without) if argument != "max_norm" else (with_it == without)
