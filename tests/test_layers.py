"""Layers beside Dense: what they do while a network learns and in use, alone and together.

Gradients are in test_layer_gradients.py, oracles from elsewhere in test_layer_oracles.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from models import model_of, same
from numpy.typing import NDArray

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(300, 6)), RNG.integers(0, 3, 300)


def identity_behind(*layers: Any, width: int = 6, **arguments: Any) -> dnn.Sequential:
    """A model that ends in a Dense whose weights are the identity: its outputs are those of `layers`."""
    last = dnn.Dense(width, weight_initializer=np.eye(width))
    return model_of(dnn.Input(width), *layers, last, **arguments)


def learning_outputs(model: dnn.Sequential, x: NDArray[Any]) -> NDArray[Any]:
    """What comes out of a network of `identity_behind` while it learns, as it learns it: from the gradient of
    sse with targets of 0, which is twice the outputs."""
    model.compile(dnn.SGD(0.1), loss="sse")
    return model.deltas(x, np.zeros_like(x))[-1] * len(x) / 2


# ---- Activation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "gelu", dnn.LeakyReLU(0.3)], ids=str)
def test_an_activation_behind_a_dense_layer_is_as_good_as_inside(activation: Any) -> None:
    inside = model_of(dnn.Dense(8, activation), dnn.Dense(3, "softmax"))
    behind = model_of(dnn.Dense(8), dnn.Activation(activation), dnn.Dense(3), dnn.Activation("softmax"))
    inside.fit(X, Y, epochs=1)
    behind.fit(X, Y, epochs=1)
    behind.set_weights(inside.get_weights())
    for model in (inside, behind):
        model.compile(dnn.SGD(0.1))
        model.fit(X, Y, epochs=3, shuffle=False)
    assert same(inside, behind)
    assert np.array_equal(inside.predict(X), behind.predict(X))


def test_an_activation_that_nothing_takes_over_is_a_layer_of_its_own() -> None:
    model = model_of(
        dnn.Input(6), dnn.Activation("tanh"), dnn.Dense(6, "relu"), dnn.Activation("gelu"), dnn.Dense(2)
    )
    traced = model.forward(X)
    assert [layer.a.shape[1] for layer in traced] == [6, 6, 6, 2]
    # Rounding of x to float32, and of tanh.
    np.testing.assert_allclose(traced[0].a, np.tanh(X), rtol=1e-6, atol=1e-7)
    assert np.array_equal(traced[2].z, traced[1].a)
    assert [delta.shape[1] for delta in model.deltas(X, np.zeros((300, 2)))] == [6, 6, 6, 2]


def test_an_output_activation_of_its_own_decides_the_loss() -> None:
    assert model_of(dnn.Dense(3), dnn.Activation("softmax")).loss == dnn.CrossEntropy()
    assert (
        model_of(dnn.Dense(1), dnn.Dropout(0.1), dnn.Activation("sigmoid")).loss == dnn.BinaryCrossEntropy()
    )


def test_auto_initializer_sees_the_activation_behind_the_layer() -> None:
    inside = model_of(dnn.Input(6), dnn.Dense(8, "relu", weight_initializer="auto"))
    behind = model_of(dnn.Input(6), dnn.Dense(8, weight_initializer="auto"), dnn.Activation("relu"))
    assert same(inside, behind)


# ---- noise -------------------------------------------------------------------------------------------------


def test_dropout_keeps_or_drops_and_scales_what_it_keeps() -> None:
    x = np.ones((2000, 6))
    y = learning_outputs(identity_behind(dnn.Dropout(0.25)), x)
    assert set(np.unique(y.round(5))) == {0.0, np.float32(1 / 0.75).round(5)}
    # 12000 draws: the share errs by 0.004.
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("layer", [dnn.Dropout(0.5), dnn.AlphaDropout(0.3), dnn.GaussianNoise(2.0)], ids=str)
def test_in_use_noise_is_silent(layer: Any) -> None:
    model = identity_behind(layer)
    assert np.array_equal(model.predict(X), X.astype(np.float32))
    assert np.array_equal(model.forward(X)[-1].a, model.predict(X))
    model.compile(loss="mse")
    assert model.evaluate(X, X)["loss"] == pytest.approx(0, abs=1e-12)  # rounding of x to float32


def noisy(seed: int = 3, **arguments: Any) -> dnn.Sequential:
    layers = [
        dnn.GaussianNoise(0.1),
        dnn.Dense(16, "selu"),
        dnn.AlphaDropout(0.1),
        dnn.Residual([dnn.Dropout(0.5), dnn.Dense(16, "prelu")]),
        dnn.Dense(3, "softmax"),
    ]
    return dnn.Sequential(layers, seed=seed, **arguments)


def test_noise_depends_on_the_seed_and_neither_on_threads_nor_on_instructions() -> None:
    from dnn import _core

    def trained(seed: int = 3, n_threads: int = 1, isa: str | None = None) -> dnn.Sequential:
        model = noisy(seed, precision="strict", isa=isa)
        model.fit(X, Y, epochs=3, batch_size=200, n_threads=n_threads)
        return model

    one = trained()
    assert all(same(one, trained(n_threads=n)) for n in (2, 3))
    assert all(same(one, trained(isa=isa)) for isa in _core.available_isas())
    assert not same(one, trained(seed=4))


def test_every_batch_has_noise_of_its_own_and_looking_tells_that_of_the_next() -> None:
    model = noisy()
    model.fit(X, Y, epochs=1)
    first, again = model.loss_and_gradients(X, Y), model.loss_and_gradients(X, Y)
    assert first[0] == again[0]
    assert model.train_on_batch(X, Y)["loss"] == first[0]
    model.set_weights([w + 0 for w in model.get_weights()])
    weights = model.get_weights()
    model.compile(dnn.SGD(1e-12))
    losses = [model.train_on_batch(X, Y)["loss"] for _ in range(5)]
    assert len(set(losses)) == 5
    assert all(np.allclose(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


def test_training_with_noise_in_two_parts_equals_training_at_once(tmp_path: Path) -> None:
    whole, parts = noisy(), noisy()
    whole.fit(X, Y, epochs=6, optimizer=dnn.Adam(0.01))
    parts.fit(X, Y, epochs=2, optimizer=dnn.Adam(0.01))
    parts.save(tmp_path / "model.dnn")
    parts = dnn.load(tmp_path / "model.dnn")
    parts.fit(X, Y, epochs=6, initial_epoch=2)
    assert same(whole, parts)


def test_the_streams_of_noise_are_frozen() -> None:
    # Recorded from this implementation (whose generator is tested against published numbers): a change breaks
    # the promise of the same bits for the same seed.
    y = learning_outputs(identity_behind(dnn.Dropout(0.5), seed=7), np.ones((4, 6)))
    assert ["".join("01"[int(a > 0)] for a in row) for row in y] == ["010001", "110100", "010111", "100010"]


def test_gaussian_noise_has_its_mean_and_deviation() -> None:
    y = learning_outputs(identity_behind(dnn.GaussianNoise(0.5)), np.zeros((5000, 6)))
    # 30000 draws: the mean errs by 0.003, the deviation by 0.002; five of those.
    assert y.mean() == pytest.approx(0, abs=0.015)
    assert y.std() == pytest.approx(0.5, abs=0.01)
    assert np.abs(y).max() < 0.5 * 5.3


def test_alpha_dropout_keeps_mean_and_variance_through_a_deep_selu_network() -> None:
    x = np.random.default_rng(1).normal(size=(2000, 64))
    hidden = [
        layer
        for _ in range(8)
        for layer in (dnn.Dense(64, "selu", weight_initializer="lecun_normal"), dnn.AlphaDropout(0.1))
    ]
    y = learning_outputs(identity_behind(*hidden, width=64), x)
    # The fixed point is mean 0 and variance 1; eight layers of 64 wander from it by some 0.1.
    assert abs(y.mean()) < 0.2
    assert y.std() == pytest.approx(1, abs=0.2)


def test_learning_with_dropout_works() -> None:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    layers = [dnn.Dense(64, "relu"), dnn.Dropout(0.3), dnn.Dense(10, "softmax")]
    model = dnn.Sequential(layers, seed=1)
    model.fit(x[:1500] / 16, y[:1500], epochs=30, optimizer=dnn.Adam(0.003), metrics=["accuracy"])
    # Some 0.93 are reached with any seed; without learning it would be 0.1.
    assert model.evaluate(x[1500:] / 16, y[1500:])["accuracy"] > 0.9


# ---- normalisation -----------------------------------------------------------------------------------------


def normal(x: NDArray[Any], weights: Any = None, epsilon: float = 1e-3) -> NDArray[Any]:
    mean = np.average(x, axis=0, weights=weights)
    variance = np.average((x - mean) ** 2, axis=0, weights=weights)
    return (x - mean) / np.sqrt(variance + epsilon)


def test_batch_normalization_learns_by_the_batch_and_is_used_by_what_it_has_gathered() -> None:
    x = X * 3 + 5
    model = identity_behind(dnn.BatchNormalization(momentum=0.8), dtype="float64")
    np.testing.assert_allclose(learning_outputs(model, x), normal(x), rtol=1e-9, atol=1e-11)
    # In use: with running statistics that are 0 and 1 at first.
    np.testing.assert_allclose(model.predict(x), x / np.sqrt(1 + 1e-3), rtol=1e-12)
    model.compile(dnn.SGD(1e-300), loss="mse")
    for _ in range(3):
        model.train_on_batch(x, x)
    gamma, beta, mean, variance = model.get_weights()[:4]
    assert gamma.tolist() == [1.0] * 6
    assert np.abs(beta).max() < 1e-290
    # 1 - 0.8^3 of the way from 0 and 1 to those of the batch.
    np.testing.assert_allclose(mean, (1 - 0.8**3) * x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(variance, 0.8**3 + (1 - 0.8**3) * x.var(0), rtol=1e-12)
    np.testing.assert_allclose(model.predict(x), (x - mean) / np.sqrt(variance + 1e-3), rtol=1e-9)


def test_layer_normalization_normalises_each_row_alone() -> None:
    model = identity_behind(dnn.LayerNormalization(), dtype="float64")
    np.testing.assert_allclose(model.predict(X), normal(X.T).T, rtol=1e-10, atol=1e-12)
    one = model.predict(X[:1])
    assert np.array_equal(model.predict(X)[:1], one)


def test_looking_does_not_move_running_statistics() -> None:
    model = identity_behind(dnn.BatchNormalization(), dtype="float64")
    model.compile(loss="mse")
    before = model.get_weights()
    (
        model.loss_and_gradients(X, X),
        model.deltas(X, X),
        model.forward(X),
        model.evaluate(X, X),
        model.predict(X),
    )
    model.check_gradients(X[:5], X[:5]), model.input_gradients(X, X)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_frozen_batch_normalization_uses_and_keeps_what_it_has_gathered() -> None:
    model = model_of(dnn.Input(6), dnn.BatchNormalization(trainable=False), dnn.Dense(2), dtype="float64")
    weights = model.get_weights()
    weights[2], weights[3] = np.arange(6.0), np.arange(1.0, 7.0)
    model.set_weights(weights)
    model.fit(X, X[:, :2], epochs=3)
    for before, after in zip(weights[:4], model.get_weights()[:4], strict=True):
        assert np.array_equal(before, after)
    loss, _ = model.loss_and_gradients(X, X[:, :2])
    assert loss == pytest.approx(model.evaluate(X, X[:, :2])["loss"], rel=1e-12)


def test_a_weight_of_2_is_the_row_twice_with_batch_normalization_too() -> None:
    layers = [dnn.Dense(5), dnn.BatchNormalization(momentum=0.5), dnn.Activation("tanh"), dnn.Dense(2)]
    weighted, repeated = (model_of(dnn.Input(6), *layers, dtype="float64") for _ in range(2))
    x, y = X[:7], RNG.normal(size=(7, 2))
    index = [0, 0, 1, 3, 4, 4, 4, 5, 6]
    for model in (weighted, repeated):
        model.compile(dnn.SGD(0.1))
    for _ in range(5):
        weighted.train_on_batch(x, y, sample_weight=[2, 1, 0, 1, 3, 1, 1])
        repeated.train_on_batch(x[index], y[index])
    for ours, other in zip(weighted.get_weights(), repeated.get_weights(), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-11, atol=1e-13)  # sums in another order


def test_statistics_are_those_of_the_whole_batch_however_large() -> None:
    x = np.random.default_rng(2).normal(3, 2, (1500, 4))
    model = identity_behind(dnn.BatchNormalization(momentum=0.0), width=4, dtype="float64")
    np.testing.assert_allclose(learning_outputs(model, x), normal(x), rtol=1e-8, atol=1e-10)
    model.fit(x, x, batch_size="full", epochs=1)
    # With a momentum of 0 the last batch is all that is remembered.
    np.testing.assert_allclose(model.get_weights()[2], x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(model.get_weights()[3], x.var(0), rtol=1e-12)


def test_accumulated_batches_are_normalised_and_remembered_one_by_one() -> None:
    """As in PyTorch, where every forward moves the running statistics and gradients add up."""
    layers = [dnn.Dense(5), dnn.BatchNormalization(momentum=0.7), dnn.Activation("tanh"), dnn.Dense(2)]
    model = model_of(dnn.Input(6), *layers, dtype="float64")
    x, y, weight = X[:40], RNG.normal(size=(40, 2)), RNG.uniform(0.2, 3.0, 40)
    parts = [slice(0, 12), slice(12, 24), slice(24, 36), slice(36, 40)]
    before = model.get_weights()
    gradients = [model.loss_and_gradients(x[rows], y[rows], sample_weight=weight[rows])[1] for rows in parts]
    history = model.fit(
        x, y, 12, 1, accumulate=4, shuffle=False, sample_weight=weight, optimizer=dnn.SGD(0.1), loss="mse"
    )
    shares = np.array([weight[rows].sum() for rows in parts]) / weight.sum()
    sums = [
        sum(share * part for share, part in zip(shares, arrays, strict=True))
        for arrays in zip(*gradients, strict=True)
    ]
    expected = [array - 0.1 * gradient for array, gradient in zip(before, sums, strict=True)]
    for rows in parts:
        z = x[rows] @ before[0] + before[1]
        mean = np.average(z, axis=0, weights=weight[rows])
        variance = np.average((z - mean) ** 2, axis=0, weights=weight[rows])
        expected[4] = 0.7 * expected[4] + 0.3 * mean
        expected[5] = 0.7 * expected[5] + 0.3 * variance
    for ours, other in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-11, atol=1e-13)  # sums in another order
    norm = np.sqrt(sum(float((gradient**2).sum()) for gradient in sums))
    assert history.history["grad_norm"][0] == pytest.approx(norm, rel=1e-11)


def test_accumulated_rows_that_weigh_nothing_or_are_alone_are_not_remembered() -> None:
    x, y, weight = X[:9], np.zeros((9, 2)), np.array([1.0] * 4 + [0.0] * 4 + [1.0])
    layers = [dnn.BatchNormalization(momentum=0.5), dnn.Dense(2)]
    model = model_of(dnn.Input(6), *layers, dtype="float64")
    model.fit(x, y, 4, 1, accumulate=3, shuffle=False, sample_weight=weight, optimizer=dnn.SGD(0.1))
    np.testing.assert_allclose(model.get_weights()[2], x[:4].mean(0) / 2, rtol=1e-12)
    np.testing.assert_allclose(model.get_weights()[3], 0.5 + x[:4].var(0) / 2, rtol=1e-12)


def test_a_row_alone_comes_out_as_beta_and_is_not_remembered() -> None:
    model = model_of(dnn.Input(6), dnn.BatchNormalization(), dnn.Dense(2), dtype="float64")
    weights = model.get_weights()
    weights[1] = np.arange(6.0)
    model.set_weights(weights)
    model.compile(dnn.SGD(1e-300), loss="sse")
    out = model.deltas(X[:1], np.zeros((1, 2)))[-1] / 2
    np.testing.assert_allclose(out[0], weights[1] @ weights[4] + weights[5], rtol=1e-12)
    model.train_on_batch(X[:1], np.zeros((1, 2)))
    assert np.array_equal(model.get_weights()[3], np.ones(6))
    # 301 rows in batches of 100 leave one alone.
    model.fit(np.vstack([X, X[:1]]), np.zeros((301, 2)), batch_size=100, epochs=2)


def test_normalised_networks_depend_neither_on_threads_nor_on_instructions_and_resume(tmp_path: Path) -> None:
    from dnn import _core

    def model(**arguments: Any) -> dnn.Sequential:
        layers = [
            dnn.Dense(40, use_bias=False),
            dnn.BatchNormalization(),
            dnn.Activation("relu"),
            dnn.Residual([dnn.LayerNormalization(), dnn.Dense(40, "silu"), dnn.Dropout(0.2)]),
            dnn.Dense(3, "softmax"),
        ]
        return dnn.Sequential(layers, seed=2, precision="strict", **arguments)

    def trained(n_threads: int = 1, **arguments: Any) -> dnn.Sequential:
        made = model(**arguments)
        made.fit(X, Y, epochs=4, batch_size=120, n_threads=n_threads, optimizer=dnn.Adam(0.01))
        return made

    one = trained()
    assert all(same(one, trained(n)) for n in (2, 3))
    assert all(same(one, trained(isa=isa)) for isa in _core.available_isas())
    parts = model()
    parts.fit(X, Y, epochs=2, batch_size=120, optimizer=dnn.Adam(0.01))
    parts.save(tmp_path / "model.dnn")
    parts = dnn.load(tmp_path / "model.dnn")
    assert np.array_equal(parts.predict(X), dnn.load(tmp_path / "model.dnn").predict(X))
    parts.fit(X, Y, epochs=4, initial_epoch=2, batch_size=120)
    assert same(one, parts)


def test_running_statistics_come_back_with_the_best_epoch() -> None:
    seen: dict[int, list[NDArray[Any]]] = {}
    layers = [
        dnn.Dense(16),
        dnn.BatchNormalization(momentum=0.5),
        dnn.Activation("relu"),
        dnn.Dense(3, "softmax"),
    ]
    model = model_of(*layers)

    def keep(epoch: int, logs: dict[str, float]) -> None:
        seen[epoch] = model.get_weights()

    labels = np.random.default_rng(0).integers(0, 3, 300)  # nothing to learn, so validation gets worse
    options: dict[str, Any] = {"validation_split": 0.3, "optimizer": dnn.Adam(0.05)}
    history = model.fit(X, labels, epochs=15, callbacks=[keep], **options)
    best = history.best_epoch
    assert best is not None
    assert best < 14
    assert all(np.array_equal(a, b) for a, b in zip(seen[best], model.get_weights(), strict=True))
    assert not np.array_equal(seen[best][2], seen[14][2])


def test_flat_parameters_leave_running_statistics_alone() -> None:
    model = model_of(dnn.Input(6), dnn.Dense(4), dnn.BatchNormalization(), dnn.Dense(3, "softmax"))
    model.fit(X, Y, epochs=1)
    before = model.get_weights()
    flat = model.flat_parameters
    assert len(flat) == model.n_parameters == 6 * 4 + 4 + 8 + 15
    model.flat_parameters = 2 * flat
    for at, (old, new) in enumerate(zip(before, model.get_weights(), strict=True)):
        assert np.array_equal(new, old if at in (4, 5) else 2 * old)


def test_optimizers_and_penalties_leave_running_statistics_alone() -> None:
    layers = [dnn.Dense(4, l2=0.1), dnn.BatchNormalization(momentum=0.9), dnn.Dense(3, "softmax", l2=0.1)]
    by_step = model_of(dnn.Input(6), *layers, dtype="float64")
    by_step.fit(X, Y, batch_size="full", epochs=1, optimizer=dnn.Adam(0.1))
    w, b = model_of(dnn.Input(6), *layers, dtype="float64").get_weights()[:2]
    z = X @ w + b
    np.testing.assert_allclose(by_step.get_weights()[4], 0.1 * z.mean(0), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(by_step.get_weights()[5], 0.9 + 0.1 * z.var(0), rtol=1e-10)


# ---- prelu and residual ------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [True, False])
def test_prelu_learns_a_slope_for_each_unit(inside: bool) -> None:
    x = np.random.default_rng(1).normal(size=(500, 2))
    y = np.where(x > 0, x, x * [0.7, -0.4])
    layers = [dnn.Dense(2, "prelu")] if inside else [dnn.Dense(2), dnn.PReLU()]
    model = dnn.Sequential([dnn.Input(2), *layers], seed=1, dtype="float64")
    assert [w.tolist() for w in model.get_weights()[1:]] == [[0.0, 0.0], [0.25, 0.25]]
    model.set_weights([np.eye(2), np.zeros(2), np.full(2, 0.25)])
    model.fit(x, y, epochs=200, optimizer=dnn.SGD(0.3))
    # The data have no noise, so they are met exactly, to what the steps leave over.
    np.testing.assert_allclose(model.get_weights()[2], [0.7, -0.4], atol=1e-6)


def test_frozen_slopes_stay_where_they_begin() -> None:
    for prelu in ([dnn.Dense(4, dnn.PReLU(0.1, trainable=False))], [dnn.Dense(4, "prelu", trainable=False)]):
        model = model_of(dnn.Input(6), *prelu, dnn.Dense(3, "softmax"))
        before = model.get_weights()[2]
        model.fit(X, Y, epochs=2)
        assert np.array_equal(model.get_weights()[2], before)


def test_an_activation_with_parameters_may_stand_among_the_layers() -> None:
    plain = model_of(dnn.Dense(8), dnn.LeakyReLU(0.2), dnn.Dense(3, "softmax"))
    said = model_of(dnn.Dense(8), dnn.Activation(dnn.LeakyReLU(0.2)), dnn.Dense(3, "softmax"))
    assert plain.layers == said.layers


def test_residual_adds_its_input() -> None:
    inner = dnn.Dense(6, "tanh")
    model = model_of(dnn.Input(6), dnn.Residual([inner]), dtype="float64")
    w, b = model.get_weights()
    np.testing.assert_allclose(model.predict(X), X + np.tanh(X @ w + b), rtol=1e-12)
    inside, whole = model.forward(X)
    np.testing.assert_allclose(whole.a, X + inside.a, rtol=1e-15)


def test_residuals_nest_and_chain_as_their_formulas_do() -> None:
    block = dnn.Residual([dnn.Residual([dnn.Dense(6, "tanh")]), dnn.Dense(6)])
    model = model_of(dnn.Input(6), block, block, dnn.Dense(2), dtype="float64")
    arrays = iter(model.get_weights())

    def dense(x: NDArray[Any]) -> NDArray[Any]:
        return x @ next(arrays) + next(arrays)

    a = X
    for _ in range(2):
        inner = a + np.tanh(dense(a))
        a = a + dense(inner)
    np.testing.assert_allclose(model.predict(X), dense(a), rtol=1e-11)


def test_an_activation_at_the_start_of_a_residual_does_not_reach_past_it() -> None:
    # x goes around it as it was.
    model = model_of(
        dnn.Input(6), dnn.Dense(6), dnn.Residual([dnn.Activation("relu"), dnn.Dense(6)]), dtype="float64"
    )
    w1, b1, w2, b2 = model.get_weights()
    z = X @ w1 + b1
    np.testing.assert_allclose(model.predict(X), z + np.maximum(z, 0) @ w2 + b2, rtol=1e-11, atol=1e-14)


def test_layers_have_names_by_their_place() -> None:
    model = model_of(dnn.Input(6), dnn.Residual([dnn.Dense(6, "prelu")]), dnn.Dense(2))
    assert str(model.summary()).splitlines()[2:-2] == [
        "Input       (rows, 6)                          0",
        "Dense 1.1   (rows, 6)     prelu               48  yes",
        "Residual 1  (rows, 6)                          0",
        "Dense 2     (rows, 2)     identity            14  yes",
    ]
    weights = model.get_weights()
    weights[2][0] = np.nan
    with pytest.raises(ValueError, match=r"weights\[2\] \(slope of layer 1\.1\)"):
        model.set_weights(weights)


def test_everything_makes_a_round_trip_through_files_and_pickles(tmp_path: Path) -> None:
    import copy
    import pickle

    model = noisy()
    model.fit(X, Y, epochs=1, optimizer=dnn.Adam(0.01))
    model.save(tmp_path / "model.dnn")
    for again in (dnn.load(tmp_path / "model.dnn"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert str(again.summary()) == str(model.summary())
        assert np.array_equal(again.predict(X), model.predict(X))
        assert again.train_on_batch(X, Y) == copy.deepcopy(model).train_on_batch(X, Y)
        assert again.n_parameters == model.n_parameters


def test_very_deep_networks_learn_with_residuals_and_not_without() -> None:
    x = np.random.default_rng(0).normal(size=(400, 8))
    y = np.tanh(x[:, :1] * x[:, 1:2])

    def loss(block: Any) -> float:
        model = model_of(dnn.Dense(16, "tanh"), *([block] * 30), dnn.Dense(1))
        model.fit(x, y, epochs=40, optimizer=dnn.Adam(0.002))
        return model.evaluate(x, y)["loss"]

    plain = dnn.Dense(16, "sigmoid")
    # A sigmoid gives back at most a quarter of what comes: 30 layers leave nothing, and the mean is learned.
    assert loss(plain) > 0.9 * y.var()
    assert loss(dnn.Residual([plain])) < 0.5 * y.var()
