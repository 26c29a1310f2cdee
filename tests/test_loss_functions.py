"""Losses of one's own: functions that return a loss and its gradient by the outputs."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import dnn
import numpy as np
import pytest
from models import model_of, same
from numpy.typing import NDArray

Array = NDArray[Any]
ROWS = 37


def rows_of_mse(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """The mean squared error: a loss for each row, and its gradient."""
    d = y_pred - y_true
    return (d**2).mean(1), 2 * d / d.shape[1]


def mean_of_mse(y_true: Array, y_pred: Array) -> tuple[float, Array]:
    """The same as one number, with the gradient of the mean."""
    d = y_pred - y_true
    return float((d**2).mean()), 2 * d / d.size


def cross_entropy(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """Of labels, from probabilities, with its 1/y."""
    at = np.arange(len(y_true)), y_true
    gradient = np.zeros_like(y_pred)
    gradient[at] = -1.0 / y_pred[at]
    return -np.log(y_pred[at]), gradient


def cubes(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """A loss that is not in the package."""
    d = np.abs(y_pred - y_true)
    return (d**3).sum(1), 3 * d**2 * np.sign(y_pred - y_true)


def decorrelated(y_true: Array, y_pred: Array) -> tuple[float, Array]:
    """A loss in which rows depend on each other: the variance of the errors."""
    d = y_pred - y_true
    d = d - d.mean(0)
    return float((d**2).mean()), 2 * d / d.size


def data(units: int = 3, rows: int = ROWS, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 4)), rng.normal(size=(rows, units))


OUTPUTS = ["identity", "sigmoid", "tanh", "relu", "gelu", "softplus", "exponential", "softmax", "prelu"]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("function", [rows_of_mse, mean_of_mse])
def test_an_mse_of_ones_own_has_loss_and_gradients_of_the_built_in(
    function: Any, output: str, weighted: bool
) -> None:
    if weighted and function is mean_of_mse:
        return  # which is refused: below
    x, y = data()
    if output == "softmax":
        y = np.abs(y) / np.abs(y).sum(1, keepdims=True)
    weight = np.random.default_rng(1).uniform(0, 2, ROWS) if weighted else None
    model = model_of(dnn.Input(4), dnn.Dense(6, "tanh"), dnn.Dense(3, output), dtype="float64")
    model.compile(loss="mse")
    loss, gradients = model.loss_and_gradients(x, y, sample_weight=weight)
    model.compile(loss=function)
    own_loss, own = model.loss_and_gradients(x, y, sample_weight=weight)
    # The same sums in another order.
    assert own_loss == pytest.approx(loss, rel=1e-14)
    for one, other in zip(own, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-14 * max(1.0, np.abs(other).max()))
    assert model.evaluate(x, y, sample_weight=weight)["loss"] == pytest.approx(loss, rel=1e-14)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("function", [cubes, decorrelated])
def test_gradients_are_derivatives_after_every_output(function: Any, output: str, weighted: bool) -> None:
    if weighted and function is decorrelated:
        return
    x, y = data()
    weight = np.random.default_rng(2).uniform(0, 2, ROWS) if weighted else None
    model = model_of(dnn.Input(4), dnn.Dense(6, "tanh"), dnn.Dense(3, output), dtype="float64")
    model.compile(loss=function)
    # Differences of a loss of the order of 1: 1e-16 / 1e-6 of rounding, and third derivatives times 1e-12.
    assert model.check_gradients(x, y, sample_weight=weight).largest < 1e-6
    assert model.input_gradients(x, y).shape == x.shape
    assert [delta.shape for delta in model.deltas(x, y)] == [(ROWS, 6), (ROWS, 3)]


def test_labels_come_as_labels_and_softmax_has_its_slope() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(ROWS, 4)), rng.integers(0, 3, ROWS)
    model = model_of(dnn.Input(4), dnn.Dense(6, "tanh"), dnn.Dense(3, "softmax"), dtype="float64")
    model.compile(loss="cross_entropy")
    loss, gradients = model.loss_and_gradients(x, y)
    model.compile(loss=cross_entropy, metrics=["accuracy", "auc"])
    own_loss, own = model.loss_and_gradients(x, y)
    assert own_loss == pytest.approx(loss, rel=1e-13)
    for one, other in zip(own, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)
    history = model.fit(x, y, epochs=30, optimizer=dnn.Adam(0.05), validation_split=0.2, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert history["auc"][-1] > history["auc"][0]


@pytest.mark.parametrize("optimizer", [dnn.SGD(0.05, momentum=0.9), "adam", "lbfgs"])
@pytest.mark.parametrize(
    ("dtype", "widths", "tolerance"),
    # float64 rounds by 1e-16 a sum, and a training of 60 steps makes that a few hundred times larger; in
    # float32 that is 1e-7. The wide network goes another way than the narrow one.
    [("float64", [5], 1e-10), ("float64", [150, 150], 1e-10), ("float32", [5], 1e-3)],
)
def test_training_with_an_mse_of_ones_own_is_that_with_the_built_in(
    dtype: str, widths: list[int], tolerance: float, optimizer: Any
) -> None:
    x, y = data(rows=120)
    models = []
    for loss in ("mse", rows_of_mse, mean_of_mse):
        model = model_of(*(dnn.Dense(n, "tanh") for n in widths), dnn.Dense(3), dtype=dtype)
        history = model.fit(
            x, y, epochs=10, batch_size=20, loss=loss, optimizer=optimizer, validation_split=0.2, verbose=0
        )
        models.append((model, history))
    (built_in, expected), *others = models
    for model, history in others:
        np.testing.assert_allclose(model.flat_parameters, built_in.flat_parameters, rtol=0, atol=tolerance)
        for name in ("loss", "val_loss"):
            assert history.history[name] == pytest.approx(expected.history[name], rel=tolerance)


@pytest.mark.parametrize("n_threads", [2, 3])
def test_any_number_of_threads_has_the_same_bits(n_threads: int) -> None:
    x, y = data(rows=1100)
    models = [model_of(dnn.Dense(200, "relu"), dnn.Dense(200, "relu"), dnn.Dense(3)) for _ in range(2)]
    for model, threads in zip(models, (1, n_threads), strict=True):
        model.fit(x, y, epochs=2, batch_size=700, loss=cubes, n_threads=threads, verbose=0)
    assert same(*models)


def test_a_function_is_given_whole_batches_while_training_and_blocks_to_evaluate() -> None:
    lengths: list[int] = []

    def noting(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        assert y_true.dtype == y_pred.dtype == np.float64
        lengths.append(len(y_pred))
        return rows_of_mse(y_true, y_pred)

    x, y = data(rows=1500)
    model = model_of(dnn.Dense(3))
    model.fit(x, y, batch_size=1100, loss=noting, verbose=0)
    assert lengths == [1100, 400]
    lengths.clear()
    model.evaluate(x, y)
    assert lengths == [512, 512, 476]
    lengths.clear()
    model.train_on_batch(x, y)
    assert lengths == [1500]


def test_penalties_accumulation_and_class_weights_go_with_it() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    models = []
    for loss in ("cross_entropy", cross_entropy):
        model = model_of(dnn.Dense(5, "tanh", l2=0.01), dnn.Dense(3, "softmax", l1=0.001), dtype="float64")
        model.fit(x, y, epochs=4, batch_size=8, accumulate=2, loss=loss, class_weight="balanced", verbose=0)
        models.append(model)
    np.testing.assert_allclose(models[0].flat_parameters, models[1].flat_parameters, rtol=0, atol=1e-10)


def test_a_second_fit_keeps_the_state_of_the_optimizer_for_the_same_function_only() -> None:
    x, y = data(rows=40)
    once, twice, other = (model_of(dnn.Dense(3), dtype="float64") for _ in range(3))
    options: dict[str, Any] = {"optimizer": dnn.SGD(0.01, momentum=0.9), "batch_size": "full", "verbose": 0}
    once.fit(x, y, epochs=4, loss=cubes, **options)
    for model in (twice, other):
        model.fit(x, y, epochs=2, loss=cubes, **options)
    twice.fit(x, y, epochs=2, loss=cubes, **options)
    assert same(once, twice)
    other.fit(x, y, epochs=2, loss=lambda y_true, y_pred: cubes(y_true, y_pred), **options)
    assert not same(once, other)


# ---- what goes wrong ---------------------------------------------------------------------------------------


class Broken(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
@pytest.mark.parametrize("when", ["training", "validation"])
def test_an_exception_travels_to_the_caller_with_the_model_at_the_last_step(
    when: str, optimizer: str
) -> None:
    x, y = data(rows=40)
    calls = 0

    def failing(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        nonlocal calls
        if len(y_pred) == (8 if when == "validation" else 32):
            calls += 1
            if calls == 2:
                raise Broken("as it should")
        return rows_of_mse(y_true, y_pred)

    options: dict[str, Any] = {"batch_size": "full", "optimizer": optimizer, "verbose": 0}
    options["validation_data"] = (x[32:], y[32:])
    model, expected = (model_of(dnn.Dense(3), dtype="float64") for _ in range(2))
    epochs = 2 if when == "validation" else 1
    if optimizer == "lbfgs" and when == "training":
        epochs = 0  # the first step takes several evaluations
    with pytest.raises(Broken, match="as it should"):
        model.fit(x[:32], y[:32], epochs=5, loss=failing, **options)
    if epochs:
        options["early_stopping"] = False
        expected.fit(x[:32], y[:32], epochs=epochs, loss=rows_of_mse, **options)
    else:
        expected.set_weights(model_of(dnn.Input(4), dnn.Dense(3), dtype="float64").get_weights())
    assert same(model, expected)
    # And it can go on.
    assert model.fit(x, y, loss=rows_of_mse, verbose=0).stopped_because == "epochs"


def test_an_exception_leaves_the_model_as_it_was_in_a_single_step_and_a_look() -> None:
    x, y = data()

    def failing(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        raise Broken("as it should")

    model = model_of(dnn.Input(4), dnn.Dense(3), dtype="float64")
    model.compile(loss=failing)
    before = model.get_weights()
    for name in ("train_on_batch", "evaluate", "loss_and_gradients", "deltas", "check_gradients"):
        with pytest.raises(Broken, match="as it should"):
            getattr(model, name)(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_interrupting_a_function_interrupts_the_fit() -> None:
    x, y = data()

    def interrupted(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model_of(dnn.Dense(3)).fit(x, y, loss=interrupted, verbose=0)


def nothing(y_true: Array, y_pred: Array) -> Any:
    return None


def loss_alone(y_true: Array, y_pred: Array) -> Any:
    return 1.0


def wrong_gradient(y_true: Array, y_pred: Array) -> Any:
    return np.ones(len(y_pred)), y_pred[:, :1]


def wrong_loss(y_true: Array, y_pred: Array) -> Any:
    return y_pred, y_pred


def nan_loss(y_true: Array, y_pred: Array) -> Any:
    return np.where(np.arange(len(y_pred)) == 3, np.nan, 1.0), y_pred


def inf_gradient(y_true: Array, y_pred: Array) -> Any:
    return np.ones(len(y_pred)), np.full_like(y_pred, np.inf)


def words(y_true: Array, y_pred: Array) -> Any:
    return "small", y_pred


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (nothing, TypeError, "loss 'nothing' must return .loss, gradient., got None"),
        (loss_alone, TypeError, "must return .loss, gradient., got 1.0"),
        (wrong_gradient, ValueError, r"of shape \(37, 1\), but it needs the shape of y_pred, \(37, 3\)"),
        (wrong_loss, ValueError, r"loss of shape \(37, 3\); it must be one for each row, of shape \(37,\)"),
        (nan_loss, ValueError, r"'nan_loss' returned nan as the loss at \[3\], 1 of 37 not finite"),
        (inf_gradient, ValueError, r"returned inf as the gradient at \[0, 0\]"),
        (words, TypeError, "what loss 'words' returned as the loss must be an array of numbers"),
        (lambda y: (y, y), TypeError, "positional argument"),
    ],
)
def test_what_a_function_returns_wrong_is_told(function: Any, error: type[Exception], message: str) -> None:
    x, y = data()
    model = model_of(dnn.Input(4), dnn.Dense(3))
    before = model.flat_parameters
    with pytest.raises(error, match=message):
        model.fit(x, y, batch_size="full", loss=function, verbose=0)
    assert np.array_equal(model.flat_parameters, before)


def test_one_number_for_rows_of_different_weights_is_refused() -> None:
    x, y = data()
    model = model_of(dnn.Input(4), dnn.Dense(3))
    model.compile(loss=mean_of_mse)
    with pytest.raises(ValueError, match=r"return the loss of each row, of shape \(37,\)"):
        model.evaluate(x, y, sample_weight=np.arange(37.0))
    alike = model.evaluate(x, y, sample_weight=np.full(37, 3.0))
    assert alike == pytest.approx(model.evaluate(x, y))


def test_outputs_that_are_not_finite_are_a_divergence_and_not_shown_to_it() -> None:
    x, y = data()

    def growing(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        assert np.isfinite(y_pred).all()
        return np.ones(len(y_pred)), np.full_like(y_pred, -1e3)

    model = model_of(dnn.Dense(3, "exponential"))
    with pytest.warns(dnn.DivergenceWarning, match="outputs of layer 1"):
        history = model.fit(x, y, epochs=20, loss=growing, optimizer=dnn.SGD(1.0), verbose=0)
    assert history.stopped_because == "diverged"
    assert np.isfinite(model.flat_parameters).all()


def test_targets_need_a_column_for_each_output() -> None:
    x, y = data()
    with pytest.raises(ValueError, match="y has shape"):
        model_of(dnn.Dense(3)).fit(x, y[:, 0], loss=rows_of_mse, verbose=0)


@pytest.mark.parametrize("loss", [dnn.MSE, 3, object()])
def test_what_is_no_loss_is_refused(loss: Any) -> None:
    with pytest.raises(TypeError, match="loss"):
        model_of(dnn.Dense(3)).compile(loss=loss)


def test_a_function_may_use_and_change_the_model() -> None:
    x, y = data()

    def nosy(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        np.testing.assert_array_equal(model.predict(x).shape, y.shape)
        y_pred += 1.0  # a copy: nobody else sees it
        return rows_of_mse(y_true, y_pred - 1.0)

    model, expected = model_of(dnn.Input(4), dnn.Dense(3)), model_of(dnn.Input(4), dnn.Dense(3))
    for one, loss in ((model, nosy), (expected, rows_of_mse)):
        one.fit(x, y, loss=loss, optimizer="sgd", verbose=0)
        one.train_on_batch(x, y)
    np.testing.assert_allclose(model.flat_parameters, expected.flat_parameters, rtol=1e-5, atol=1e-6)

    def meddling(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        model.set_weights([np.zeros((4, 3)), np.zeros(3)])
        return rows_of_mse(y_true, y_pred)

    model.compile(loss=meddling)
    model.evaluate(x, y)
    assert not model.flat_parameters.any()
    with pytest.raises(RuntimeError, match="the model is training"):
        model.fit(x, y, verbose=0)


# ---- copies and files --------------------------------------------------------------------------------------


def test_a_file_goes_without_the_function_and_says_what_to_do(tmp_path: Any) -> None:
    x, y = data()
    path = tmp_path / "model.dnn"
    model, never = (model_of(dnn.Dense(3), dtype="float64") for _ in range(2))
    options: dict[str, Any] = {"optimizer": dnn.SGD(0.01, momentum=0.9), "verbose": 0}
    never.fit(x, y, epochs=4, loss=cubes, **options)
    model.fit(x, y, epochs=2, loss=cubes, **options)
    with pytest.warns(UserWarning, match="the loss is the function 'cubes', which a file can't hold"):
        model.save(path)
    loaded = dnn.load(path)
    assert np.array_equal(loaded.predict(x), model.predict(x))
    for call in (loaded.evaluate, loaded.train_on_batch, loaded.loss_and_gradients, loaded.fit):
        with pytest.raises(ValueError, match="function 'cubes', which its file does not hold; pass it again"):
            call(x, y)
    # Given again, it goes on as if it had never stopped.
    loaded.fit(x, y, epochs=4, initial_epoch=2, loss=cubes, verbose=0)
    assert same(loaded, never)
    dnn.load(path).fit(x, y, loss="mse", verbose=0)
    again = dnn.load(path)
    again.compile("sgd", cubes)
    assert again.evaluate(x, y) == pytest.approx(model.evaluate(x, y))


@pytest.mark.parametrize("way", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy, copy.copy])
def test_copies_and_pickles_keep_the_function(way: Any) -> None:
    x, y = data()
    model = model_of(dnn.Dense(3), dtype="float64")
    model.fit(x, y, loss=cubes, optimizer=dnn.SGD(0.01, momentum=0.9), verbose=0)
    other = way(model)
    assert other.evaluate(x, y) == model.evaluate(x, y)
    for one in (model, other):
        one.fit(x, y, verbose=0)
    assert same(model, other)


def test_a_file_of_a_file_still_says_whose_loss_it_was(tmp_path: Any) -> None:
    model = model_of(dnn.Input(4), dnn.Dense(3))
    model.compile(loss=cubes)
    for at in range(2):
        with pytest.warns(UserWarning, match="'cubes'"):
            model.save(tmp_path / f"{at}.dnn")
        model = dnn.load(tmp_path / f"{at}.dnn")
    assert model.loss.name == "cubes"
