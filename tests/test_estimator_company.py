"""Estimators as users of scikit-learn meet them: a shared random state, rows to validate on, odd targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils._param_validation import InvalidParameterError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).normal(size=(60, 4))
LABELS = (X[:, 0] > 0).astype(int)
NUMBERS = 2 * X[:, 0]


def classifier(**settings: Any) -> dnn.MLPClassifier:
    return dnn.MLPClassifier(**{"hidden_layer_sizes": (8,), "max_iter": 20, "random_state": 0, **settings})


def regressor(**settings: Any) -> dnn.MLPRegressor:
    return dnn.MLPRegressor(**{"hidden_layer_sizes": (8,), "max_iter": 20, "random_state": 0, **settings})


@pytest.mark.parametrize(
    "settings", [{}, {"early_stopping": True}, {"max_iter": 1}, {"shuffle": False}, {"batch_size": 16}]
)
def test_a_shared_random_state_is_left_as_scikit_learn_leaves_it(settings: dict[str, Any]) -> None:
    states = []
    for made in (MLPClassifier, dnn.MLPClassifier):
        rng = np.random.RandomState(0)
        model = made(**{"hidden_layer_sizes": (8,), "max_iter": 20, "random_state": rng, **settings})
        found = [model.fit(X, LABELS).coefs_[0].copy() for _ in range(2)]
        states.append((found, rng.rand()))
    for theirs, ours in zip(*(found for found, _ in states), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert states[0][1] == states[1][1]


def test_the_global_random_state_gives_scikit_learns_scores() -> None:
    scores = []
    for made in (MLPRegressor, dnn.MLPRegressor):
        np.random.seed(0)  # noqa: NPY002
        scores.append(cross_val_score(made(hidden_layer_sizes=(8,), max_iter=20), X, NUMBERS))
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-9)


@pytest.mark.parametrize("given", ["a", -1, 1.5, np.random.default_rng(0)])
def test_a_random_state_that_is_none_is_refused_by_its_name(given: Any) -> None:
    with pytest.raises(InvalidParameterError, match="MLPClassifier: random_state must be"):
        classifier(random_state=given).fit(X, LABELS)


@pytest.mark.parametrize(
    ("X_val", "y_val", "message"),
    [
        (X[:3], [1], "row by row: 3 rows and 1"),
        (X[:1], [1, 0, 0], "row by row: 1 rows and 3"),
        (X[:3], 1, "row by row: 3 rows and 0"),
        (X[:3], [0.0, 1.0, np.nan], "y_val contains NaN"),
        (X[:3], [0.0, 1.0, np.inf], "y_val contains infinity"),
    ],
)
def test_targets_to_validate_with_have_to_fit_their_rows(X_val: Any, y_val: Any, message: str) -> None:
    for model, y in ((classifier(early_stopping=True), LABELS), (regressor(early_stopping=True), NUMBERS)):
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, X_val=X_val, y_val=y_val)


def test_targets_to_validate_with_have_as_many_columns() -> None:
    two = np.column_stack([NUMBERS, 99 + 0 * NUMBERS])
    with pytest.raises(ValueError, match="y_val has 2 columns, but y has 1 target"):
        regressor(early_stopping=True).fit(X, NUMBERS, X_val=X[:3], y_val=two[:3])
    with pytest.raises(ValueError, match="y_val has 1 column, but y has 2 targets"):
        regressor().fit(X, two, X_val=X[:3], y_val=NUMBERS[:3])
    model = regressor(early_stopping=True).fit(X, NUMBERS, X_val=X[:3], y_val=NUMBERS[:3, None])
    assert np.isfinite(model.validation_scores_).all()


def test_rows_to_validate_on_have_to_weigh_something() -> None:
    for model, y in ((classifier(early_stopping=True), LABELS), (regressor(early_stopping=True), NUMBERS)):
        refused = 0
        for row in range(12):
            # Now and then the row is among the six that are held back.
            try:
                model.fit(X, y, np.eye(60)[row])
            except ValueError as error:
                refused += "validate on all weigh 0" in str(error)
        assert refused > 6


def test_balanced_classes_may_leave_out_one_whose_rows_weigh_nothing() -> None:
    weights = LABELS.astype(float)
    balanced = classifier(class_weight="balanced").fit(X, LABELS, weights)
    plain = classifier().fit(X, LABELS, weights)
    assert balanced.predict(X).shape == LABELS.shape
    # One class is left, and its rows weigh half of what they did.
    assert balanced.loss_ == pytest.approx(plain.loss_, rel=1e-2)


@pytest.mark.parametrize(
    "y", [NUMBERS.astype(str), np.arange(60).astype("M8[D]"), np.arange(60).astype("m8[s]")]
)
def test_text_and_dates_are_no_numbers(y: Any) -> None:
    with pytest.raises(ValueError, match="y has to be numbers, got an array of"):
        regressor().fit(X, y)


def test_labels_that_are_none_are_told_in_a_line() -> None:
    with pytest.raises(ValueError, match="Unknown label type: continuous") as caught:
        classifier().fit(X, NUMBERS)
    assert len(str(caught.value)) < 300


def test_learning_rate_is_the_one_that_was_used() -> None:
    halved = dnn.LearningRateScheduler(lambda epoch, rate: 0.25)
    for settings, rate in (
        ({}, 0.001),
        ({"learning_rate_init": 0.02}, 0.02),
        ({"solver": dnn.SGD(0.1)}, 0.1),
        ({"solver": dnn.Adam(0.02)}, 0.02),
        ({"solver": dnn.SGD(0.1), "callbacks": [halved]}, 0.25),
    ):
        assert classifier(**settings).fit(X, LABELS).learning_rate_ == rate
    falling = classifier(solver=dnn.SGD(dnn.CosineDecay(0.1))).fit(X, LABELS)
    assert 0 <= falling.learning_rate_ < 0.1


def test_a_solver_with_a_schedule_is_kept_in_the_file(tmp_path: Path) -> None:
    solver = dnn.SGD(dnn.CosineDecay(0.1))
    classifier(solver=solver).fit(X, LABELS).save(tmp_path / "model.dnn")
    model = dnn.MLPClassifier.load(tmp_path / "model.dnn")
    assert model.solver == solver
    model.fit(X, LABELS)


def test_a_callback_that_watches_what_estimators_do_not_measure_is_told_what_they_do() -> None:
    with pytest.raises(ValueError, match="monitor='validation_score', and mode='max'"):
        classifier(early_stopping=True, callbacks=[dnn.ReduceLROnPlateau()]).fit(X, LABELS)
    plateau = dnn.ReduceLROnPlateau("validation_score", mode="max")
    classifier(early_stopping=True, callbacks=[plateau]).fit(X, LABELS)
