"""Users' arrays: any type and layout is taken as it is, and never written; predictions go to their place."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from models import Table, model_of, same
from numpy.typing import NDArray

# Arrays as they come


def forms(x: NDArray[np.float32], folder: Path) -> dict[str, Any]:
    """The same numbers in many types and layouts. `x` holds small whole numbers, exact in all of them."""
    wide = np.zeros((2 * len(x), 2 * x.shape[1]), np.float32)
    wide[::2, 1::2] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    np.save(folder / "x.npy", x)
    swapped = x.astype(x.dtype.newbyteorder())
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    return {
        "float16": x.astype(np.float16),
        "float64": x.astype(np.float64),
        "longdouble": x.astype(np.longdouble),
        "int8": x.astype(np.int8),
        "int64": x.astype(np.int64),
        "uint16": (x + 8).astype(np.uint16) - np.float32(8),
        "strided": wide[::2, 1::2],
        "reversed": x[::-1].copy()[::-1],
        "column-major": np.asfortranarray(x),
        "read-only": frozen,
        "memory map": np.load(folder / "x.npy", mmap_mode="r"),
        "other byte order": swapped,
        "unaligned": unaligned,
        "list": x.tolist(),
        "tuple of rows": tuple(map(tuple, x.tolist())),
        "matrix": np.array(x).view(np.matrix),
        "object with __array__": Frame(x),
    }


class Frame:
    """What a DataFrame is to NumPy."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._values if dtype is None else self._values.astype(dtype)


def test_arrays_of_any_type_and_layout_are_taken_and_never_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    x = rng.integers(-8, 8, size=(40, 3)).astype(np.float32)
    y = x[:, :1] - x[:, 1:2]
    reference = model_of(dnn.Dense(4, "tanh"), dnn.Dense(1))
    reference.fit(x, y, epochs=2, sample_weight=np.arange(40) + 1)
    predicted = reference.predict(x)
    for name, form in forms(x, tmp_path).items():
        before = np.array(form, copy=True)
        model = model_of(dnn.Dense(4, "tanh"), dnn.Dense(1))
        model.fit(form, y.astype(np.float16), epochs=2, sample_weight=list(range(1, 41)))
        assert same(model, reference), name
        assert np.array_equal(model.predict(form), predicted), name
        assert np.array_equal(np.asarray(form), before), name


def test_tables_larger_than_a_block_arrive_whole() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(70_001, 5))  # 2.7 MiB: three blocks, the last one short
    model = model_of(dnn.Input(5), dnn.Dense(2, "tanh"))
    assert np.array_equal(model.predict(x), model.predict(x.astype(np.float32)))
    assert np.array_equal(model.forward(np.asfortranarray(x))[-1].a[-3:], model.predict(x[-3:]))


def test_large_finite_values_are_not_taken_for_infinite() -> None:
    x = np.full((100, 3), 3e38, np.float32)  # their sum overflows, they do not
    model = model_of(dnn.Input(3), dnn.Dense(1, "tanh"))
    assert np.all(np.isfinite(model.predict(x)))


def test_initial_weights_may_change_after_the_layer_is_made() -> None:
    start = np.ones((3, 1))
    layer = dnn.Dense(1, weight_initializer=start)
    start[:] = 9.0
    model = model_of(dnn.Input(3), layer)
    assert np.all(model.get_weights()[0] == 1.0)
    assert layer == dnn.Dense(1, weight_initializer=np.ones((3, 1)))


def test_bool_labels_and_whole_floats_are_labels(classes: Table) -> None:
    x, labels = classes
    models = [model_of(dnn.Dense(2, "softmax")) for _ in range(5)]
    two = (labels > 0).astype(int)
    given = [two, two.astype(bool), two.astype(np.float64), two[:, None], np.eye(2)[two]]
    for model, y in zip(models, given, strict=True):
        model.fit(x, y, epochs=2)
    assert all(same(model, models[0]) for model in models[1:4])
    for one, other in zip(models[0].get_weights(), models[4].get_weights(), strict=True):
        # One-hot rows go another way through the loss: equal up to rounding of float32.
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


# Predict


def test_predict_writes_into_out_and_returns_it() -> None:
    model = model_of(dnn.Input(3), dnn.Dense(2, "tanh"))
    x = np.random.default_rng(1).normal(size=(6, 3))
    out = np.empty((6, 2), np.float32)
    assert model.predict(x, out=out) is out
    assert np.array_equal(out, model.predict(x))


def test_prediction_of_a_row_does_not_depend_on_its_company() -> None:
    model = model_of(dnn.Input(3), dnn.Dense(33, "gelu"), dnn.Dense(2, "softmax"))
    x = np.random.default_rng(1).normal(size=(67, 3)).astype(np.float32)
    whole = model.predict(x)
    assert all(np.array_equal(model.predict(x[i : i + 1])[0], whole[i]) for i in range(67))


def test_predict_classes_of_every_kind_of_output() -> None:
    x = np.array([[2.0], [-2.0]])
    softmax, sigmoid, hinge = (
        model_of(dnn.Dense(2, "softmax")),
        model_of(dnn.Dense(1, "sigmoid")),
        model_of(dnn.Dense(1)),
    )
    softmax.set_weights([[[1.0, -1.0]], [0.0, 0.0]])
    for model in (sigmoid, hinge):
        model.set_weights([[[1.0]], [0.0]])
    hinge.compile(loss="hinge")
    for model, expected in ((softmax, [0, 1]), (sigmoid, [1, 0]), (hinge, [1, -1])):
        found = model.predict_classes(x)
        assert found.dtype == np.int64
        assert found.tolist() == expected


def test_a_frame_of_several_kinds_of_numbers_is_read_with_its_names() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [0.5, 1.5, 2.5], "k": ["u", "v", "u"]})
    mixed = pd.get_dummies(frame)
    assert np.asarray(mixed).dtype == object
    nullable = pd.DataFrame({"a": pd.array([1, 2, 3], "Int64"), "b": pd.array([0.5, 1.0, 2.0], "Float64")})
    for x in (mixed, nullable):
        plain = x.to_numpy(dtype=float)
        models = [dnn.Sequential([dnn.Dense(1)], seed=1) for _ in range(2)]
        for model, rows in zip(models, (x, plain), strict=True):
            model.fit(rows, [1.0, 2.0, 3.0], epochs=3, verbose=0)
        assert models[0].feature_names == tuple(x.columns)
        np.testing.assert_array_equal(models[0].predict(x), models[1].predict(plain))
    lacking = pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": [True, False]})
    with pytest.raises(ValueError, match="NaN or infinity in 1 value, nan at row 1, column 0"):
        dnn.Sequential([dnn.Dense(1)]).fit(lacking, [1.0, 2.0], verbose=0)
    for column in (["u", "v", "u"], pd.Categorical(["u", "v", "u"]), pd.to_datetime(["2020-01-01"] * 3)):
        with pytest.raises(TypeError, match="a column that is not of numbers, 'k'"):
            dnn.Sequential([dnn.Dense(1)]).fit(frame.assign(k=column), [1.0, 2.0, 3.0], verbose=0)


def test_a_frame_of_polars_with_strings_is_refused() -> None:
    pl = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"among them 'u' \(str\); a network takes numbers"):
        dnn.Sequential([dnn.Dense(1)]).fit(pl.DataFrame({"a": [0.5, 1.5], "k": ["u", "v"]}), [1.0, 2.0])
    mixed = pl.DataFrame({"a": [0.5, 1.5], "k": [True, False]})
    model = dnn.Sequential([dnn.Dense(1)], seed=1)
    assert model.fit(mixed, [1.0, 2.0], epochs=1, verbose=0).epochs == [0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_of_any_type_and_layout_are_taken_and_never_written(dtype: str, tmp_path: Path) -> None:
    weights = np.random.default_rng(5).integers(-8, 8, size=(6, 4)).astype(np.float32)
    model = model_of(dnn.Input(6), dnn.Dense(4), dtype=dtype)
    records = np.zeros((6, 4), [("tag", "i1"), ("number", dtype)])  # 5 or 9 bytes apart, and not aligned
    records["number"] = weights
    biases = np.zeros(4, [("number", dtype), ("tag", "i4")])
    biases["number"] = [1, 2, 3, 4]
    for name, form in {**forms(weights, tmp_path), "records": records["number"]}.items():
        before = np.array(form, np.float64)
        model.set_weights([form, biases["number"]])
        given = [weights.astype(dtype), np.arange(1, 5, dtype=dtype)]
        for array, expected in zip(model.get_weights(), given, strict=True):
            np.testing.assert_array_equal(array, expected, err_msg=name)
        np.testing.assert_array_equal(np.array(form, np.float64), before, err_msg=name)
    flat = np.zeros(28, records.dtype)
    flat["number"] = np.arange(28)
    model.flat_parameters = flat["number"]
    np.testing.assert_array_equal(model.flat_parameters, np.arange(28))


def test_who_wants_errors_from_numpy_gets_none_from_rounding_to_0() -> None:
    x, y = np.full((6, 2), 1e-60), np.full(6, 1e-200)
    x[0] = 1.0
    with np.errstate(all="raise"):
        for scale in (None, "standard", "robust"):
            model = dnn.Sequential([dnn.Dense(3, "tanh"), dnn.Dense(1)], seed=1, scale=scale)
            model.fit(x, y, epochs=2, verbose=0)
            assert np.isfinite(model.predict(x)).all()
        model.set_weights([np.full((2, 3), 1e-60), np.zeros(3), np.ones((3, 1)), np.zeros(1)])
        model.train_on_batch(x, y)


def test_arrays_are_taken_while_another_thread_imports_masked_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a module that is being imported there is only the beginning.
    monkeypatch.setitem(sys.modules, "numpy.ma", types.ModuleType("numpy.ma"))
    model = model_of(dnn.Dense(1))
    model.fit([[1.0], [2.0]], [1.0, 2.0], verbose=0)
    assert model.predict([[1.0]]).shape == (1, 1)


@pytest.mark.filterwarnings("ignore:Setting the (strides|shape):DeprecationWarning")
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_arrays_whose_layout_changes_meanwhile_are_read_as_they_were(loss: str) -> None:
    def fitted(change: bool) -> dnn.Sequential:
        x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
        y = x[:, :3].copy() if loss == "mse" else np.arange(60) % 3

        def disturb(epoch: int, logs: Any) -> None:
            if change:
                x.strides = (0, 4)
                y.shape = (*y.shape[::-1], 1)

        model = dnn.Sequential([dnn.Dense(3, "softmax" if loss == "cross_entropy" else None)], seed=1)
        model.fit(x, y, loss=loss, epochs=3, verbose=0, callbacks=[disturb])
        return model

    assert same(fitted(True), fitted(False))
