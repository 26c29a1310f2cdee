"""What the precisions do: which bits they share, how far apart they are, who tells."""

from __future__ import annotations

import functools

import dnn
import numpy as np
import pytest
from dnn import _core

SETS = _core.available_isas()
# scalar and scalar-amx are the twins of the instructions for bfloat16, which AVX2 does not have.
TILES = [isa for isa in SETS if isa == "amx"] + ["scalar-amx"]
PAIRS = [isa for isa in SETS if isa == "scalar" or (isa == "avx512" and "avx512bf16" in _core.cpu_features())]
ROUNDS = PAIRS + TILES


def data(rows=96):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((rows, 40)).astype(np.float32)
    return x, np.argmax(x[:, :3], axis=1)


def network(precision, **options):
    layers = [dnn.Input(40), dnn.Dense(80, "relu"), dnn.Dense(70, "tanh"), dnn.Dense(3, "softmax")]
    return dnn.Sequential(layers, seed=1, precision=precision, **options)


def trained(precision, *, optimizer="adam", n_threads=None, **options):
    model = network(precision, **options)
    x, y = data()
    # Two shares of 32 rows: tiles are not worth fewer.
    model.fit(x, y, batch_size=64, epochs=3, optimizer=optimizer, n_threads=n_threads, verbose=0)
    return model


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("isa", [*SETS, "scalar-amx"])
def test_medium_rounds_where_the_set_can_and_history_tells(isa):
    exact, medium = trained("highest", isa=isa), trained("medium", isa=isa)
    assert exact.history.arithmetic == f"{isa} float32"
    assert medium.history.arithmetic == f"{isa} {'bfloat16' if isa in ROUNDS else 'float32'}"
    assert same(exact, medium) == (isa not in ROUNDS)


@pytest.mark.parametrize("isa", ROUNDS)
@pytest.mark.parametrize(("widths", "batch_size"), [((4,), 32), ((80, 70), 8), ((12, 12), 96)])
def test_history_tells_float32_where_medium_has_nothing_to_round(isa, widths, batch_size):
    # Fewer than 16 rows, inputs or outputs in every product.
    x, y = data()
    models = [
        dnn.Sequential(
            [*(dnn.Dense(width, "relu") for width in widths), dnn.Dense(3, "softmax")],
            seed=1,
            precision=precision,
            isa=isa,
        )
        for precision in ("highest", "medium")
    ]
    for model in models:
        model.fit(x[:, :10], y, batch_size=batch_size, epochs=2, verbose=0)
    assert same(*models)
    assert models[1].history.arithmetic == f"{isa} float32"


@pytest.mark.parametrize(
    ("precision", "twin", "sets"),
    [("medium", "scalar", PAIRS), ("medium", "scalar-amx", TILES), ("high", "scalar-amx", TILES)],
)
def test_a_precision_has_the_bits_of_its_twin_for_any_number_of_threads(precision, twin, sets):
    wanted = trained(precision, isa=twin)
    for isa in sets:
        for n_threads in (1, 2, 3):
            assert same(wanted, trained(precision, isa=isa, n_threads=n_threads)), (isa, n_threads)


def test_strict_is_highest_where_layers_are_small():
    model = trained("strict")
    assert same(trained("highest"), model)
    assert model.history.arithmetic == f"{model.isa} float32"


@functools.cache
def large(precision, *, isa=None, n_threads=None, dtype="float32"):
    """A step of a network that is worth three numbers of bfloat16 for a factor; the twin takes seconds."""
    layers = [dnn.Input(2000), dnn.Dense(2000, "relu"), dnn.Dense(3, "softmax")]
    model = dnn.Sequential(layers, seed=1, precision=precision, isa=isa, dtype=dtype)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((96, 2000)).astype(np.float32)
    model.fit(x, np.argmax(x[:, :3], axis=1), batch_size=96, optimizer="sgd", n_threads=n_threads, verbose=0)
    return model


@pytest.mark.parametrize("isa", [*SETS, "scalar-amx"])
def test_highest_takes_three_numbers_for_a_factor_where_the_set_has_tiles(isa):
    strict, highest = large("strict", isa=isa), large("highest", isa=isa)
    assert strict.history.arithmetic == f"{isa} float32"
    assert highest.history.arithmetic == f"{isa} {'3 x bfloat16' if isa in TILES else 'float32'}"
    assert same(strict, highest) == (isa not in TILES)


def test_highest_has_the_bits_of_its_twin_for_any_number_of_threads():
    wanted = large("highest", isa="scalar-amx")
    for isa in TILES:
        # One step of the twin takes ten seconds.
        for n_threads in (1,) if isa == "scalar-amx" else (1, 2, 3):
            assert same(wanted, large("highest", isa=isa, n_threads=n_threads)), (isa, n_threads)


@pytest.mark.parametrize(
    ("isa", "precision", "widths"),
    [(isa, "medium", widths) for isa in ROUNDS for widths in ((128, 1), (128, 4), (12, 128))]
    + [(isa, "high", widths) for isa in TILES for widths in ((128, 1), (20, 128))],
)
def test_history_counts_only_products_that_there_are(isa, precision, widths):
    # No gradient of the input of the first layer; few outputs are exact, and so are few inputs.
    x, y = np.random.default_rng(0).standard_normal((256, widths[0])).astype(np.float32), np.zeros(256)
    models = [
        dnn.Sequential([dnn.Dense(widths[1])], seed=1, isa=isa, precision=p) for p in ("highest", precision)
    ]
    for model in models:
        model.fit(x, y[:, None].repeat(widths[1], 1), batch_size=256, epochs=2, loss="mse", verbose=0)
    assert same(*models)
    assert models[1].history.arithmetic == f"{isa} float32"


@pytest.mark.parametrize("isa", [*SETS, "scalar-amx"])
def test_high_splits_factors_where_the_set_has_tiles_and_is_highest_elsewhere(isa):
    exact, high = trained("highest", isa=isa), trained("high", isa=isa)
    assert high.history.arithmetic == f"{isa} {'2 x bfloat16' if isa in TILES else 'float32'}"
    assert same(exact, high) == (isa not in TILES)
    for ours, theirs in zip(high.get_weights(), exact.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("precision", "isa"), [("medium", "scalar"), ("high", "scalar-amx")])
def test_float64_and_lbfgs_are_left_as_they_are(precision, isa):
    for options in ({"dtype": "float64"}, {"optimizer": dnn.LBFGS()}):
        exact, other = (trained(p, isa=isa, **options) for p in ("highest", precision))
        assert same(exact, other)
        assert other.history.arithmetic == f"{isa} {other.dtype}"


def test_medium_predicts_and_evaluates_exactly():
    x, y = data()
    model = trained("medium", isa=ROUNDS[0])
    exact = network("highest", isa=ROUNDS[0])
    exact.compile("adam", "cross_entropy")
    exact.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.predict(x), exact.predict(x))
    assert model.evaluate(x, y) == exact.evaluate(x, y)
    loss, gradients = model.loss_and_gradients(x, y)
    exact_loss, exact_gradients = exact.loss_and_gradients(x, y)
    assert loss == exact_loss
    for ours, theirs in zip(gradients, exact_gradients, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("precision", "isa", "least", "most"),
    [("medium", PAIRS[0], 1e-5, 2e-2), ("medium", TILES[0], 1e-5, 2e-2), ("high", TILES[0], 5e-7, 2e-5)],
)
def test_the_gradient_of_a_step_is_near_the_exact_one(precision, isa, least, most):
    x, y = data()
    # A step so large that the weights from before it are lost beside it: what remains is the gradient.
    model, rate = network(precision, isa=isa), 1e6
    model.compile(dnn.SGD(rate), "cross_entropy")
    before = model.get_weights()
    _, exact = model.loss_and_gradients(x, y)
    model.train_on_batch(x, y)
    for old, new, gradient in zip(before, model.get_weights(), exact, strict=True):
        step = (old.astype(np.float64) - new) / rate
        error = np.linalg.norm(step - gradient) / np.linalg.norm(gradient)
        assert least < error < most


def test_the_gradient_of_highest_is_as_near_to_float64_as_that_of_strict():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((96, 2000)).astype(np.float32), np.arange(96) % 3
    wide = [dnn.Input(2000), dnn.Dense(2000, "tanh"), dnn.Dense(3, "softmax")]

    def compiled(precision, dtype="float32"):
        model = dnn.Sequential(wide, seed=1, precision=precision, isa=TILES[0], dtype=dtype)
        model.compile(dnn.SGD(1e9), "cross_entropy")
        return model

    before = compiled("strict").get_weights()
    exact = compiled("strict", "float64")
    exact.set_weights(before)
    _, right = exact.loss_and_gradients(x, y)
    errors = {}
    for precision in ("strict", "highest", "high"):
        model = compiled(precision)
        model.train_on_batch(x, y)
        # A step so large that the weights from before it are lost beside it.
        step = (before[0].astype(np.float64) - model.get_weights()[0]) / 1e9
        errors[precision] = np.linalg.norm(step - right[0]) / np.linalg.norm(right[0])
    assert errors["highest"] != errors["strict"]
    assert errors["highest"] < 1.1 * errors["strict"] < errors["high"] / 4


def test_medium_survives_a_file_and_a_pickle(tmp_path):
    import pickle

    model = trained("medium")
    model.save(tmp_path / "model.dnn")
    for copy in (dnn.load(tmp_path / "model.dnn"), pickle.loads(pickle.dumps(model))):
        assert copy.precision == "medium"


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_take_every_precision():
    pytest.importorskip("sklearn")
    x, y = data()
    for precision in ("highest", "high", "medium", "strict"):
        model = dnn.MLPClassifier((40, 30), precision=precision, max_iter=60, random_state=1)
        assert model.fit(x, y).score(x, y) > 0.8


@pytest.mark.parametrize("given", ["low", "MEDIUM", None, 1, ["medium"]])
def test_another_precision_is_refused(given):
    with pytest.raises((ValueError, TypeError), match="precision"):
        dnn.Sequential([dnn.Dense(1)], precision=given)


def test_info_tells_what_the_precisions_are():
    from dnn.__main__ import info

    for name, count in zip(("medium", "high", "highest"), _core.bf16_factors(), strict=True):
        line = next(line for line in info().splitlines() if line.startswith(f"{name} precision"))
        assert ("as highest" in line or line.endswith(" float32")) == (count == 0)
        assert ("factors in" in line) == (count > 0)
