"""Means of the weights in the estimators, and losses that are functions."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from sklearn.base import clone
from sklearn.datasets import load_iris

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
# Numbers that depend on the columns.
Z = X[:, 0] * X[:, 1] + np.sin(X[:, 2])


def classifier(**settings: Any) -> dnn.MLPClassifier:
    given = {"hidden_layer_sizes": (8,), "max_iter": 6, "batch_size": 32, "random_state": 1, **settings}
    return dnn.MLPClassifier(**given)


def regressor(**settings: Any) -> dnn.MLPRegressor:
    given = {"hidden_layer_sizes": (8,), "max_iter": 6, "batch_size": 32, "random_state": 1, **settings}
    return dnn.MLPRegressor(**given)


class Steps(dnn.Callback):
    """The weights after each step, and those that stand in the model at the end of each epoch."""

    def __init__(self) -> None:
        self.steps: list[list[Any]] = []
        self.epochs: list[list[Any]] = []
        self.ends: list[int] = []

    def on_train_batch_end(self, batch: int, logs: Any) -> None:
        self.steps.append(self.model.get_weights())

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        self.ends.append(len(self.steps))
        self.epochs.append(self.model.get_weights())


def weights_of(model: Any) -> list[Any]:
    return [array for pair in zip(model.coefs_, model.intercepts_, strict=True) for array in pair]


def assert_weights(found: list[Any], expected: list[Any]) -> None:
    # In float64; a mean of some 30 steps rounds as often.
    for mine, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("make", "y"), [(classifier, Y), (regressor, Z)])
def test_a_moving_mean_over_the_steps_is_what_a_fit_leaves(make: Any, y: Any) -> None:
    steps = Steps()
    model = make(averaging=dnn.EMA(0.9), callbacks=[steps]).fit(X, y)
    mean = steps.steps[0]
    for weights in steps.steps[1:]:
        mean = [0.9 * m + 0.1 * w for m, w in zip(mean, weights, strict=True)]
    assert len(steps.steps) == 6 * 5
    assert_weights(weights_of(model), mean)
    assert not np.allclose(model.coefs_[0], steps.steps[-1][0])


def test_an_equal_mean_over_epochs_is_what_a_fit_leaves() -> None:
    steps = Steps()
    model = regressor(averaging=dnn.SWA(2, every=2), callbacks=[steps]).fit(X, Z)
    taken = [steps.steps[steps.ends[epoch] - 1] for epoch in (2, 4)]
    assert_weights(weights_of(model), [np.mean(arrays, axis=0) for arrays in zip(*taken, strict=True)])


def test_training_itself_does_not_see_the_mean() -> None:
    with_mean, without = classifier(averaging=dnn.EMA(0.9)).fit(X, Y), classifier().fit(X, Y)
    assert with_mean.loss_curve_ == without.loss_curve_
    assert not np.allclose(with_mean.coefs_[0], without.coefs_[0])
    none = classifier(averaging=dnn.EMA(0.0)).fit(X, Y)
    assert all(map(np.array_equal, weights_of(none), weights_of(without)))


def test_the_mean_is_scored_and_comes_back_where_its_score_is_best() -> None:
    # Rates so high that scores go up and down.
    steps, held = Steps(), slice(0, 150, 3)
    model = classifier(
        averaging=dnn.EMA(0.6),
        callbacks=[steps],
        early_stopping=True,
        n_iter_no_change=20,
        learning_rate_init=0.3,
        max_iter=12,
    ).fit(X, Y, X_val=X[held], y_val=Y[held])
    scores = []
    for weights in steps.epochs:
        other = classifier(max_iter=1).fit(X, Y)
        other.coefs_, other.intercepts_ = weights[::2], weights[1::2]
        scores.append(other.score(X[held], Y[held]))
    assert len(set(scores)) > 1
    np.testing.assert_allclose(model.validation_scores_, scores, rtol=1e-12)
    best = int(np.argmax(scores))
    assert all(map(np.array_equal, weights_of(model), steps.epochs[best]))


@pytest.mark.parametrize("rule", [dnn.EMA(0.9), dnn.SWA(3, every=2)])
def test_copies_and_files_know_the_rule(rule: Any, tmp_path: Path) -> None:
    model = classifier(averaging=rule).fit(X, Y)
    model.save(tmp_path / "model.dnn")
    copies = [pickle.loads(pickle.dumps(model)), dnn.MLPClassifier.load(tmp_path / "model.dnn")]
    for copy in [*copies, clone(model).fit(X, Y)]:
        assert copy.averaging == rule
        np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    # Going on starts from the mean, and has one of its own.
    again = [copy.set_params(warm_start=True).fit(X, Y).predict_proba(X) for copy in copies]
    np.testing.assert_array_equal(again[0], again[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"averaging": dnn.EMA}, r"averaging is the class EMA; make one of it: EMA\(\)"),
        ({"averaging": 0.9}, "averaging must be EMA"),
        ({"averaging": dnn.EMA(), "solver": "lbfgs"}, "L-BFGS ends at the lowest loss"),
    ],
)
def test_rules_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(**settings).fit(X, Y)


def test_a_partial_fit_refuses_a_mean() -> None:
    with pytest.raises(ValueError, match="partial_fit does not support averaging=EMA"):
        classifier(averaging=dnn.EMA()).partial_fit(X, Y, classes=[0, 1, 2])


def half_squares(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    return 0.5 * ((y_pred - y_true) ** 2).sum(axis=1), y_pred - y_true


def mean_of_half_squares(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    loss, gradient = half_squares(y_true, y_pred)
    return loss.mean(), gradient / len(y_true)


def cross_entropy(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    assert set(np.unique(y_true)) <= {0.0, 1.0}
    return -(y_true * np.log(y_pred)).sum(axis=1), -y_true / y_pred


def binary_cross_entropy(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    assert y_true.shape == y_pred.shape == (len(y_true), 1)
    loss = -(y_true * np.log(y_pred) + (1 - y_true) * np.log1p(-y_pred)).sum(axis=1)
    return loss, (y_pred - y_true) / (y_pred * (1 - y_pred))


WEIGHT = np.linspace(0.5, 2.0, len(X))


@pytest.mark.parametrize(
    ("make", "loss", "y", "weight"),
    [
        (regressor, half_squares, Z, None),
        (regressor, half_squares, Z, WEIGHT),
        (regressor, mean_of_half_squares, Z, None),
        (classifier, cross_entropy, Y, None),
        (classifier, cross_entropy, Y, WEIGHT),
        (classifier, binary_cross_entropy, Y > 0, None),
    ],
)
def test_a_function_that_is_the_usual_loss_teaches_what_that_teaches(
    make: Any, loss: Any, y: Any, weight: Any
) -> None:
    own, usual = make(loss=loss).fit(X, y, weight), make().fit(X, y, weight)
    assert_weights(weights_of(own), weights_of(usual))
    np.testing.assert_allclose(own.loss_curve_, usual.loss_curve_, rtol=1e-11)
    np.testing.assert_array_equal(own.predict(X), own.predict(X.copy()))
    loss_of_own, coefs, _ = own.loss_gradient(X, y, weight)
    loss_of_usual, usual_coefs, _ = usual.loss_gradient(X, y, weight)
    assert loss_of_own == pytest.approx(loss_of_usual, rel=1e-9)
    for mine, their in zip(coefs, usual_coefs, strict=True):
        np.testing.assert_allclose(mine, their, rtol=1e-8, atol=1e-11)


def test_a_loss_that_is_a_function_goes_with_copies_and_not_into_files(tmp_path: Path) -> None:
    model = regressor(loss=half_squares).fit(X, Z)
    for copy in (pickle.loads(pickle.dumps(model)), clone(model).fit(X, Z)):
        np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    assert regressor(loss=half_squares, warm_start=True).fit(X, Z).fit(X, Z).n_iter_ == 6
    with pytest.warns(UserWarning, match="loss="):
        model.save(tmp_path / "model.dnn")
    np.testing.assert_array_equal(dnn.MLPRegressor.load(tmp_path / "model.dnn").predict(X), model.predict(X))


def test_what_a_loss_raises_comes_out_of_the_fit() -> None:
    def failing(y_true: Any, y_pred: Any) -> Any:
        raise ArithmeticError("as I like")

    with pytest.raises(ArithmeticError, match="as I like"):
        regressor(loss=failing).fit(X, Z)
    with pytest.raises(TypeError, match=r"must return \(loss, gradient\)"):
        regressor(loss=lambda y_true, y_pred: 1.0).fit(X, Z)
