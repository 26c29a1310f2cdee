"""Single steps and measurements: on the short way nothing is asked twice, and all is as on the long one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from models import model_of, same


def classifier(**arguments: Any) -> dnn.Sequential:
    return model_of(dnn.Input(5), dnn.Dense(9, "tanh"), dnn.Dense(4, "softmax"), **arguments)


def regressor(n_outputs: int = 2, **arguments: Any) -> dnn.Sequential:
    return model_of(dnn.Input(5), dnn.Dense(9, "tanh"), dnn.Dense(n_outputs), **arguments)


def batches(kind: str, dtype: str, n: int = 6) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    rng = np.random.default_rng(2)
    rows = [1, 7, 20, 3, 130, 20][:n]
    draw: dict[str, Callable[[int], np.ndarray[Any, Any]]] = {
        "labels": lambda n: rng.integers(0, 4, n),
        "one column": lambda n: rng.normal(size=n).astype(dtype),
        "columns": lambda n: rng.normal(size=(n, 2)).astype(dtype),
    }
    return [(rng.normal(size=(n, 5)).astype(dtype), draw[kind](n)) for n in rows]


MODELS: dict[str, Callable[..., dnn.Sequential]] = {
    "labels": classifier,
    "one column": lambda **arguments: regressor(1, **arguments),
    "columns": regressor,
}


def is_known(model: dnn.Sequential) -> bool:
    """Whether the next call may take the short way."""
    return model._is_of_now(model._known)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("metrics", [(), ("mae",)])
def test_both_ways_give_the_same_bits(kind: str, dtype: str, metrics: tuple[str, ...]) -> None:
    if kind == "labels" and metrics:
        metrics = ("accuracy",)
    short, long = (MODELS[kind](dtype=dtype) for _ in range(2))
    for model in (short, long):
        model.compile(dnn.Adam(0.01), metrics=metrics)
    for x, y in batches(kind, dtype):
        # Rows of another layout and labels of another type are looked at closer.
        other = (np.asfortranarray(np.vstack([x, x])[: len(x)]), y.tolist())
        assert short.train_on_batch(x, y) == long.train_on_batch(*other)
        assert same(short, long)
        assert is_known(short)
        assert short.evaluate(x, y) == long.evaluate(*other)
        assert short.evaluate(x, y, n_threads=1) == short.evaluate(x, y, n_threads=2)


def test_a_step_reads_rows_that_are_read_only_and_writes_nothing_to_them() -> None:
    model, twin = classifier(), classifier()
    for x, y in batches("labels", "float32"):
        before = x.copy(), y.copy()
        x.flags.writeable = y.flags.writeable = False
        model.train_on_batch(x, y)
        twin.train_on_batch(*before)
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(y, before[1])
    assert same(model, twin)


def wrong(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> dict[str, tuple[Any, Any, str]]:
    nan = x.copy()
    nan[3, 2] = np.nan
    return {
        "NaN": (nan, y, "x has NaN or infinity in 1 value, nan at row 3, column 2"),
        "columns": (x[:, :4].copy(), y, "x has 4 columns, but the network takes 5 inputs"),
        "rows": (x, y[:-1], "x has 20 rows, but y has 19"),
        "no rows": (x[:0], y[:0], "x has no rows"),
        "a row": (x[0], y, "x is 1-D"),
    }


@pytest.mark.parametrize("problem", wrong(np.ones((20, 5)), np.zeros(20)))
@pytest.mark.parametrize("kind", MODELS)
def test_what_is_wrong_is_refused_on_the_short_way_in_the_same_words(kind: str, problem: str) -> None:
    model = MODELS[kind]()
    x, y = batches(kind, "float32", 3)[-1]
    model.train_on_batch(x, y)
    weights = copy.deepcopy(model)
    bad_x, bad_y, message = wrong(x, y)[problem]
    for call in (model.train_on_batch, model.evaluate):
        with pytest.raises(ValueError, match=message):
            call(bad_x, bad_y)
    assert same(model, weights)
    model.train_on_batch(x, y)


@pytest.mark.parametrize(("label", "message"), [(4, "y has labels 0..4"), (-1, "y has label -1 at row 5")])
def test_labels_that_are_no_classes_are_refused(label: int, message: str) -> None:
    model = classifier()
    x, y = batches("labels", "float32", 3)[-1]
    y[:4] = range(4)
    y[5] = 0
    model.train_on_batch(x, y)
    y[5] = label
    for call in (model.train_on_batch, model.evaluate):
        with pytest.raises(ValueError, match=message):
            call(x, y)


def test_targets_that_are_no_numbers_and_other_shapes_are_refused() -> None:
    model = regressor()
    x, y = batches("columns", "float32", 3)[-1]
    model.train_on_batch(x, y)
    bad = y.copy()
    bad[7, 1] = np.inf
    with pytest.raises(ValueError, match="y has NaN or infinity in 1 value, inf at row 7, column 1"):
        model.train_on_batch(x, bad)
    with pytest.raises(ValueError, match="y has shape"):
        model.train_on_batch(x, y[:, :1].copy())
    with pytest.raises(ValueError, match="y has shape"):
        model.evaluate(x, y[:, 0].copy())


def test_a_loss_that_looks_at_its_targets_does_so_every_time() -> None:
    model = model_of(dnn.Input(5), dnn.Dense(1, "sigmoid"))
    x, y = batches("one column", "float32", 3)[-1]
    y = (y > 0).astype(np.float32)
    model.train_on_batch(x, y)
    with pytest.raises(ValueError, match="y at row 2"):
        model.train_on_batch(x, np.where(np.arange(20) == 2, 1.5, y).astype(np.float32))


CHANGES: dict[str, Callable[[dnn.Sequential], object]] = {
    "another optimizer": lambda model: model.compile(dnn.SGD(0.3, momentum=0.9)),
    "another rate": lambda model: model.compile(dnn.Adam(0.3)),
    "a rate that changes": lambda model: model.compile(dnn.SGD(dnn.ExponentialDecay(0.3, 1, 0.5))),
    "another loss": lambda model: model.compile(loss="mae"),
    "metrics": lambda model: model.compile(metrics=["rmse", "mae"]),
    "a function": lambda model: model.compile(loss=lambda t, y: (np.abs(y - t).mean(1), np.sign(y - t) / 2)),
    "a metric that is a function": lambda model: model.compile(metrics=[lambda t, y: float(y.mean())]),
    "a fit": lambda model: model.fit(
        *batches("columns", "float32")[4], epochs=2, optimizer="rmsprop", loss="huber"
    ),
    "other weights": lambda model: model.set_weights([w + 1 for w in model.get_weights()]),
    "the rate alone": lambda model: setattr(model, "learning_rate", 0.3),
    "a fit with metrics": lambda model: model.fit(
        *batches("columns", "float32")[4], epochs=1, metrics=["mae"]
    ),
    "clipping": lambda model: model.compile(dnn.SGD(0.3, clip_norm=0.01)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_found_out_is_forgotten_when_it_changes(change: str) -> None:
    model, twin = regressor(), regressor()
    for x, y in batches("columns", "float32"):
        model.train_on_batch(x, y)
        twin.train_on_batch(x.tolist(), y.tolist())
    for each in (model, twin):
        CHANGES[change](each)
    for x, y in batches("columns", "float32"):
        found = model.train_on_batch(x, y)
        assert found == pytest.approx(twin.train_on_batch(x.tolist(), y.tolist()), rel=1e-6)
        assert found.keys() == model.evaluate(x, y).keys()
        assert same(model, twin)


def test_copies_and_files_find_out_for_themselves(tmp_path: Path) -> None:
    model = classifier()
    (x, y), *others = batches("labels", "float32")
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.dnn")
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), dnn.load(tmp_path / "model.dnn")]
    for x, y in others:
        expected = model.train_on_batch(x, y)
        for each in copies:
            assert each.train_on_batch(x, y) == expected
            assert same(each, model)


def test_a_step_that_diverges_says_so_and_changes_nothing_on_both_ways() -> None:
    model = model_of(dnn.Input(5), dnn.Dense(2))
    model.compile(dnn.SGD(0.1))
    x, y = batches("columns", "float32", 3)[-1]
    x, small = x * np.float32(1e30), x
    with pytest.raises(ValueError) as long:
        model.train_on_batch(x, y)
    before = copy.deepcopy(model)
    model.evaluate(small, y)
    assert is_known(model)
    with pytest.raises(ValueError) as short:
        model.train_on_batch(x, y)
    assert str(short.value) == str(long.value)
    assert same(model, before)


def test_weights_of_rows_take_the_long_way() -> None:
    model, twin = regressor(), regressor()
    x, y = batches("columns", "float32", 3)[-1]
    for each in (model, twin):
        each.train_on_batch(x, y)
    weight = np.r_[np.ones(10), np.zeros(10)]
    model.train_on_batch(x, y, sample_weight=weight)
    twin.train_on_batch(x[:10], y[:10])
    for one, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_labels_that_lie_askew_in_records_are_read_as_they_are() -> None:
    records = np.zeros(20, [("flag", "?"), ("label", "i8")])
    x, y = batches("labels", "float32", 3)[-1]
    records["flag"], records["label"] = y % 2 == 0, y
    model, twin = classifier(), classifier()
    for _ in range(3):
        assert model.train_on_batch(x, records["label"]) == twin.train_on_batch(x, y.tolist())
        assert model.evaluate(x, records["label"]) == twin.evaluate(x, y.tolist())
    assert same(model, twin)


@pytest.mark.parametrize("call", ["train_on_batch", "evaluate"])
def test_a_loss_that_another_thread_chooses_meanwhile_is_the_loss_from_then_on(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = regressor()
    x, y = batches("columns", "float32", 3)[-1]
    model.train_on_batch(x, y)
    model.compile(dnn.SGD(0.1), loss="huber")
    functions, chosen = dnn._steps._training.functions, []

    def interrupted(metrics: Any) -> Any:
        if not chosen:
            chosen.append("mae")
            model.compile(dnn.SGD(0.1), loss="mae")
        return functions(metrics)

    monkeypatch.setattr(dnn._steps._training, "functions", interrupted)
    getattr(model, call)(x, y)
    assert chosen == ["mae"]
    twin = regressor()
    twin.set_weights(model.get_weights())
    twin.compile(loss="mae")
    for _ in range(3):
        assert model.evaluate(x, y) == twin.evaluate(x, y)
        assert model.loss == dnn.MAE()


def test_a_loss_that_is_no_number_is_told() -> None:
    model = model_of(dnn.Input(2), dnn.Dense(3, "softmax"))
    model.set_weights([np.full((2, 3), 3e38), np.zeros(3)])
    x, y = np.ones((4, 2), np.float32), np.array([0, 1, 2, 0])
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="evaluate gives a loss of nan"):
            assert np.isnan(model.evaluate(x, y)["loss"])


def test_a_step_that_diverges_names_no_epoch() -> None:
    model = model_of(dnn.Input(1), dnn.Dense(1))
    with pytest.raises(
        ValueError, match=r"training diverged: .* is not finite; the weights are those before"
    ):
        model.train_on_batch(np.full((2, 1), 3e38, np.float32), np.zeros(2))


@pytest.mark.parametrize("kind", MODELS)
def test_the_short_way_is_taken_and_copies_nothing(kind: str) -> None:
    model = MODELS[kind]()
    x, y = batches(kind, "float32", 3)[-1]
    assert model._short_way(x, y, 1) is None
    model.train_on_batch(x, y)
    taken = model._short_way(x, y, 1)
    assert taken is not None
    known, _, data = taken
    assert data.x is x
    assert np.shares_memory(data.y, y)
    assert known.step is not None
    model.compile(dnn.SGD(0.1))
    assert model._short_way(x, y, 1) is None
    model.evaluate(x, y)
    assert model._short_way(x, y, 1) is not None


def test_a_model_that_scales_learns_from_scaled_rows_every_time() -> None:
    model, twin = (regressor(scale="standard", scale_target="standard") for _ in range(2))
    for each in (model, twin):
        each.adapt(*(5 * table + 3 for table in batches("columns", "float32")[4]))
    for x, y in batches("columns", "float32"):
        x, y = 5 * x + 3, 5 * y + 3
        assert model.train_on_batch(x, y) == twin.train_on_batch(x.tolist(), y.tolist())
        assert model.evaluate(x, y) == twin.evaluate(x.tolist(), y.tolist())
    assert same(model, twin)


def test_weights_that_wait_for_data_are_scaled_by_the_first_step_after_a_measurement() -> None:
    layers = [dnn.Input(5), dnn.Dense(9, "tanh", weight_initializer="lsuv"), dnn.Dense(2)]
    model, twin = model_of(*layers), model_of(*layers)
    for x, y in batches("columns", "float32")[2:]:
        assert model.evaluate(x, y) == twin.evaluate(x.tolist(), y.tolist())
        assert model.train_on_batch(x, y) == twin.train_on_batch(x.tolist(), y.tolist())
    assert same(model, twin)


LABELS: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
    "every second": lambda y: np.repeat(y, 2)[::2],
    "backwards": lambda y: y[::-1].copy()[::-1],
    "of another order": lambda y: y.astype(">i8"),
    "short": lambda y: y.astype(np.int32),
    "bytes": lambda y: y.astype(np.uint8),
    "a column": lambda y: y.reshape(-1, 1),
    "one-hot": lambda y: np.eye(4, dtype=np.float32)[y],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_are_the_same_labels(kind: str) -> None:
    model, twin = classifier(), classifier()
    for x, y in batches("labels", "float32"):
        expected = twin.train_on_batch(x, y)
        assert model.train_on_batch(x, LABELS[kind](y)) == pytest.approx(expected, rel=1e-6)
        assert model.evaluate(x, LABELS[kind](y)) == pytest.approx(twin.evaluate(x, y), rel=1e-6)


def test_a_step_that_a_callback_takes_is_the_same_on_both_ways() -> None:
    x, y = batches("columns", "float32", 3)[-1]
    models = []
    for step in ((x, y), (x.tolist(), y.tolist())):
        model = regressor()
        model.train_on_batch(x, y)
        model.fit(
            x,
            y,
            epochs=3,
            optimizer=model.optimizer,
            callbacks=[lambda epoch, logs, model=model, step=step: model.train_on_batch(*step) and None],
        )
        models.append(model)
    assert same(*models)
    plain = regressor()
    plain.train_on_batch(x, y)
    plain.fit(x, y, epochs=3, optimizer=plain.optimizer)
    assert not same(models[0], plain)
