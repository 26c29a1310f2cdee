"""Scaling that travels with the model: scikit-learn's numbers, from training rows, in every call and file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from dnn import _data
from models import model_of, same, same_bits
from numpy.typing import NDArray

preprocessing = pytest.importorskip("sklearn.preprocessing", reason="its scalers are the oracle")

Float = NDArray[np.float64]
SCALERS = {"standard": preprocessing.StandardScaler, "robust": preprocessing.RobustScaler}


def table(rows: int = 500, seed: int = 0) -> Float:
    """Columns of every sort: small, far from 0, skewed, constant or nearly so, whole numbers."""
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [
            rng.normal(size=rows),
            1e-8 * rng.normal(size=rows),
            1e8 + rng.normal(size=rows),
            np.exp(3 * rng.normal(size=rows)),
            np.full(rows, 7.3),
            np.zeros(rows),
            np.full(rows, 1e6) * (1 + 1e-16 * rng.normal(size=rows)),
            rng.integers(0, 5, rows),
            np.where(rng.random(rows) < 0.9, 0.0, 100.0),
        ]
    )


def learned(kind: str, x: Any, **arguments: Any) -> tuple[Float, Float]:
    model = model_of(dnn.Dense(1), scale=kind, dtype="float64")
    model.adapt(x, **arguments)
    scaling = model._preparation.x
    assert scaling is not None
    return scaling.center, scaling.scale


@pytest.mark.parametrize("rows", [1, 2, 5, 500, 40000])
@pytest.mark.parametrize("kind", SCALERS)
def test_center_and_scale_are_those_of_scikit_learn(kind: str, rows: int) -> None:
    x = table(rows)
    scaler = SCALERS[kind]().fit(x)
    center, scale = learned(kind, x)
    expected = scaler.mean_ if kind == "standard" else scaler.center_
    np.testing.assert_allclose(center, expected, rtol=1e-12)
    np.testing.assert_allclose(scale, scaler.scale_, rtol=1e-12)


@pytest.mark.parametrize("kind", SCALERS)
def test_the_network_sees_what_scikit_learn_would_give_it(kind: str) -> None:
    x = table()
    by_us = model_of(dnn.Dense(3, "tanh"), dnn.Dense(1), scale=kind, dtype="float64")
    by_us.adapt(x)
    by_hand = model_of(dnn.Input(9), dnn.Dense(3, "tanh"), dnn.Dense(1), dtype="float64")
    by_us.set_weights(by_hand.get_weights())
    scaled = SCALERS[kind]().fit_transform(x)
    # The last bit of the mean of the column around 1e8 is 1.5e-8 of its standard deviation.
    np.testing.assert_allclose(by_us.forward(x)[0].z, by_hand.forward(scaled)[0].z, atol=1e-7)
    np.testing.assert_allclose(by_us.predict(x), by_hand.predict(scaled), atol=1e-7)
    x[:, 2] -= 1e8
    by_us.adapt(x)
    scaled = SCALERS[kind]().fit_transform(x)
    np.testing.assert_allclose(by_us.forward(x)[0].z, by_hand.forward(scaled)[0].z, atol=1e-12)


def test_standard_scaling_weighs_rows_as_scikit_learn_does() -> None:
    x, weight = table(), np.random.default_rng(1).random(500)
    with np.errstate(invalid="ignore"):  # its variance of a constant column may be -1e-33
        scaler = preprocessing.StandardScaler().fit(x, sample_weight=weight)
    center, scale = learned("standard", x, sample_weight=weight)
    np.testing.assert_allclose(center, scaler.mean_, rtol=1e-12)
    # Column 6 is constant up to rounding: its variance, some 1e-20 of its square, is none.
    np.testing.assert_allclose(np.delete(scale, 6), np.delete(scaler.scale_, 6), rtol=1e-12)


@pytest.mark.parametrize("kind", SCALERS)
def test_a_row_of_weight_two_counts_as_two_rows(kind: str) -> None:
    x = table(101)
    weight = np.random.default_rng(2).integers(0, 4, 101)
    weighted = learned(kind, x, sample_weight=weight)
    if kind == "standard":
        repeated = learned(kind, np.repeat(x, weight, axis=0))
    else:
        # Different weights take the quantiles without interpolation; a tenth of all is the same weight.
        repeated = learned(kind, np.repeat(x, weight, axis=0), sample_weight=np.full(weight.sum(), 1.0))
        expected = np.quantile(
            np.repeat(x, weight, axis=0), [0.25, 0.5, 0.75], axis=0, method="averaged_inverted_cdf"
        )
        np.testing.assert_array_equal(weighted[0], expected[1])
        spread = expected[2] - expected[0]
        np.testing.assert_array_equal(weighted[1], np.where(spread < 1e-14, 1.0, spread))
        return
    np.testing.assert_allclose(weighted[0], repeated[0], rtol=1e-12)
    np.testing.assert_allclose(np.delete(weighted[1], 6), np.delete(repeated[1], 6), rtol=1e-12)


@pytest.mark.parametrize("kind", SCALERS)
def test_equal_weights_are_no_weights_and_rows_without_weight_are_not_seen(kind: str) -> None:
    x = table(60)
    weight = np.where(np.arange(60) < 40, 0.3, 0.0)
    for with_weight, without in zip(
        learned(kind, x, sample_weight=weight), learned(kind, x[:40]), strict=True
    ):
        np.testing.assert_allclose(with_weight, without, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", SCALERS)
def test_training_equals_training_on_data_scaled_by_hand(kind: str, dtype: str) -> None:
    x = table()[:, [0, 2, 3, 4, 7]]
    y = 1e4 + 300 * np.column_stack([x[:, 0], np.sin(x[:, 4])])
    model = model_of(dnn.Dense(6, "tanh"), dnn.Dense(2), scale=kind, scale_target=kind, dtype=dtype)
    history = model.fit(x, y, epochs=5, validation_split=0.25)
    # From the training rows alone.
    training, validation = _data.split(500, 0.25, None, 1)
    of_x, of_y = (SCALERS[kind]().fit(values[training]) for values in (x, y))
    by_hand = model_of(dnn.Dense(6, "tanh"), dnn.Dense(2), dtype=dtype)
    x_scaled, y_scaled = of_x.transform(x), of_y.transform(y)
    expected = by_hand.fit(
        x_scaled[training],
        y_scaled[training],
        epochs=5,
        validation_data=(x_scaled[validation], y_scaled[validation]),
    )
    # float64: the last bit of a mean, see above; float32: its rounding.
    tolerance = 1e-6 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(history.history["loss"], expected.history["loss"], rtol=tolerance)
    np.testing.assert_allclose(history.history["val_loss"], expected.history["val_loss"], rtol=tolerance)
    predicted = model.predict(x)
    np.testing.assert_allclose(predicted, of_y.inverse_transform(by_hand.predict(x_scaled)), rtol=tolerance)
    assert predicted.dtype == dtype
    assert np.abs(predicted - y).mean() < np.abs(y - y.mean(axis=0)).mean()
    # Every call takes numbers as they come, and sees them scaled.
    found, wanted = model.evaluate(x, y), by_hand.evaluate(x_scaled, y_scaled)
    assert found["loss"] == pytest.approx(wanted["loss"], rel=tolerance)
    np.testing.assert_allclose(
        model.loss_and_gradients(x, y)[1][0], by_hand.loss_and_gradients(x_scaled, y_scaled)[1][0], atol=1e-4
    )
    assert model.train_on_batch(x, y)["loss"] == pytest.approx(
        by_hand.train_on_batch(x_scaled, y_scaled)["loss"], rel=tolerance
    )


def test_a_second_fit_keeps_the_scaling_and_adapt_replaces_it() -> None:
    x = table()[:, :1]
    model = model_of(dnn.Dense(1), scale="standard", dtype="float64")
    model.fit(x, x, epochs=1)
    first = model._preparation.x
    model.fit(5 + 3 * x, x, epochs=1)
    assert model._preparation.x is first
    model.adapt(5 + 3 * x)
    assert model._preparation.x is not None
    np.testing.assert_allclose(model._preparation.x.center, 5 + 3 * x.mean(axis=0))


def test_the_file_and_the_pickle_scale_with_the_same_bits(tmp_path: Path) -> None:
    x = table()
    y = x[:, :1] * 100 + 5
    model = model_of(dnn.Dense(4, "relu"), dnn.Dense(1), scale="robust", scale_target="standard")
    model.fit(x, y, epochs=2)
    model.save(tmp_path / "model.dnn")
    model.save(tmp_path / "small.dnn", optimizer=False)
    expected = model.predict(x)
    for copy in (
        dnn.load(tmp_path / "model.dnn"),
        dnn.load(tmp_path / "small.dnn"),
        pickle.loads(pickle.dumps(model)),
    ):
        assert same_bits([copy.predict(x)], [expected])
    loaded = dnn.load(tmp_path / "model.dnn")
    for each in (model, loaded):
        each.fit(x, y, epochs=4, initial_epoch=2)
    assert same(model, loaded)


def test_a_row_is_predicted_alone_as_in_company_and_into_out() -> None:
    x = table()
    model = model_of(dnn.Dense(4, "relu"), dnn.Dense(2), scale="standard", scale_target="standard")
    model.fit(x, x[:, :2], epochs=1)
    out = np.empty((500, 2), np.float32)
    assert model.predict(x, out=out) is out
    for row in (0, 17, 499):
        assert same_bits([model.predict(x[row : row + 1])[0]], [out[row]])
    assert same_bits([model.predict(np.asfortranarray(x))], [out])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("widths", [(4, 2), (40, 17, 2)])
def test_predictions_are_scaled_as_numpy_scales_them(widths: tuple[int, ...], dtype: str) -> None:
    x = table()
    layers = [dnn.Dense(n, "tanh") for n in widths[:-1]]
    model = model_of(*layers, dnn.Dense(2), scale="standard", scale_target="robust", dtype=dtype)
    model.fit(x, 1e3 * x[:, :2] - 7, epochs=1)
    plain = model_of(dnn.Input(x.shape[1]), *layers, dnn.Dense(2), dtype=dtype)
    plain.set_weights(model.get_weights())
    of_x, of_y = model._preparation.x, model._preparation.y
    assert of_x is not None
    assert of_y is not None
    for kind in ("d", "f", "i8", ">f8", "f2"):
        given = np.clip(x, -1e4, 1e4).astype(kind)
        expected = plain.predict(of_x.apply(given).astype(dtype))
        of_y.undo(expected)
        for rows in (1, 7, 8, 30, 500):
            some = given[:rows]
            for same_numbers in (some, np.asfortranarray(some), np.repeat(some, 2, axis=0)[::2]):
                assert same_bits([model.predict(same_numbers)], [expected[:rows]]), (kind, rows)
                out = np.zeros((rows, 2), dtype)
                assert same_bits([model.predict(same_numbers, out=out)], [expected[:rows]]), (kind, rows)


def test_what_scaling_makes_of_a_prediction_is_refused_or_told_as_without() -> None:
    x = table()[:, :3]
    model = model_of(dnn.Dense(2), scale="standard", scale_target="standard")
    model.fit(x, 1e30 * x[:, :2], epochs=1)
    far = x[:40].copy()
    far[17, 1] = 1e300
    out = np.full((40, 2), 7, np.float32)
    for call in (lambda: model.predict(far), lambda: model.predict(far, out=out)):
        with pytest.raises(ValueError, match=r"x overflows float32 in 1 value, 1e\+300 at row 17, column 1"):
            call()
    assert np.all(out == 7)
    far[17, 1] = 1e30
    with pytest.warns(RuntimeWarning, match="predict gives NaN or infinity"):
        found = model.predict(far)
    assert np.isinf(found[17]).any()
    assert np.isfinite(found[:17]).all()


def test_another_loss_scales_outputs_back_as_its_own() -> None:
    x = table()[:, :1]
    model = model_of(dnn.Dense(2), scale_target="standard", dtype="float64")
    model.fit(x, 5 + 3 * x, epochs=1, loss="gaussian_nll")
    raw = x @ model.get_weights()[0] + model.get_weights()[1]
    of_y = model._preparation.y
    assert of_y is not None
    center, scale = of_y.center[0], of_y.scale[0]
    np.testing.assert_allclose(
        model.predict(x), np.column_stack([raw[:, 0] * scale + center, raw[:, 1] + 2 * np.log(scale)])
    )
    model.compile(loss=dnn.Quantile([0.1, 0.9]))
    np.testing.assert_allclose(model.predict(x), raw * scale + center)


def test_several_outputs_for_each_target_are_scaled_back_together() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2000, 1))
    y = 1e4 + 100 * np.column_stack([x[:, 0] + 0.1 * rng.normal(size=2000), 7 * x[:, 0]])
    quantiles = model_of(dnn.Dense(6), scale_target="standard", dtype="float64")
    quantiles.fit(x, y, epochs=30, loss=dnn.Quantile([0.1, 0.5, 0.9]), optimizer=dnn.Adam(0.03))
    low, _, high = (quantiles.predict(x)[:, columns] for columns in (slice(0, 2), slice(2, 4), slice(4, 6)))
    covered = ((y[:, 0] > low[:, 0]) & (y[:, 0] < high[:, 0])).mean()
    assert 0.7 < covered < 0.9
    normal = model_of(dnn.Dense(4), scale_target="standard", dtype="float64")
    normal.fit(x, y, epochs=100, loss="gaussian_nll", optimizer=dnn.Adam(0.03))
    out = normal.predict(x)
    np.testing.assert_allclose(out[:, :2].mean(axis=0), y.mean(axis=0), rtol=1e-2)
    assert np.exp(0.5 * out[:, 2]).mean() == pytest.approx(10.0, rel=0.2)  # the noise that was added


def test_classes_are_learned_from_scaled_inputs() -> None:
    x, y = table()[:, [0, 2]] * [1e-6, 1.0], (table()[:, 0] > 0).astype(int)
    model = model_of(dnn.Dense(2, "softmax"), scale="standard")
    model.fit(x, y, epochs=60, optimizer=dnn.Adam(0.05))
    assert (model.predict_classes(x) == y).mean() > 0.97


def test_names_of_columns_are_kept_and_compared(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table()[:, :2], columns=["a", "b"])
    model = model_of(dnn.Dense(1))
    assert model.feature_names is None
    model.fit(frame, frame["a"])
    assert model.feature_names == ("a", "b")
    model.save(tmp_path / "model.dnn")
    model = dnn.load(tmp_path / "model.dnn")
    assert model.feature_names == ("a", "b")
    model.predict(frame)
    model.predict(frame.to_numpy())
    for call in (
        lambda x: model.predict(x),
        lambda x: model.fit(x, frame["a"]),
        lambda x: model.evaluate(x, frame["a"]),
        lambda x: model.forward(x),
        lambda x: model.train_on_batch(x, frame["a"]),
    ):
        with pytest.raises(ValueError, match="another order"):
            call(frame[["b", "a"]])
        with pytest.raises(ValueError, match="lacks 'b' and has 'c'"):
            call(frame.rename(columns={"b": "c"}))
    polars = pytest.importorskip("polars")
    model.predict(polars.from_pandas(frame))


def test_columns_whose_variance_overflows_are_refused_and_not_taken_for_constant() -> None:
    x = table()
    model = model_of(dnn.Input(9), dnn.Dense(1), scale="standard", dtype="float64")
    with pytest.raises(ValueError, match="column 0 that are too large to be scaled"):
        model.fit(x * 1e300, x[:, 0], epochs=1)


def test_what_can_not_be_scaled_is_refused_and_changes_nothing() -> None:
    with pytest.raises(ValueError, match="scale must be 'standard', 'robust' or None"):
        model_of(dnn.Dense(1), scale="minmax")
    with pytest.raises(TypeError, match="scale_target"):
        model_of(dnn.Dense(1), scale_target=True)
    x = table()
    model = model_of(dnn.Dense(2, "softmax"), scale_target="standard")
    with pytest.raises(ValueError, match="scale_target is for regression"):
        model.fit(x, np.zeros(500, int))
    assert model.n_inputs is None
    model = model_of(dnn.Input(9), dnn.Dense(1), scale="standard", scale_target="robust")
    for call in (
        lambda: model.predict(x),
        lambda: model.evaluate(x, x[:, 0]),
        lambda: model.train_on_batch(x, x[:, 0]),
        lambda: model.forward(x),
    ):
        with pytest.raises(RuntimeError, match=r"adapt\(x, y\)"):
            call()
    with pytest.raises(ValueError, match="needs y"):
        model.adapt(x)
    with pytest.raises(ValueError, match="scales nothing"):
        model_of(dnn.Dense(1)).adapt(x)
    for bad, match in [(np.nan, "NaN or infinity in 1 value, nan at row 3, column 1"), (1e308, "too large")]:
        broken = x.copy()
        broken[3:200, 1] = [bad, *([0.0 if np.isnan(bad) else bad] * 196)]
        with pytest.raises(ValueError, match=match):
            model.fit(broken, x[:, 0])
    assert not model._preparation.is_ready
    model.adapt(x, x[:, 0])
    with pytest.raises(ValueError, match="9 values, the first inf at row 499, column 0"):
        model.fit(np.vstack([x[:499], [np.inf] * 9]), x[:, 0], sample_weight=None)


def test_a_loss_of_another_number_of_targets_is_refused_until_scales_are_learned_anew() -> None:
    x = table()[:, :2]
    y = 5 * x + 3
    model = model_of(dnn.Dense(2), scale_target="standard")
    model.fit(x, y, epochs=1)
    model.compile(loss="gaussian_nll")
    match = r"scale of 2 targets, but the loss 'gaussian_nll' on 2 outputs has 1 target; call adapt\(x, y\)"
    for call in (
        lambda: model.predict(x),
        lambda: model.evaluate(x, y[:, 0]),
        lambda: model.train_on_batch(x, y[:, 0]),
        lambda: model.fit(x, y[:, 0], epochs=1),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    model.adapt(x, y[:, 0])
    assert np.isfinite(model.predict(x)).all()
    model.compile(loss="mse")
    with pytest.raises(ValueError, match="scale of 1 target, but the loss 'mse' on 2 outputs has 2 targets"):
        model.evaluate(x, y)
