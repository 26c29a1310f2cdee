"""Predictions of the estimators: ordinary arrays take a short way, on which nothing may be different."""

from __future__ import annotations

import re
from typing import Any

import dnn
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

import sklearn
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_array, validate_data

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS, COLUMNS = 300, 7


def fitted(make: Any = dnn.MLPClassifier, **settings: Any) -> Any:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, COLUMNS))
    y = x[:, 0] if make is dnn.MLPRegressor else np.array(["a", "b", "c"])[rng.integers(0, 3, ROWS)]
    return make(hidden_layer_sizes=(9,), max_iter=3, random_state=1, **settings).fit(x, y)


def whole_numbers() -> Any:
    """Rows that every type of numbers holds."""
    return np.random.default_rng(5).integers(0, 100, (ROWS, COLUMNS))


def strided(x: Any) -> Any:
    wide = np.zeros((2 * len(x), 2 * x.shape[1]))
    wide[::2, ::2] = x
    return wide[::2, ::2]


def read_only(x: Any) -> Any:
    x = x.astype(float)
    x.flags.writeable = False
    return x


def unaligned(x: Any) -> Any:
    room = np.zeros(x.size * 8 + 1, np.uint8)[1:].view("f8").reshape(x.shape)
    room[:] = x
    return room


ARRAYS = {
    **{
        name: lambda x, name=name: x.astype(name)
        for name in ("f8", "f4", "f2", ">f8", "i8", "u1", "longdouble")
    },
    "columns first": lambda x: np.asfortranarray(x, dtype=float),
    "strided": strided,
    "reversed": lambda x: x[::-1, ::-1][::-1, ::-1].astype(float),
    "read-only": read_only,
    "unaligned": unaligned,
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 9, ROWS])
def test_arrays_of_any_kind_predict_what_their_checked_copies_predict(
    kind: str, dtype: str, rows: int
) -> None:
    model = fitted(dtype=dtype)
    given = ARRAYS[kind](whole_numbers())[:rows]
    before = given.copy()
    checked = check_array(given, dtype=dtype, order="C")
    outputs = np.empty((rows, 3), dtype)
    model._model._network.predict(checked, outputs, 1)
    assert model._outputs_at_once(given) is not None
    found = model.predict_proba(given)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, outputs)
    np.testing.assert_array_equal(model.predict(given), model.classes_[outputs.argmax(axis=1)])
    np.testing.assert_array_equal(given, before)


def test_a_table_of_many_blocks_is_converted_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnn._arrays, "BLOCK_BYTES", 8 * COLUMNS * 37)
    model = fitted(dnn.MLPRegressor)
    x = whole_numbers()
    np.testing.assert_array_equal(model.predict(x), model.predict(x.astype(float)))


REFUSED: dict[str, Any] = {
    "NaN": np.full((ROWS, COLUMNS), np.nan),
    "infinity": np.full((2, COLUMNS), np.inf, np.float32),
    "too large": np.full((2, COLUMNS), 1e300),
    "narrow": np.ones((3, COLUMNS - 1)),
    "one row": np.ones(COLUMNS),
    "three dimensions": np.ones((2, 2, COLUMNS)),
    "no rows": np.ones((0, COLUMNS)),
    "no columns": np.ones((3, 0)),
    "complex": np.ones((3, COLUMNS), complex),
    "strings": np.full((3, COLUMNS), "a"),
    "a number": np.array(1.0),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("make", [dnn.MLPClassifier, dnn.MLPRegressor])
def test_what_cannot_be_predicted_is_refused_in_the_words_of_scikit_learn(make: Any, kind: str) -> None:
    model = fitted(make, dtype="float32" if kind == "too large" else "float64")
    x = REFUSED[kind]
    with pytest.raises(ValueError) as refused:
        validate_data(model, x, accept_sparse="csr", dtype=model._model.dtype, order="C", reset=False)
    with pytest.raises(ValueError, match=re.escape(str(refused.value))):
        model.predict(x)


@pytest.mark.parametrize("make", [dnn.MLPClassifier, dnn.MLPRegressor])
def test_a_value_that_is_not_finite_is_found_wherever_it_lies(make: Any) -> None:
    model = fitted(make)
    for place in (0, ROWS * COLUMNS // 2, ROWS * COLUMNS - 1):
        for value in (np.nan, np.inf, -np.inf):
            for dtype in (np.float64, np.float32):
                x = whole_numbers().astype(dtype)
                x.flat[place] = value
                with pytest.raises(ValueError, match="NaN" if np.isnan(value) else "infinity"):
                    model.predict(x)


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_fit_refuses_what_is_not_finite_and_leaves_the_estimator_alone(layout: Any, value: float) -> None:
    x = np.array(whole_numbers(), dtype=float, order=layout)
    model = fitted()
    before = model.predict_proba(x)
    x[-1, -1] = value
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        model.fit(x, np.zeros(ROWS, int))
    x[-1, -1] = 0.0
    assert model.classes_.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(model.predict_proba(np.array(whole_numbers(), dtype=float)), before)
    x[3, 2] = value
    with sklearn.config_context(assume_finite=True), pytest.raises(ValueError, match="NaN or infinity"):
        model.fit(x, np.zeros(ROWS, int))


def test_an_array_without_names_is_warned_of_where_there_were_names() -> None:
    pandas = pytest.importorskip("pandas", reason="names come with a frame")
    frame = pandas.DataFrame(whole_numbers().astype(float), columns=list("abcdefg"))
    model = dnn.MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=1).fit(frame, frame["a"])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        without = model.predict(frame.to_numpy())
    np.testing.assert_array_equal(model.predict(frame), without)


def test_weights_that_were_changed_in_place_predict_on_the_short_way_too() -> None:
    model, x = fitted(dnn.MLPRegressor), np.ones((2, COLUMNS))
    model.coefs_[-1][:] = 0.0
    model.intercepts_[-1][:] = 5.0
    assert model._outputs_at_once(x).tolist() == [[5.0], [5.0]]


def test_an_estimator_that_is_not_fitted_says_so() -> None:
    with pytest.raises(NotFittedError):
        dnn.MLPClassifier().predict(np.ones((2, 3)))
