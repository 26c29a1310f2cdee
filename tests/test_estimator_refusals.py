"""What the estimators refuse or warn of: in words that name the parameter, and as scikit-learn does it."""

from __future__ import annotations

from typing import Any

import dnn
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from sklearn.linear_model import LogisticRegression

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(11)
X = RNG.normal(size=(60, 3))
Y = np.arange(60) % 2
BOTH = np.stack([Y, np.arange(60) % 3 == 0], axis=1).astype(int)


def classifier(**settings: Any) -> dnn.MLPClassifier:
    return dnn.MLPClassifier(**{"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 1, **settings})


# ---- class_weight ------------------------------------------------------------------------------------------


def test_a_list_of_class_weights_is_refused_where_rows_have_one_label() -> None:
    with pytest.raises(ValueError, match=r"class_weight is a list.*for several labels; give a dict"):
        classifier(class_weight=[{0: 1.0, 1: 2.0}]).fit(X, Y)


@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"], [-1, 2]], ids=str)
def test_labels_of_class_weight_are_refused_where_scikit_learn_refuses_them(labels: list[Any]) -> None:
    y, stranger = np.array(labels)[Y], "maybe" if isinstance(labels[0], str) else 7
    low, high = labels
    for given in ({low: 2.0, high: 3.0, stranger: 9.0}, {high: 3.0}, {}):
        LogisticRegression(class_weight=given).fit(X, y)
        classifier(class_weight=given).fit(X, y)
    for given in ({low: 2.0, stranger: 9.0}, {stranger: 9.0}):
        with pytest.raises(ValueError, match="not in class_weight"):
            LogisticRegression(class_weight=given).fit(X, y)
        with pytest.raises(ValueError, match=rf"class_weight has the labels .*{stranger}.*leaves out"):
            classifier(class_weight=given).fit(X, y)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({0: 1.0, 1: -2.0}, r"class_weight\[1\] must be a finite number at least 0, got -2.0"),
        ({0: 1.0, 1: float("nan")}, r"class_weight\[1\] must be a finite number at least 0, got nan"),
        ({0: 1.0, 1: "two"}, r"class_weight\[1\] must be a finite number at least 0, got 'two' \(str\)"),
        ({0: 0.0, 1: 0.0}, "class_weight is zero for all classes that are there"),
        ([1.0, 2.0], r"class_weight must be a dict, 'balanced' or None, got \[1.0, 2.0\]"),
        (3, "class_weight must be a dict, 'balanced' or None, got 3"),
    ],
)
def test_a_wrong_weight_of_a_class_is_not_reported_as_one_of_a_row(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(class_weight=given).fit(X, Y)
    of_labels = [given, {0: 1.0, 1: 1.0}] if isinstance(given, dict) else given
    if given != {0: 0.0, 1: 0.0}:  # of several labels, each has its weights
        with pytest.raises(ValueError, match=message):
            classifier(class_weight=of_labels).fit(X, BOTH)


# ---- scoring, averaging, threads ---------------------------------------------------------------------------


def test_a_score_that_nothing_is_validated_by_is_warned_of() -> None:
    model = classifier(scoring="f1", max_iter=2)
    with pytest.warns(UserWarning, match="scoring='f1' is not used, for no rows are validated; pass X_val"):
        model.fit(X, Y)
    with pytest.warns(UserWarning, match="with another solver than L-BFGS"):
        classifier(scoring="f1", solver="lbfgs", early_stopping=True).fit(X, Y)
    # Where there are such rows, nothing is said: warnings are errors here.
    assert len(model.fit(X, Y, X_val=X, y_val=Y).validation_scores_) == 2
    assert len(model.set_params(early_stopping=True).fit(X, Y).validation_scores_) == 2


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        ("acuracy", "acuracy"),
        (["f1", "accuracy"], r"scoring must be one score, .*got \['f1', 'accuracy'\]"),
        ({"f1": "f1"}, "scoring must be one score"),
        (3, "scoring"),
    ],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_score_that_there_is_not_is_refused_whether_it_is_used_or_not(
    scoring: Any, message: str, early_stopping: bool
) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(scoring=scoring, early_stopping=early_stopping).fit(X, Y)


def test_an_average_that_training_ends_before_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"no average was taken: SWA\(3\) .* ended with epoch 2;"):
        late = classifier(averaging=dnn.SWA(3)).fit(X, Y)
    np.testing.assert_array_equal(late.coefs_[0], classifier().fit(X, Y).coefs_[0])
    begun = classifier(averaging=dnn.SWA(2)).fit(X, Y)  # no warning
    assert begun.n_iter_ == 3


def test_a_bad_number_of_threads_in_the_environment_is_refused_by_small_predictions_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, x = classifier(dtype="float32").fit(X, Y), X[:1].astype(np.float32)
    monkeypatch.setattr(
        "dnn._threads.environment_is_checked", False
    )  # as in a process that has just loaded it
    monkeypatch.setenv("DNN_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="environment variable DNN_NUM_THREADS is 'many'"):
        model.predict(x)
    model.set_params(n_threads=1).predict(x)  # a number of its own


def test_what_is_too_large_is_refused_with_both_bounds_or_means_infinity() -> None:
    with pytest.raises(
        ValueError, match=r"learning_rate_init must be .* above 0 and at most 1e\+15, got 1e\+30"
    ):
        classifier(learning_rate_init=1e30).fit(X, Y)
    with pytest.raises(
        ValueError, match="n_hidden_layers must be a whole number from 0 to 10000, got 1000000000"
    ):
        classifier(n_hidden_layers=10**9).fit(X, Y)
    # The rate becomes 0 after the first epoch.
    still = classifier(solver="sgd", learning_rate="invscaling", power_t=1e300, max_iter=3).fit(X, Y)
    assert (still.n_iter_, still.learning_rate_) == (3, 0.0)
    assert classifier(n_iter_no_change=2**63 - 1).fit(X, Y).n_iter_ == 3


def test_validation_labels_that_are_no_classes_are_refused() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    y = np.where(x[:, 0] > 0, "a", "b")
    model = dnn.MLPClassifier((4,), early_stopping=True, random_state=0)
    with pytest.raises(ValueError, match=r"y_val has no label that y has.*\['a', 'b'\]"):
        model.fit(x, y, X_val=x, y_val=np.char.upper(y))
