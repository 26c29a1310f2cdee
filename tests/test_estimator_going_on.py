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


def bare(make: Any, **settings: Any) -> Any:
    return make(**{"hidden_layer_sizes": (6,), "random_state": 1, **settings})


PARTS = [(X[start : start + 30], Y[start : start + 30]) for start in range(0, 150, 30)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [dnn.MLPClassifier, dnn.MLPRegressor])
def test_arrays_that_need_no_check_teach_what_checked_ones_teach(make: Any, dtype: str) -> None:
    short, long = (bare(make, dtype=dtype) for _ in range(2))
    classes = {"classes": CLASSES} if make is dnn.MLPClassifier else {}
    for x, y in PARTS:
        y = y if classes else y.astype(float)
        before = x.astype(dtype), y.copy()
        short.partial_fit(*before, **classes)
        np.testing.assert_array_equal(before[0], x.astype(dtype))
        # Lists are looked at by scikit-learn every time.
        long.partial_fit(x.astype(dtype).tolist(), y.tolist(), **classes)
        assert same_bits([*short.coefs_, *short.intercepts_], [*long.coefs_, *long.intercepts_])


def wrong_parts() -> dict[str, tuple[Any, Any, str]]:
    x, y = X[:30], Y[:30]
    nan, far = x.copy(), y.astype(float)
    nan[3, 1] = np.nan
    far[5] = np.inf
    return {
        "NaN": (nan, y, "Input X contains NaN"),
        "width": (x[:, :3].copy(), y, "X has 3 features"),
        "rows": (x, y[:-1], "inconsistent numbers of samples"),
        "no rows": (x[:0], y[:0], "0 sample"),
        "infinity in y": (x, far, "y contains infinity|Unknown label type|infinity"),
        "a column too many": (x[None], y, "dim"),
    }


@pytest.mark.parametrize("problem", wrong_parts())
@pytest.mark.parametrize("make", [dnn.MLPClassifier, dnn.MLPRegressor])
def test_what_is_wrong_with_a_later_part_is_refused(make: Any, problem: str) -> None:
    model = bare(make)
    model.partial_fit(X, Y, **({"classes": CLASSES} if make is dnn.MLPClassifier else {}))
    before = pickle.loads(pickle.dumps(model))
    x, y, message = wrong_parts()[problem]
    with pytest.raises(ValueError, match=message):
        model.partial_fit(x, y)
    assert same_bits(model.coefs_, before.coefs_)
    model.partial_fit(X, Y)


@pytest.mark.parametrize("label", [7, -1])
def test_a_later_part_has_no_other_classes(label: int) -> None:
    model = bare(dnn.MLPClassifier).partial_fit(X, Y, classes=CLASSES)
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(X, np.where(np.arange(150) == 9, label, Y))


CHANGED: dict[str, dict[str, Any]] = {
    "alpha": {"alpha": 0.3},
    "rate": {"learning_rate_init": 0.1},
    "batch": {"batch_size": 7},
    "threads": {"n_threads": 1},
    "solver": {"solver": dnn.SGD(0.2)},
    "loss": {"loss": "mae"},
}


@pytest.mark.parametrize("change", CHANGED)
def test_parameters_that_change_between_parts_count(change: str) -> None:
    model, twin = (bare(dnn.MLPRegressor) for _ in range(2))
    y = Y + 1.0
    model.partial_fit(X, y)
    # Each twin is new, and has nothing in mind.
    twin.partial_fit(X, y)
    twin = pickle.loads(pickle.dumps(twin))
    for each in (model, twin):
        with pytest.raises(ValueError, match="alpha"):
            each.set_params(alpha=-1.0).partial_fit(X, y)
        each.set_params(**{"alpha": 1e-4, **CHANGED[change]}).partial_fit(X, y)
    assert same_bits(model.coefs_, twin.coefs_)


def test_a_list_of_widths_that_is_changed_in_place_is_looked_at_again() -> None:
    widths = [6]
    model = dnn.MLPRegressor(hidden_layer_sizes=widths, random_state=1).partial_fit(X, Y)
    widths[0] = -1
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        model.partial_fit(X, Y)


def test_the_number_of_threads_is_that_of_the_moment() -> None:
    model = bare(dnn.MLPRegressor).partial_fit(X, Y)
    seen = []
    for n in (1, 2):
        dnn.set_num_threads(n)
        try:
            model.partial_fit(X, Y)
            seen.append(dnn._estimators._settings.checked(model).n_threads)
        finally:
            dnn.set_num_threads(None)
    assert seen == [1, 2]


def test_reading_weights_while_another_thread_trains_takes_no_step_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, twin = (bare(dnn.MLPRegressor).partial_fit(X, Y) for _ in range(2))
    inner = model._model
    get_weights = inner.get_weights

    def meanwhile() -> Any:
        # The other thread ends its step after the weights were read, before they are kept.
        weights = get_weights()
        monkeypatch.undo()
        model.partial_fit(X, Y)
        return weights

    monkeypatch.setattr(inner, "get_weights", meanwhile)
    stale = model.coefs_
    twin.partial_fit(X, Y)
    np.testing.assert_array_equal(model.predict(X), twin.predict(X))
    model.partial_fit(X, Y)
    twin.partial_fit(X, Y)
    assert same_bits(model.coefs_, twin.coefs_)
    assert not same_bits(model.coefs_, stale)
    # What is changed in weights that are those of now still counts.
    for each in (model, twin):
        each.coefs_[0][:] = 0.0
    np.testing.assert_array_equal(model.predict(X), np.full(150, model.predict(X)[0]))


def test_layers_that_are_given_as_the_loss_are_told_where_they_belong() -> None:
    with pytest.raises(
        ValueError, match=r"loss can't be \(15,\); for hidden layers write hidden_layer_sizes="
    ):
        dnn.MLPRegressor((15,)).fit(X, Y)  # type: ignore[arg-type]
