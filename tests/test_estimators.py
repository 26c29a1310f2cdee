"""MLPClassifier and MLPRegressor against scikit-learn's, with the same settings and random state."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import dnn
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

import sklearn
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.preprocessing import StandardScaler

SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
HAS_ROW_WEIGHTS = "sample_weight" in inspect.signature(TheirClassifier.fit).parameters


@pytest.fixture(autouse=True)
def _unfinished_is_no_news() -> Iterator[None]:
    """Most tests train for a few epochs, of which both estimators warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def digits() -> tuple[Any, Any]:
    x, y = load_digits(return_X_y=True)
    return x[:500] / 16, y[:500]


def diabetes() -> tuple[Any, Any]:
    x, y = load_diabetes(return_X_y=True)
    return x, (y - y.mean()) / y.std()


SETTINGS: list[dict[str, Any]] = [
    {},
    {"hidden_layer_sizes": (20, 10), "activation": "tanh", "batch_size": 33, "alpha": 0.1},
    {"hidden_layer_sizes": (), "batch_size": 50},
    {"activation": "logistic", "shuffle": False, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4},
    {"activation": "identity", "solver": "sgd"},
    {"solver": "sgd", "momentum": 0.5, "nesterovs_momentum": False, "learning_rate": "invscaling"},
    {"solver": "sgd", "momentum": 0.0, "learning_rate": "adaptive", "tol": 0.02, "n_iter_no_change": 1},
    {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-4},
    {"tol": 0.05, "n_iter_no_change": 2, "max_iter": 100},
    {"early_stopping": True, "max_iter": 60, "n_iter_no_change": 3, "learning_rate_init": 0.01},
    {
        "early_stopping": True,
        "validation_fraction": 0.3,
        "solver": "sgd",
        "learning_rate": "adaptive",
        "tol": 1e-2,
    },
]


def assert_same(ours: Any, theirs: Any, x: Any) -> None:
    """Both have learned the same, epoch by epoch, but for rounding in the last places, which grows."""
    assert (ours.n_iter_, ours.t_, ours.n_layers_) == (theirs.n_iter_, theirs.t_, theirs.n_layers_)
    assert (ours.n_outputs_, ours.out_activation_) == (theirs.n_outputs_, theirs.out_activation_)
    for mine, their in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert mine.dtype == their.dtype
        np.testing.assert_allclose(mine, their, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=1e-10)
    for name in ("best_loss_", "validation_scores_", "best_validation_score_"):
        mine, their = getattr(ours, name), getattr(theirs, name)
        assert (mine is None) == (their is None), name
        if their is not None:
            np.testing.assert_allclose(mine, their, rtol=1e-10)
    mine, their = ours.predict(x), theirs.predict(x)
    assert (mine.shape, mine.dtype) == (their.shape, their.dtype)
    if mine.dtype.kind == "f":
        np.testing.assert_allclose(mine, their, rtol=1e-7, atol=1e-9)
    else:
        np.testing.assert_array_equal(mine, their)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", ["ten classes", "two classes", "strings", "labels"])
def test_the_classifier_learns_what_scikit_learns_learns(kind: str, settings: dict[str, Any]) -> None:
    x, y = digits()
    targets = {
        "ten classes": y,
        "two classes": y > 4,
        "strings": np.array(["odd", "even", "four"], dtype=object)[np.where(y == 4, 2, 1 - y % 2)],
        "labels": np.column_stack([y > 4, y % 2, y == 3]).astype(int),
    }[kind]
    settings = {"max_iter": 15, "random_state": 3, **settings}
    ours, theirs = dnn.MLPClassifier(**settings).fit(x, targets), TheirClassifier(**settings)
    if kind == "strings" and settings.get("early_stopping") and SKLEARN < (1, 9):
        # Its validation knows numbers only; they have the order of the words, which it is told of later.
        words, numbers = np.unique(targets, return_inverse=True)
        theirs.fit(x, numbers)
        theirs.classes_ = words
        theirs._label_binarizer.fit(targets)
    else:
        theirs.fit(x, targets)
    assert_same(ours, theirs, x)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert ours.score(x, targets) == theirs.score(x, targets)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_regressor_learns_what_scikit_learns_learns(outputs: int, settings: dict[str, Any]) -> None:
    x, y = diabetes()
    targets = y if outputs == 1 else np.column_stack([y, 10 * x[:, 0], y**2])
    settings = {"max_iter": 15, "random_state": 4, **settings}
    ours, theirs = dnn.MLPRegressor(**settings).fit(x, targets), TheirRegressor(**settings).fit(x, targets)
    assert_same(ours, theirs, x)
    assert ours.score(x, targets) == pytest.approx(theirs.score(x, targets), rel=1e-9)


@pytest.mark.skipif(not HAS_ROW_WEIGHTS, reason="scikit-learn weighs rows from 1.7 on")
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_weighted_rows_teach_what_they_teach_scikit_learn(settings: dict[str, Any]) -> None:
    settings = {"max_iter": 15, "random_state": 5, **settings}
    (x, y), (x_2, y_2) = digits(), diabetes()
    weights = np.random.default_rng(1).uniform(0.1, 3.0, len(x))
    ours, theirs = dnn.MLPClassifier(**settings), TheirClassifier(**settings)
    assert_same(ours.fit(x, y, weights), theirs.fit(x, y, weights), x)
    mine, their = dnn.MLPRegressor(**settings), TheirRegressor(**settings)
    weights = weights[: len(x_2)]
    assert_same(mine.fit(x_2, y_2, weights), their.fit(x_2, y_2, weights), x_2)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fits_and_a_warm_start_go_on_as_scikit_learn_goes_on(solver: str) -> None:
    x, y = digits()
    settings = {"solver": solver, "random_state": 6, "batch_size": 64}
    ours, theirs = dnn.MLPClassifier(**settings), TheirClassifier(**settings)
    for start in range(0, 400, 100):
        for estimator in (ours, theirs):
            estimator.partial_fit(x[start : start + 100], y[start : start + 100], classes=range(10))
    assert_same(ours, theirs, x)
    settings = {**settings, "warm_start": True, "max_iter": 5, "tol": 0.01, "n_iter_no_change": 2}
    ours, theirs = dnn.MLPClassifier(**settings), TheirClassifier(**settings)
    for _ in range(6):
        assert_same(ours.fit(x, y), theirs.fit(x, y), x)
        assert ours._no_improvement_count == theirs._no_improvement_count


def test_float32_inputs_are_trained_on_in_float32() -> None:
    x, y = digits()
    ours = dnn.MLPClassifier(max_iter=5, random_state=7).fit(x.astype(np.float32), y)
    theirs = TheirClassifier(max_iter=5, random_state=7).fit(x.astype(np.float32), y)
    for mine, their in zip(ours.coefs_, theirs.coefs_, strict=True):
        assert mine.dtype == their.dtype == np.float32
        # 15 steps of Adam, whose direction of tiny gradients depends on rounding.
        np.testing.assert_allclose(mine, their, atol=2e-4)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-5)
    as_wished = dnn.MLPClassifier(max_iter=5, random_state=7, dtype="float32").fit(x, y)
    np.testing.assert_array_equal(as_wished.coefs_[0], ours.coefs_[0])
    assert as_wished.predict_proba(x).dtype == np.float32


@pytest.mark.parametrize(
    "settings", [{}, {"early_stopping": True}, {"solver": "sgd", "learning_rate": "adaptive"}]
)
def test_verbose_prints_what_scikit_learn_prints(settings: dict[str, Any], capsys: Any) -> None:
    x, y = digits()
    settings = {
        "max_iter": 30,
        "tol": 0.1,
        "n_iter_no_change": 2,
        "random_state": 1,
        "verbose": True,
        **settings,
    }
    dnn.MLPClassifier(**settings).fit(x, y)
    ours = capsys.readouterr().out
    TheirClassifier(**settings).fit(x, y)
    assert ours == capsys.readouterr().out
    assert "Iteration 1, loss = " in ours


def test_the_loss_gradient_is_that_of_scikit_learn_and_of_central_differences() -> None:
    x, y = digits()
    weights = np.random.default_rng(2).uniform(0.5, 2.0, len(x))
    ours = dnn.MLPClassifier((7,), activation="tanh", alpha=3.0, max_iter=3, random_state=8).fit(x, y)
    loss, coefs, intercepts = ours.loss_gradient(x, y, weights)
    for layer in (0, 1):
        for arrays, gradients in ((ours.coefs_, coefs), (ours.intercepts_, intercepts)):
            at = (3, 4) if arrays[layer].ndim == 2 else (4,)
            around = []
            for step in (1e-5, -2e-5):
                arrays[layer][at] += step
                around.append(ours.loss_gradient(x, y, weights)[0])
            arrays[layer][at] += 1e-5
            # Central differences in float64 are exact to about h^2 and eps / h.
            assert gradients[layer][at] == pytest.approx((around[0] - around[1]) / 2e-5, rel=1e-6, abs=1e-9)
    assert loss > 0


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_digits])
def test_float32_is_as_accurate_as_scikit_learn_on_classes(load: Any) -> None:
    x, y = load(return_X_y=True)
    scores = []
    for seed in range(4):
        x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=seed, stratify=y)
        scaler = StandardScaler().fit(x_train)
        settings = {"max_iter": 60, "random_state": seed}
        theirs = TheirClassifier(**settings).fit(scaler.transform(x_train), y_train)
        ours = dnn.MLPClassifier(**settings, dtype="float32").fit(scaler.transform(x_train), y_train)
        scores.append([model.score(scaler.transform(x_test), y_test) for model in (ours, theirs)])
    mine, their = np.mean(scores, axis=0)
    # The same first weights and batches: what float32 changes is a row or two of the test set.
    assert mine == pytest.approx(their, abs=0.02)
    assert mine > 0.9


def test_float32_is_as_accurate_as_scikit_learn_on_numbers() -> None:
    x, y = load_diabetes(return_X_y=True)
    for seed in range(3):
        x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=seed)
        settings = {"max_iter": 300, "random_state": seed, "learning_rate_init": 0.02}
        theirs = TheirRegressor(**settings).fit(x_train, y_train).score(x_test, y_test)
        ours = dnn.MLPRegressor(**settings, dtype="float32").fit(x_train, y_train).score(x_test, y_test)
        assert ours == pytest.approx(theirs, abs=0.02)


@pytest.mark.parametrize("pair", [(dnn.MLPClassifier, TheirClassifier), (dnn.MLPRegressor, TheirRegressor)])
def test_all_parameters_of_scikit_learn_are_there_with_their_defaults(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair[0]().get_params(), pair[1]().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    assert clone(pair[0](alpha=3)).alpha == 3
