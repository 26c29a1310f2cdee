"""Estimators that go on: after a stop, with other settings, from a file; callbacks that look at weights."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

import itertools

from models import same_bits
from sklearn.datasets import load_iris

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
CLASSES = np.unique(Y)


def classifier(**settings: Any) -> dnn.MLPClassifier:
    return dnn.MLPClassifier(**{"hidden_layer_sizes": (16,), "max_iter": 20, "random_state": 1, **settings})


def test_a_stop_by_a_callback_ends_one_fit_and_not_those_after_it() -> None:
    model = classifier(warm_start=True, callbacks=[lambda epoch, logs: epoch == 4]).fit(X, Y)
    assert model.n_iter_ == 5
    model.fit(X, Y)
    assert model.n_iter_ == 5
    assert len(model.loss_curve_) == 10
    model.set_params(callbacks=None)
    pickle.loads(pickle.dumps(model)).fit(X, Y)
    model.fit(X, Y)
    assert model.n_iter_ == 20
    assert len(model.loss_curve_) == 30

    model = classifier(callbacks=[lambda epoch, logs: True])
    for times in range(1, 4):
        model.partial_fit(X, Y, classes=CLASSES)
        assert len(model.loss_curve_) == times


@pytest.mark.parametrize("scoring", [None, "f1_macro"])
def test_weights_that_a_callback_looks_at_are_those_of_the_moment(
    scoring: str | None,
) -> None:
    plain = classifier(early_stopping=True, scoring=scoring).fit(X, Y)
    seen: list[Any] = []

    def look(epoch: int, logs: dict[str, float]) -> None:
        seen.append([array.copy() for array in watched.coefs_])
        watched.predict(X[:3])

    watched = classifier(early_stopping=True, scoring=scoring, callbacks=[look])
    watched.fit(X, Y)
    assert same_bits(plain.coefs_ + plain.intercepts_, watched.coefs_ + watched.intercepts_)
    assert plain.loss_curve_ == watched.loss_curve_
    assert len(seen) == watched.n_iter_
    assert not any(same_bits(one, next_) for one, next_ in itertools.pairwise(seen))


def stopping(**settings: Any) -> dnn.MLPClassifier:
    # A rate far too high: the score is best soon, and gets worse.
    return classifier(
        **{"early_stopping": True, "n_iter_no_change": 4, "learning_rate_init": 0.5, **settings}
    )


def until_stopped(model: dnn.MLPClassifier, times: int = 200) -> dnn.MLPClassifier:
    for _ in range(times):
        model.partial_fit(X[:100], Y[:100], classes=CLASSES, X_val=X[100:], y_val=Y[100:])
        if model.stopped_:
            return model
    raise AssertionError(f"not stopped after {times} epochs")


def test_the_best_weights_of_many_calls_come_back_from_a_file_and_a_pickle(tmp_path: Path) -> None:
    whole = until_stopped(stopping())
    assert whole.score(X[100:], Y[100:]) == whole.best_validation_score_
    for way in ("file", "pickle"):
        model = stopping()
        for _ in range(len(whole.loss_curve_) - 1):
            model.partial_fit(X[:100], Y[:100], classes=CLASSES, X_val=X[100:], y_val=Y[100:])
        assert not model.stopped_
        if way == "file":
            model.save(tmp_path / "model.dnn")
            model = dnn.MLPClassifier.load(tmp_path / "model.dnn")
        else:
            model = pickle.loads(pickle.dumps(model))
        until_stopped(model, 1)
        assert same_bits(whole.coefs_ + whole.intercepts_, model.coefs_ + model.intercepts_), way


def test_the_best_weights_are_those_of_the_training_at_hand() -> None:
    model = until_stopped(stopping())
    first = model.coefs_[0].copy()
    # Another network, of other shapes: nothing of the first one may come back.
    model.set_params(hidden_layer_sizes=(7,)).fit(X, Y)
    until_stopped(model)
    assert model.coefs_[0].shape == (4, 7)
    assert first.shape == (4, 16)
    assert model.score(X[100:], Y[100:]) >= 0.0


def test_going_on_after_fit_keeps_what_fit_left_where_nothing_is_better() -> None:
    model = classifier(early_stopping=True, n_iter_no_change=5).fit(X, Y)
    left = [array.copy() for array in model.coefs_ + model.intercepts_]
    # No score is above 1, and from here on all are worse.
    model.best_validation_score_ = 2.0
    model.set_params(learning_rate_init=0.5)
    until_stopped(model)
    assert same_bits(left, model.coefs_ + model.intercepts_)


@pytest.mark.parametrize("way", ["partial_fit", "warm_start"])
def test_training_that_stopped_by_a_score_goes_on_without_one(way: str) -> None:
    model = classifier(early_stopping=True, warm_start=True).fit(X, Y)
    assert model.best_loss_ is None
    model.set_params(early_stopping=False)
    before = len(model.loss_curve_)
    model.partial_fit(X, Y) if way == "partial_fit" else model.fit(X, Y)
    assert len(model.loss_curve_) > before
    assert model.best_loss_ == min(model.loss_curve_[before:])


def test_gaussian_nll_by_its_name_is_the_loss_itself() -> None:
    rng = np.random.default_rng(0)
    y = X[:, 0] + rng.normal(0.0, 0.1, len(X))
    for targets in (y, np.column_stack([y, -y])):
        named, given = (
            dnn.MLPRegressor(hidden_layer_sizes=8, loss=loss, max_iter=50, random_state=1).fit(X, targets)
            for loss in ("gaussian_nll", dnn.GaussianNLL())
        )
        assert same_bits(named.coefs_, given.coefs_)
        assert named.predict(X).shape == targets.shape
        assert named.score(X, targets) == given.score(X, targets)


@pytest.mark.parametrize("activation", ["prelu", dnn.PReLU(), ["relu", "prelu"]])
def test_an_activation_that_learns_is_refused_with_the_way_out(activation: Any) -> None:
    hidden = (8, 8) if isinstance(activation, list) else (8,)
    for estimator in (dnn.MLPClassifier, dnn.MLPRegressor):
        with pytest.raises(ValueError, match=r"prelu.*leaky_relu, or dnn\.Sequential"):
            estimator(hidden_layer_sizes=hidden, activation=activation).fit(X, Y)
