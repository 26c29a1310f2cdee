"""Sequential from outside: shapes, seeds, weights, copies, files, choices, a look inside."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from models import Table, model_of, same
from numpy.typing import NDArray

# Shapes


def test_shapes_come_from_the_data(regressor: dnn.Sequential, regression: Table) -> None:
    x, y = regression
    assert regressor.n_inputs is None
    regressor.fit(x, y)
    assert regressor.n_inputs == 3
    assert [array.shape for array in regressor.get_weights()] == [(3, 8), (8,), (8, 1), (1,)]


def test_shapes_come_from_an_input() -> None:
    model = model_of(dnn.Input(2), dnn.Dense(16, "relu"), dnn.Dense(16, "relu"), dnn.Dense(1))
    assert model.n_parameters == 337
    assert model.predict(np.zeros((5, 2))).shape == (5, 1)


def test_input_and_data_give_the_same_initial_weights(regression: Table) -> None:
    x, y = regression
    said = model_of(dnn.Input(3), dnn.Dense(4, "relu"), dnn.Dense(1))
    seen = model_of(dnn.Dense(4, "relu"), dnn.Dense(1))
    for model in (said, seen):
        model.fit(x, y, epochs=2)
    assert same(said, seen)


def test_layers_without_bias_have_no_bias_array() -> None:
    model = model_of(dnn.Input(2), dnn.Dense(3, use_bias=False), dnn.Dense(1))
    assert [array.shape for array in model.get_weights()] == [(2, 3), (3, 1), (1,)]


def test_one_column_of_y_may_be_1d_for_one_output(regression: Table) -> None:
    x, y = regression
    one, two = model_of(dnn.Dense(1)), model_of(dnn.Dense(1))
    one.fit(x, y[:, 0])
    two.fit(x, y)
    assert same(one, two)


def test_summary_counts_parameters() -> None:
    model = model_of(
        dnn.Input(2), dnn.Dense(16, "relu"), dnn.Dense(16, "relu", trainable=False), dnn.Dense(1)
    )
    text = str(model.summary())
    assert "337 parameters, 65 of them trainable" in text
    assert repr(model.summary()) == text
    assert "(rows, 16)" in text
    assert "<table>" in model.summary()._repr_html_()


def test_summary_before_the_shape_is_known_says_so(regressor: dnn.Sequential) -> None:
    assert "unknown" in str(regressor.summary())


# Seeds


def test_no_seed_draws_one_that_can_be_read_and_used(regression: Table) -> None:
    x, y = regression
    first, other = dnn.Sequential([dnn.Dense(4), dnn.Dense(1)]), dnn.Sequential([dnn.Dense(4), dnn.Dense(1)])
    assert first.seed != other.seed
    again = dnn.Sequential([dnn.Dense(4), dnn.Dense(1)], seed=first.seed)
    for model in (first, again):
        model.fit(x, y, epochs=3, batch_size=7)
    assert same(first, again)


def test_number_of_threads_does_not_change_bits(regression: Table) -> None:
    x, y = regression
    models = [model_of(dnn.Dense(32, "tanh"), dnn.Dense(1)) for _ in range(3)]
    for threads, model in enumerate(models, 1):
        model.fit(x, y, epochs=3, n_threads=threads)
    assert same(models[0], models[1])
    assert same(models[0], models[2])


# Weights


def test_weights_make_a_round_trip(regressor: dnn.Sequential, regression: Table) -> None:
    x, y = regression
    regressor.fit(x, y, epochs=2)
    weights = regressor.get_weights()
    flat = regressor.flat_parameters
    other = model_of(dnn.Dense(8, "tanh"), dnn.Dense(1), seed=99)
    other.set_weights(weights)
    assert same(regressor, other)
    assert np.array_equal(regressor.predict(x), other.predict(x))
    assert np.array_equal(flat, np.concatenate([array.ravel() for array in weights]))
    other.flat_parameters = 2 * flat
    assert np.array_equal(other.flat_parameters, 2 * flat)


def test_weights_are_copies(regressor: dnn.Sequential, regression: Table) -> None:
    regressor.fit(*regression)
    for array in regressor.get_weights():
        array[...] = 7.0
    assert not np.any(regressor.flat_parameters == 7.0)


def test_set_weights_before_fit_tells_the_number_of_inputs() -> None:
    model = model_of(dnn.Dense(2))
    model.set_weights([np.ones((5, 2)), np.zeros(2)])
    assert model.n_inputs == 5


@pytest.mark.parametrize(
    "initializer",
    ["glorot_uniform", "he_normal", "lecun_normal", "auto", "ones", dnn.Normal(std=0.1), dnn.Constant(0.5)],
)
def test_initializers_are_taken(initializer: Any) -> None:
    model = model_of(
        dnn.Input(50),
        dnn.Dense(40, "relu", weight_initializer=initializer, bias_initializer=dnn.Constant(0.25)),
    )
    weights, bias = model.get_weights()
    assert np.all(bias == 0.25)
    assert np.any(weights != 0.0)


def test_auto_initializer_depends_on_the_activation() -> None:
    def start(activation: str, initializer: str) -> NDArray[Any]:
        return model_of(dnn.Input(9), dnn.Dense(7, activation, weight_initializer=initializer)).get_weights()[
            0
        ]

    for activation, named in (("silu", "he_normal"), ("selu", "lecun_normal"), ("tanh", "glorot_uniform")):
        assert np.array_equal(start(activation, "auto"), start(activation, named))


def test_arrays_are_initial_weights(regression: Table) -> None:
    x, _ = regression
    weights, bias = np.arange(6.0).reshape(3, 2), np.array([1.0, -1.0])
    model = model_of(
        dnn.Input(3), dnn.Dense(2, weight_initializer=weights, bias_initializer=bias), dtype="float64"
    )
    np.testing.assert_allclose(
        model.predict(x), x.astype(np.float64) @ weights + bias, rtol=1e-13
    )  # three terms


def test_frozen_weights_and_biases_stay(regression: Table) -> None:
    x, y = regression
    model = model_of(dnn.Input(3), dnn.Dense(4, "tanh", trainable=False), dnn.Dense(1, trainable_bias=False))
    before = model.get_weights()
    model.fit(x, y, epochs=3)
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert moved == [False, False, True, False]


# Copies and files


def saved(model: dnn.Sequential, folder: Path) -> dnn.Sequential:
    model.save(folder / "model.dnn")
    return dnn.load(folder / "model.dnn")


@pytest.mark.parametrize("way", ["pickle", "copy", "deepcopy", "save"])
def test_copies_are_equal_independent_and_go_on_training_alike(
    way: str, classes: Table, tmp_path: Path
) -> None:
    x, y = classes
    model = model_of(
        dnn.Dense(8, dnn.LeakyReLU(0.2), l2=1e-3, weight_initializer="auto"), dnn.Dense(3, "softmax")
    )
    model.fit(x, y, epochs=2, optimizer=dnn.Adam(0.01), metrics=["accuracy"])
    twin = {
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
        "copy": lambda: copy.copy(model),
        "deepcopy": lambda: copy.deepcopy(model),
        "save": lambda: saved(model, tmp_path),
    }[way]()
    assert same(model, twin)
    assert (twin.loss, twin.optimizer, twin.metrics, twin.seed) == (
        model.loss,
        model.optimizer,
        model.metrics,
        model.seed,
    )
    assert twin.layers[1] == model.layers[1]
    assert twin.layers[0].activation == dnn.LeakyReLU(0.2)
    model.fit(x, y, epochs=5, initial_epoch=2)
    assert not same(model, twin)
    twin.fit(x, y, epochs=5, initial_epoch=2)
    assert same(model, twin)


def test_unbuilt_models_can_be_copied(regressor: dnn.Sequential, regression: Table) -> None:
    twin = pickle.loads(pickle.dumps(regressor))
    for model in (regressor, twin):
        model.fit(*regression)
    assert same(regressor, twin)


def test_training_in_two_parts_equals_training_at_once(regression: Table, tmp_path: Path) -> None:
    x, y = regression
    for optimizer in (
        dnn.SGD(0.05, momentum=0.9),
        dnn.Adam(0.01, amsgrad=True),
        dnn.SGD(lambda step: 0.1 / (1 + step)),
    ):
        whole, part = (
            model_of(dnn.Dense(8, "tanh"), dnn.Dense(1)),
            model_of(dnn.Dense(8, "tanh"), dnn.Dense(1)),
        )
        whole.fit(x, y, 16, 6, optimizer=optimizer)
        part.fit(x, y, 16, 3, optimizer=optimizer)
        if not callable(optimizer.learning_rate):
            part = saved(part, tmp_path)
        part.fit(x, y, 16, 6, initial_epoch=3, optimizer=optimizer)
        assert same(whole, part)


def test_checkpoint_in_a_callback_resumes_as_if_never_stopped(regression: Table, tmp_path: Path) -> None:
    x, y = regression
    model = model_of(dnn.Dense(8, "tanh"), dnn.Dense(1))

    def checkpoint(epoch: int, logs: dict[str, float]) -> None:
        if epoch == 1:
            model.save(tmp_path / "model.dnn")

    model.fit(x, y, 16, 5, callbacks=[checkpoint])
    resumed = dnn.load(tmp_path / "model.dnn")
    resumed.fit(x, y, 16, 5, initial_epoch=2)
    assert same(model, resumed)


def test_saving_a_rate_that_is_a_function_warns_and_keeps_its_value(
    regression: Table, tmp_path: Path
) -> None:
    model = model_of(dnn.Dense(1))
    model.fit(*regression, batch_size="full", epochs=3, optimizer=dnn.SGD(lambda step: 0.1 / (1 + step)))
    with pytest.warns(UserWarning, match="can't be saved.*step 3, 0.025"):
        loaded = saved(model, tmp_path)
    assert loaded.optimizer == dnn.SGD(0.1 / 4)


def test_saving_leaves_nothing_beside_the_file(
    regressor: dnn.Sequential, regression: Table, tmp_path: Path
) -> None:
    regressor.fit(*regression)
    for _ in range(2):
        regressor.save(str(tmp_path / "model.dnn"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.dnn"]


def test_a_file_that_can_not_be_written_or_read_is_named(regressor: dnn.Sequential, tmp_path: Path) -> None:
    regressor.set_weights([np.zeros((3, 8)), np.zeros(8), np.zeros((8, 1)), np.zeros(1)])
    nowhere = tmp_path / "nowhere" / "model.dnn"
    for path, error in ((nowhere, FileNotFoundError), (tmp_path, IsADirectoryError)):
        for call in (regressor.save, dnn.load):
            with pytest.raises(error) as raised:
                call(path)
            assert raised.value.filename == str(path)
            assert raised.value.strerror in ("No such file or directory", "Is a directory")
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
def test_an_open_file_without_a_name_is_not_saved_to(tmp_path: Path) -> None:
    model = model_of(dnn.Input(3), dnn.Dense(1))
    with (tmp_path / "gone").open("wb") as file:
        (tmp_path / "gone").unlink()
        path = f"/proc/self/fd/{file.fileno()}"
        with pytest.raises(OSError, match=f"{path}: .*no such name; name a file"):
            model.save(path)
    assert not any(tmp_path.iterdir())


# Compile


def test_compile_is_optional(regression: Table) -> None:
    x, y = regression
    said, silent = model_of(dnn.Dense(1)), model_of(dnn.Dense(1))
    said.compile("adam", "mse")
    for model in (said, silent):
        model.fit(x, y, epochs=2)
    assert same(said, silent)


@pytest.mark.parametrize(
    ("activation", "units", "loss"),
    [
        ("softmax", 3, dnn.CrossEntropy()),
        ("sigmoid", 2, dnn.BinaryCrossEntropy()),
        (None, 1, dnn.MSE()),
        ("tanh", 1, dnn.MSE()),
    ],
)
def test_default_loss_fits_the_output(activation: str | None, units: int, loss: Any) -> None:
    assert model_of(dnn.Dense(units, activation)).loss == loss


@pytest.mark.parametrize(
    ("alias", "loss"),
    [("mean_squared_error", "mse"), ("categorical_crossentropy", "cross_entropy"),
     ("sparse_categorical_crossentropy", "cross_entropy"), ("binary_crossentropy", "binary_cross_entropy")],
)  # fmt: skip
def test_aliases_of_losses(alias: str, loss: str) -> None:
    output = {"mse": "identity", "cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}[loss]
    model = model_of(dnn.Dense(2, output))
    model.compile(loss=alias)
    assert model.loss.name == loss


@pytest.mark.parametrize(
    ("alias", "name"), [("linear", "identity"), ("logistic", "sigmoid"), ("swish", "silu")]
)
def test_aliases_of_activations(alias: str, name: str) -> None:
    x = np.linspace(-2, 2, 9)[:, None]
    one, other = model_of(dnn.Input(1), dnn.Dense(2, alias)), model_of(dnn.Input(1), dnn.Dense(2, name))
    assert np.array_equal(one.predict(x), other.predict(x))


def test_compile_keeps_weights_and_starts_momentum_anew(regression: Table) -> None:
    x, y = regression
    momentum = dnn.SGD(0.1, momentum=0.9)
    model = model_of(dnn.Dense(1))
    model.fit(x, y, epochs=3, optimizer=momentum)
    fresh = model_of(dnn.Dense(1))
    fresh.set_weights(model.get_weights())
    twin = copy.copy(model)
    model.compile(momentum)
    assert same(model, twin)
    for other in (model, twin, fresh):
        # Unshuffled: the order of the rows belongs to the life of a model, which compile does not end.
        other.fit(x, y, optimizer=momentum, shuffle=False)
    assert same(model, fresh)
    assert not same(model, twin)


def test_changing_only_the_rate_keeps_momentum(regression: Table) -> None:
    x, y = regression
    model = model_of(dnn.Dense(1))
    model.fit(x, y, optimizer=dnn.SGD(0.1, momentum=0.9))
    twin = copy.copy(model)
    model.fit(x, y, optimizer=dnn.SGD(0.05, momentum=0.9))
    twin.fit(x, y, optimizer=dnn.SGD([0.05], momentum=0.9))
    assert same(model, twin)


# Looking inside


def test_forward_deltas_and_gradients_fit_together(regression: Table) -> None:
    x, y = (a.astype(np.float64) for a in regression)
    model = model_of(dnn.Input(3), dnn.Dense(4, "tanh"), dnn.Dense(1), dtype="float64")
    layers = model.forward(x)
    assert [layer.z.shape for layer in layers] == [(60, 4), (60, 1)]
    assert np.array_equal(layers[-1].a, model.predict(x))
    deltas = model.deltas(x, y)
    loss, gradients = model.loss_and_gradients(x, y)
    assert loss == pytest.approx(model.evaluate(x, y)["loss"], rel=1e-14)  # the same rows summed twice
    expected = [x.T @ deltas[0], deltas[0].sum(0), layers[0].a.T @ deltas[1], deltas[1].sum(0)]
    for gradient, product in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, product, rtol=1e-12, atol=1e-14)  # sums of 60 terms
    np.testing.assert_allclose(model.input_gradients(x, y), deltas[0] @ model.get_weights()[0].T, rtol=1e-12)


def test_gradients_agree_with_differences_and_the_report_reads_well(classes: Table) -> None:
    x, y = classes
    model = model_of(
        dnn.Input(4), dnn.Dense(5, "gelu", l1=1e-3, l2=1e-3), dnn.Dense(3, "softmax"), dtype="float64"
    )
    report = model.check_gradients(x, y, sample_weight=np.arange(90) + 1.0)
    assert report.largest < 1e-6  # truncation 1e-12 and rounding 1e-10, both far below
    assert [title for title, _ in report.differences] == [
        "weights of layer 1", "bias of layer 1", "weights of layer 2", "bias of layer 2"
    ]  # fmt: skip
    assert str(report).startswith("largest relative difference")


def test_looking_inside_changes_nothing(regressor: dnn.Sequential, regression: Table) -> None:
    x, y = regression
    regressor.fit(x, y, optimizer=dnn.SGD(0.1, momentum=0.9))
    before = regressor.__getstate__()["_network"]
    regressor.forward(x)
    regressor.deltas(x, y)
    regressor.loss_and_gradients(x, y)
    regressor.input_gradients(x, y)
    regressor.evaluate(x, y)
    regressor.predict(x)
    assert regressor.__getstate__()["_network"] == before


# Threads


def test_number_of_threads_is_the_first_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from dnn import _threads

    monkeypatch.delenv("DNN_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert dnn.get_num_threads() >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert dnn.get_num_threads() == 5
    monkeypatch.setenv("DNN_NUM_THREADS", "4")
    assert dnn.get_num_threads() == 4
    dnn.set_num_threads(3)
    assert dnn.get_num_threads() == 3
    assert _threads.count(2) == 2
    dnn.set_num_threads(None)
    assert dnn.get_num_threads() == 4


# What was said


def test_dataclasses_are_frozen_and_compare_by_what_was_said() -> None:
    for thing in (
        dnn.Dense(3),
        dnn.Input(2),
        dnn.SGD(),
        dnn.Adam(),
        dnn.MSE(),
        dnn.Huber(),
        dnn.Uniform(),
        dnn.EarlyStopping(),
    ):
        with pytest.raises(AttributeError):
            thing.anything = 1  # type: ignore[attr-defined]
    assert dnn.SGD([0.1, 0.2]) == dnn.SGD(np.array([0.1, 0.2]))
    assert dnn.MSE() == dnn.MSE()
    assert dnn.MSE() != dnn.MAE()
    assert len({dnn.Dense(3), dnn.Dense(3), dnn.Dense(4)}) == 2
    assert repr(dnn.MSE()) == "MSE()"


def test_numpy_scalars_are_numbers(regression: Table) -> None:
    one = model_of(dnn.Dense(np.int64(4), l2=np.float32(0.5)), dnn.Dense(np.int32(1)), seed=np.int64(1))
    other = model_of(dnn.Dense(4, l2=0.5), dnn.Dense(1))
    for model in (one, other):
        model.fit(*regression, batch_size=np.int16(8), epochs=np.uint8(2), shuffle=np.bool_(True))
    assert same(one, other)


def test_dtype_may_be_one_of_numpy() -> None:
    for dtype in (np.float64, np.dtype("float64"), float, "float64"):
        assert model_of(dnn.Input(1), dnn.Dense(1), dtype=dtype).predict([[1.0]]).dtype == np.float64


def test_load_tells_whose_file_it_is_and_refuses_what_is_no_file(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    path = tmp_path / "estimator.dnn"
    estimator = dnn.MLPRegressor(hidden_layer_sizes=(3,), max_iter=200, tol=1.0, random_state=0)
    estimator.fit(np.eye(4), np.arange(4.0)).save(path)
    with pytest.raises(ValueError, match=r"it holds a MLPRegressor; read it with dnn.MLPRegressor.load"):
        dnn.load(path)
    for load in (dnn.load, dnn.MLPRegressor.load):
        with pytest.raises(ValueError, match="'/dev/null' is not a model file: it is a device or a pipe"):
            load("/dev/null")


def test_a_model_shows_its_widths_type_and_a_precision_that_is_not_the_usual_one() -> None:
    layers = [dnn.Input(2), dnn.Dense(3, "relu"), dnn.Dense(1)]
    assert repr(dnn.Sequential(layers, seed=5)) == "<Sequential 2-3-1, float32, seed 5>"
    medium = dnn.Sequential(layers, seed=5, precision="medium")
    assert repr(medium) == "<Sequential 2-3-1, float32, precision 'medium', seed 5>"
