"""Metrics are what scikit-learn computes from the outputs of `predict`, and functions get all there is.

scikit-learn is the oracle, in float64 to 1e-12: both are sums of as many numbers, in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dnn
import numpy as np
import pytest
from dnn import _metrics
from models import model_of
from numpy.typing import NDArray
from sklearn import metrics as skm

Array = NDArray[Any]
ROWS, N_INPUTS = 203, 4
EXACT = 1e-12


def problem(
    output: str, units: int, loss: Any, seed: int, ties: bool = False
) -> tuple[dnn.Sequential, Array]:
    """A network of float64, which is bad at what it does, and rows for it."""
    rng = np.random.default_rng(seed)
    model = model_of(
        dnn.Input(N_INPUTS), dnn.Dense(5, "tanh"), dnn.Dense(units, output), dtype="float64", seed=seed
    )
    model.compile(loss=loss)
    model.set_weights([rng.normal(0, 0.7, w.shape) for w in model.get_weights()])
    x = rng.normal(size=(ROWS, N_INPUTS))
    # A few rows that come again and again have equal scores.
    return model, x[rng.integers(0, 20, ROWS)] if ties else x


def measured(
    model: dnn.Sequential, x: Array, y: Array, metrics: list[Any], weight: Any = None
) -> dict[str, float]:
    model.compile(model.optimizer, model.loss, metrics)
    return model.evaluate(x, y, sample_weight=weight)


def weights_of(kind: str, seed: int) -> Array | None:
    rng = np.random.default_rng(seed + 100)
    return {"none": None, "any": rng.uniform(0, 3, ROWS), "some are 0": rng.integers(0, 3, ROWS) * 1.0}[kind]


WEIGHTS = ["none", "any", "some are 0"]
AVERAGES = ["macro", "micro", "weighted"]
SCORES: dict[Any, Callable[..., float]] = {
    dnn.Precision: skm.precision_score,
    dnn.Recall: skm.recall_score,
    dnn.F1: skm.f1_score,
}


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_one_class_of_several_are_those_of_scikit_learn(seed: int, ties: bool, kind: str) -> None:
    n = 4
    model, x = problem("softmax", n, "cross_entropy", seed, ties)
    y = np.random.default_rng(seed).choice(n, ROWS, p=[0.1, 0.2, 0.3, 0.4])
    weight, p = weights_of(kind, seed), model.predict(x)
    taken = p.argmax(1)
    expected = {"accuracy": skm.accuracy_score(y, taken, sample_weight=weight)}
    for k in (1, 2, 3):
        expected[f"top_{k}_accuracy"] = skm.top_k_accuracy_score(
            y, p, k=k, labels=range(n), sample_weight=weight
        )
    for cls, score in SCORES.items():
        for average in AVERAGES:
            expected[f"{cls.name}_{average}"] = score(
                y, taken, average=average, sample_weight=weight, zero_division=0
            )
        expected[cls.name] = expected[f"{cls.name}_macro"]
    for average, name in (("macro", "auc"), ("weighted", "auc_weighted")):
        expected[name] = skm.roc_auc_score(y, p, multi_class="ovr", average=average, sample_weight=weight)
    tops = [dnn.TopK(k) for k in (1, 2, 3)]
    names = [name for name in expected if not name.startswith("top") and name != "auc_weighted"]
    found = measured(model, x, y, [*names, *tops, dnn.AUC("weighted")], weight)
    found.pop("loss")
    assert found == pytest.approx(expected, abs=EXACT)
    # The same rows as one-hot targets.
    same = measured(model, x, np.eye(n)[y], [*names, *tops, dnn.AUC("weighted")], weight)
    assert {name: same[name] for name in found} == found


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("output", "units"), [("sigmoid", 1), ("softmax", 2), ("identity", 1)])
def test_metrics_of_two_classes_are_those_of_scikit_learn(
    output: str, units: int, ties: bool, kind: str
) -> None:
    loss = {"sigmoid": "binary_cross_entropy", "softmax": "cross_entropy", "identity": "hinge"}[output]
    model, x = problem(output, units, loss, 5, ties)
    y = np.random.default_rng(5).choice(2, ROWS, p=[0.7, 0.3])
    weight, score = weights_of(kind, 5), model.predict(x)[:, -1]
    given = 2 * y - 1 if output == "identity" else y
    thresholds = {"softmax": [None], "sigmoid": [None, 0.3, 0.9], "identity": [None, -0.5]}[output]
    for threshold in thresholds:
        middle = {None: 0.0 if output == "identity" else 0.5}.get(threshold, threshold)
        taken, expected, metrics = score > middle, {}, []
        for cls, of in SCORES.items():
            for average in ("binary", *AVERAGES):
                metrics.append(cls(average, threshold))
                expected[metrics[-1].key] = of(
                    y, taken, average=average, sample_weight=weight, zero_division=0
                )
            metrics.append(cls(threshold=threshold))
            expected[metrics[-1].key] = of(y, taken, sample_weight=weight, zero_division=0)
        found = measured(model, x, given, metrics, weight)
        found.pop("loss")
        assert found == pytest.approx(expected, abs=EXACT)
    found = measured(model, x, given, ["auc", dnn.AUC("weighted")], weight)
    area = skm.roc_auc_score(y, score, sample_weight=weight)
    assert (found["auc"], found["auc_weighted"]) == pytest.approx((area, area), abs=EXACT)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("threshold", [None, 0.2, 0.8])
def test_metrics_of_several_labels_are_those_of_scikit_learn(threshold: float | None, kind: str) -> None:
    model, x = problem("sigmoid", 3, "binary_cross_entropy", 6)
    rng = np.random.default_rng(6)
    y, weight, p = rng.random((ROWS, 3)) < [0.1, 0.5, 0.7], weights_of(kind, 6), model.predict(x)
    y = y.astype(float)
    metrics: list[Any] = ["auc", dnn.AUC("weighted")]
    expected = {
        "auc": skm.roc_auc_score(y, p, sample_weight=weight),
        "auc_weighted": skm.roc_auc_score(y, p, average="weighted", sample_weight=weight),
    }
    taken = (p > (0.5 if threshold is None else threshold)).astype(float)
    for cls, of in SCORES.items():
        for average in AVERAGES:
            metrics.append(cls(average, threshold))
            expected[metrics[-1].key] = of(y, taken, average=average, sample_weight=weight, zero_division=0)
    found = measured(model, x, y, metrics, weight)
    found.pop("loss")
    assert found == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize(("output", "units"), [("identity", 1), ("identity", 3), ("exponential", 2)])
def test_metrics_of_regression_are_those_of_scikit_learn(
    output: str, units: int, offset: float, kind: str
) -> None:
    model, x = problem(output, units, "poisson" if output == "exponential" else "mse", 7)
    rng = np.random.default_rng(7)
    y, weight = rng.gamma(2.0, 1.0, (ROWS, units)) + offset, weights_of(kind, 7)
    arrays = model.get_weights()
    model.set_weights([*arrays[:-1], arrays[-1] + (offset if output == "identity" else 0.0)])
    p = model.predict(x)
    expected = {
        "mae": skm.mean_absolute_error(y, p, sample_weight=weight),
        "mse": skm.mean_squared_error(y, p, sample_weight=weight),
        "rmse": skm.root_mean_squared_error(y, p, sample_weight=weight),
        "r2": skm.r2_score(y, p, sample_weight=weight),
    }
    found = measured(model, x, y, list(expected), weight)
    found.pop("loss")
    # Of targets around a million a tenth of the digits is left to their differences: rel 1e-16 * 1e6.
    assert found == pytest.approx(expected, rel=EXACT if offset == 0.0 else 1e-9)


@pytest.mark.parametrize(
    ("output", "units", "loss"),
    [("softmax", 4, "cross_entropy"), ("sigmoid", 3, "binary_cross_entropy"), ("identity", 2, "mse")],
)
def test_a_weight_of_2_is_the_row_twice_for_every_metric(output: str, units: int, loss: str) -> None:
    model, x = problem(output, units, loss, 8)
    rng = np.random.default_rng(8)
    if output == "softmax":
        y: Array = rng.integers(0, units, ROWS)
        metrics: list[Any] = ["accuracy", "top_k_accuracy", "precision", "recall_micro", "f1_weighted", "auc"]
        metrics[1] = dnn.TopK(2)
    elif output == "sigmoid":
        y = rng.integers(0, 2, (ROWS, units)).astype(float)
        metrics = ["accuracy", "precision_weighted", "recall", "f1", "auc"]
    else:
        y, metrics = rng.normal(size=(ROWS, units)), ["mae", "mse", "rmse", "r2"]
    counts = rng.integers(0, 4, ROWS)
    weighted = measured(model, x, y, metrics, counts.astype(float))
    repeated = measured(model, np.repeat(x, counts, 0), np.repeat(y, counts, 0), metrics)
    assert weighted == pytest.approx(repeated, abs=EXACT)


def test_metrics_that_are_not_defined_are_nan_or_as_scikit_learn_has_them() -> None:
    model, x = problem("sigmoid", 1, "binary_cross_entropy", 9)
    found = measured(model, x, np.zeros(ROWS), ["auc", "precision", "recall", "f1"])
    assert np.isnan(found["auc"])
    assert (found["precision"], found["recall"], found["f1"]) == (0.0, 0.0, 0.0)
    model, x = problem("identity", 1, "mse", 9)
    assert np.isnan(measured(model, x[:1], np.zeros(1), ["r2"])["r2"])
    assert measured(model, x, np.full(ROWS, 0.1), ["r2"])["r2"] == 0.0
    model.set_weights([0 * w for w in model.get_weights()])
    assert measured(model, x, np.zeros(ROWS), ["r2"])["r2"] == 1.0


def test_a_class_that_nobody_names_is_left_out_of_the_mean() -> None:
    model, x = problem("softmax", 5, "cross_entropy", 10)
    arrays = model.get_weights()
    arrays[-1][4] = -100.0
    model.set_weights(arrays)
    y = np.random.default_rng(10).integers(0, 4, ROWS)
    found = measured(model, x, y, ["f1_macro"])["f1_macro"]
    taken = model.predict_classes(x)
    assert found == pytest.approx(skm.f1_score(y, taken, average="macro", zero_division=0), abs=EXACT)


def test_float32_outputs_are_those_of_predict_to_the_last_bit() -> None:
    # Sigmoids of z above 17 are 1 in float32: equal, though their z are not.
    model = model_of(dnn.Input(1), dnn.Dense(1, "sigmoid"))
    model.set_weights([[[1.0]], [0.0]])
    rng = np.random.default_rng(11)
    x, y = rng.normal(0, 20, (500, 1)), rng.integers(0, 2, 500)
    p = model.predict(x)[:, 0]
    assert len(np.unique(p)) < 450
    assert measured(model, x, y, ["auc"])["auc"] == pytest.approx(skm.roc_auc_score(y, p), abs=EXACT)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_metrics_while_training_are_of_the_outputs_before_each_step(n_threads: int) -> None:
    # With a rate of next to nothing these are the outputs of the model; 1500 rows are several blocks, shared
    # by threads.
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=(1500, 8)), rng.integers(0, 6, 1500)
    model = model_of(dnn.Dense(200, "relu"), dnn.Dense(6, "softmax"), dtype="float64")
    metrics = ["accuracy", dnn.TopK(2), "f1", "precision_micro", "recall_weighted", "auc"]
    history = model.fit(
        x,
        y,
        batch_size=700,
        validation_data=(x[:300], y[:300]),
        metrics=metrics,
        optimizer=dnn.SGD(1e-30),
        n_threads=n_threads,
        verbose=0,
    ).history
    for prefix, rows in (("", slice(None)), ("val_", slice(300))):
        found = model.evaluate(x[rows], y[rows])
        for name, value in found.items():
            assert history[f"{prefix}{name}"] == pytest.approx([value], abs=EXACT), name


def test_metrics_have_the_bits_of_any_number_of_threads() -> None:
    rng = np.random.default_rng(13)
    x, y = rng.normal(size=(1200, 8)), rng.integers(0, 6, 1200)
    histories = []
    for n_threads in (1, 3):
        model = model_of(dnn.Dense(200, "relu"), dnn.Dense(6, "softmax"))
        history = model.fit(
            x, y, batch_size=500, epochs=2, metrics=["auc", "f1", dnn.TopK(2)], n_threads=n_threads, verbose=0
        )
        histories.append({k: v for k, v in history.history.items() if k != "seconds"})
    # The repr of a float tells -0 from 0, and NaN is NaN.
    assert repr(histories[0]) == repr(histories[1])


def test_metrics_do_not_change_what_is_learned() -> None:
    rng = np.random.default_rng(14)
    x, y = rng.normal(size=(300, 8)), rng.integers(0, 6, 300)
    weights = []
    for metrics in ([], ["accuracy", "auc", "f1", dnn.TopK(2)]):
        model = model_of(dnn.Dense(12, "relu"), dnn.Dense(6, "softmax"))
        model.fit(x, y, epochs=2, metrics=metrics, verbose=0)
        weights.append(model.flat_parameters)
    assert np.array_equal(*weights)


@pytest.mark.parametrize("name", _metrics.BY_NAME)
def test_every_name_is_measured_under_it(name: str) -> None:
    of_classes = _metrics.BY_NAME[name].of_classes
    model = model_of(dnn.Dense(6, "softmax" if of_classes else None))
    rng = np.random.default_rng(15)
    x, y = rng.normal(size=(60, 3)), rng.integers(0, 6, 60) if of_classes else rng.normal(size=(60, 6))
    aliases = [alias for alias, of in _metrics.ALIASES.items() if of == name]
    history = model.fit(x, y, metrics=[name, *aliases], validation_split=0.2, verbose=0).history
    for alias in aliases:
        assert history[alias] == history[name]
        assert history[f"val_{alias}"] == history[f"val_{name}"]
    assert np.isfinite(history[name]).all()


def test_callbacks_and_schedules_watch_metrics_and_know_which_way_is_better() -> None:
    from dnn._callbacks import Monitor

    lower = {"mae", "mse", "rmse", "mean_absolute_error", "mean_squared_error", "root_mean_squared_error"}
    for name in [*_metrics.BY_NAME, *_metrics.ALIASES, dnn.TopK(3).key, dnn.F1(threshold=0.3).key]:
        assert Monitor(f"val_{name}", "auto", 0.0).higher == (name not in lower), name
    rng = np.random.default_rng(16)
    x, y = rng.normal(size=(60, 3)), rng.integers(0, 2, 60)
    model = model_of(dnn.Dense(1, "sigmoid"))
    rate = dnn.ReduceOnPlateau(0.1, monitor="val_auc", mode="max", patience=0, threshold=10.0)
    history = model.fit(
        x, y, epochs=3, metrics=["auc"], validation_split=0.3, optimizer=dnn.SGD(rate), verbose=0
    )
    assert history.history["rate"] == pytest.approx([0.1, 0.1, 0.01])


def test_metrics_are_kept_in_files(tmp_path: Any) -> None:
    model = model_of(dnn.Input(2), dnn.Dense(4, "softmax"))
    metrics = ("roc_auc", dnn.TopK(3), dnn.F1("weighted"), dnn.Precision(), dnn.AUC("weighted"))
    model.compile(metrics=metrics)
    model.save(tmp_path / "model.dnn")
    assert dnn.load(tmp_path / "model.dnn").metrics == metrics


def sigmoid(n: int, metric: Any) -> Any:
    return lambda: model_of(dnn.Dense(n, "sigmoid")).compile(metrics=[metric])


def softmax(n: int, metric: Any) -> Any:
    return lambda: model_of(dnn.Dense(n, "softmax")).compile(metrics=[metric])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dnn.TopK(0), "k must be a whole number, 1 or more, got 0"),
        (lambda: dnn.Precision("mean"), "unknown average 'mean'"),
        (lambda: dnn.Precision(threshold=float("nan")), "threshold must be a finite number"),
        (lambda: dnn.AUC("micro"), "unknown average 'micro'"),
        (softmax(3, "acc"), "write 'accuracy'"),
        (softmax(3, "f2"), "unknown metric 'f2'; known: accuracy, auc, f1"),
        (softmax(3, "precison"), "did you mean 'precision'"),
        (softmax(3, "top_k_accuracy"), "always is; use dnn.TopK.k. with k below 3"),
        (softmax(3, "r2"), "'r2' is for regression"),
        (softmax(3, dnn.F1(threshold=0.3)), "of 3 classes the largest output counts"),
        (softmax(3, dnn.F1("binary")), "there are 3 outputs; use 'macro'"),
        (sigmoid(3, dnn.F1("binary")), "there are 3 outputs; use 'macro'"),
        (sigmoid(3, dnn.TopK(1)), "is for one class of several"),
        (lambda: model_of(dnn.Dense(3)).compile(metrics=["auc"]), "is for classes"),
        (lambda: model_of(dnn.Dense(3)).compile(metrics=["mae", "mae"]), "names 'mae' twice"),
        (
            lambda: model_of(dnn.Dense(3)).compile(loss=dnn.Quantile([0.1, 0.5, 0.9]), metrics=["rmse"]),
            "3 outputs for each target",
        ),
    ],
)
def test_metrics_that_mean_nothing_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("metrics", ["auc", [dnn.TopK], [3], [None]])
def test_what_is_no_metric_is_refused(metrics: Any) -> None:
    with pytest.raises(TypeError, match="metrics"):
        model_of(dnn.Dense(6, "softmax")).compile(metrics=metrics)


# ---- functions ---------------------------------------------------------------------------------------------


def largest_error(y_true: Array, y_pred: Array) -> float:
    """Not the mean of anything: only all rows together have it."""
    return float(np.abs(y_true - y_pred).max())


def weighted_mean(y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> float:
    return float(np.average(y_pred.mean(1), weights=sample_weight))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_function_is_given_all_rows_of_the_epoch_and_of_the_validation(dtype: str) -> None:
    calls: list[tuple[Array, Array]] = []

    def seen(y_true: Array, y_pred: Array) -> float:
        calls.append((y_true, y_pred))
        return largest_error(y_true, y_pred)

    rng = np.random.default_rng(20)
    x, y = rng.normal(size=(1300, 3)), rng.normal(size=(1300, 2))
    model = model_of(dnn.Dense(7, "tanh"), dnn.Dense(2), dtype=dtype)
    history = model.fit(
        x,
        y,
        epochs=2,
        batch_size=300,
        metrics=[seen, "mae"],
        validation_data=(x[:50], y[:50]),
        optimizer=dnn.SGD(1e-30),
        verbose=0,
    ).history
    assert [len(p) for _, p in calls] == [1300, 50, 1300, 50]
    # In the order in which they were learned from, each with its target; of the validation in their own.
    expected = model.predict(x).astype(np.float64)
    for y_true, y_pred in calls[::2]:
        places = np.lexsort(np.round(y_true, 5).T), np.lexsort(np.round(y, 5).T)
        np.testing.assert_array_equal(y_true[places[0]], y[places[1]].astype(dtype))
        # With a rate of next to nothing the outputs of the steps are those of predict.
        np.testing.assert_array_equal(y_pred[places[0]], expected[places[1]])
    np.testing.assert_array_equal(calls[1][1], expected[:50])
    assert all(a.dtype == np.float64 for pair in calls for a in pair)
    calls.clear()
    assert model.evaluate(x, y)["seen"] == pytest.approx(history["seen"][1], rel=1e-15)
    np.testing.assert_array_equal(calls[0][1], expected)


def test_a_function_sees_labels_as_labels_and_probabilities() -> None:
    model = model_of(dnn.Dense(4, "softmax"), dtype="float64")
    rng = np.random.default_rng(21)
    x, y = rng.normal(size=(100, 3)), rng.integers(0, 4, 100)
    model.fit(x, y, verbose=0, metrics=[skm.log_loss])
    found = model.evaluate(x, y)
    assert found["log_loss"] == pytest.approx(found["loss"], rel=1e-12)


@pytest.mark.parametrize("given", [None, "weights"])
def test_a_function_that_takes_sample_weight_gets_it(given: str | None) -> None:
    rng = np.random.default_rng(22)
    x, y = rng.normal(size=(100, 3)), rng.normal(size=(100, 1))
    weight = None if given is None else rng.uniform(0, 2, 100)
    model = model_of(dnn.Dense(1), dtype="float64")
    model.fit(x, y, metrics=[weighted_mean, largest_error], verbose=0)
    found = model.evaluate(x, y, sample_weight=weight)
    p = model.predict(x)
    assert found["weighted_mean"] == pytest.approx(np.average(p[:, 0], weights=weight), rel=1e-12)
    assert found["largest_error"] == pytest.approx(np.abs(p - y).max(), rel=1e-15)


def test_a_function_measures_a_single_batch_before_its_step() -> None:
    model = model_of(dnn.Input(1), dnn.Dense(1), dtype="float64")
    model.compile("sgd", metrics=[largest_error])
    before = np.abs(model.predict([[1.0], [2.0]]) - [[3.0], [5.0]]).max()
    found = model.train_on_batch([[1.0], [2.0]], [3.0, 5.0])
    assert found["largest_error"] == pytest.approx(before, rel=1e-15)


@pytest.mark.parametrize("batch_size", [7, "full"])
def test_functions_measure_what_lbfgs_has_reached(batch_size: Any) -> None:
    rng = np.random.default_rng(23)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))
    model = model_of(dnn.Dense(1), dtype="float64")
    history = model.fit(x, y, epochs=50, optimizer="lbfgs", metrics=[largest_error, "r2"], verbose=0).history
    found = model.evaluate(x, y)
    for name in ("largest_error", "r2"):
        assert history[name][-1] == pytest.approx(found[name], rel=1e-6)


class Broken(Exception):
    pass


def broken(y_true: Array, y_pred: Array) -> float:
    raise Broken("as it should")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (broken, Broken, "as it should"),
        (lambda y_true, y_pred: "good", TypeError, "must be an array of numbers, got 'good'"),
        (lambda y_true, y_pred: None, TypeError, "what metric '<lambda>' returned"),
        (lambda y_true, y_pred: y_pred, ValueError, "must return one number, got an array of shape"),
        (lambda y_true: 1.0, TypeError, "positional argument"),
    ],
)
def test_what_a_function_does_wrong_is_told_and_the_model_is_that_of_the_last_step(
    function: Any, error: type[Exception], message: str
) -> None:
    x, y = np.arange(6.0).reshape(6, 1), np.ones(6)
    model, other = (model_of(dnn.Input(1), dnn.Dense(1)) for _ in range(2))
    other.fit(x, y, epochs=1, optimizer=dnn.SGD(0.01), verbose=0)
    with pytest.raises(error, match=message):
        model.fit(x, y, epochs=5, optimizer=dnn.SGD(0.01), metrics=[function], verbose=0)
    assert np.array_equal(model.flat_parameters, other.flat_parameters)
    for call in (model.evaluate, model.train_on_batch):
        with pytest.raises(error, match=message):
            call(x, y)
    assert np.array_equal(model.flat_parameters, other.flat_parameters)
    assert model.fit(x, y, metrics=[], verbose=0).stopped_because == "epochs"


def test_a_function_may_use_the_model_and_change_another() -> None:
    x, y = np.arange(6.0).reshape(6, 1), np.ones(6)
    other = model_of(dnn.Input(1), dnn.Dense(1))

    def nosy(y_true: Array, y_pred: Array) -> float:
        other.train_on_batch(x, y)
        other.set_weights(other.get_weights())
        return float(len(model.predict(x)))

    model = model_of(dnn.Input(1), dnn.Dense(1))
    assert model.fit(x, y, metrics=[nosy], verbose=0).history["nosy"] == [6.0]
    assert model.evaluate(x, y)["nosy"] == 6.0
    assert model.train_on_batch(x, y)["nosy"] == 6.0


def test_a_function_may_even_change_the_model_it_measures() -> None:
    x, y = np.arange(6.0).reshape(6, 1), np.ones(6)
    model = model_of(dnn.Input(1), dnn.Dense(1))

    def meddling(y_true: Array, y_pred: Array) -> float:
        model.set_weights([[[2.0]], [0.0]])
        return 1.0

    model.compile("sgd", metrics=[meddling])
    assert model.evaluate(x, y)["meddling"] == 1.0
    assert model.get_weights()[0].item() == 2.0
    with pytest.raises(RuntimeError, match="the model is training"):
        model.fit(x, y, verbose=0)
    with pytest.raises(RuntimeError, match="the model is training"):
        model.train_on_batch(x, y)


@pytest.mark.parametrize("name", ["loss", "rate", "seconds", "grad_norm", "val_loss"])
def test_a_function_may_not_take_the_name_of_something_else(name: str) -> None:
    def function(y_true: Array, y_pred: Array) -> float:
        return 1.0

    function.__name__ = name
    with pytest.raises(ValueError, match=f"can't be named {name!r}"):
        model_of(dnn.Dense(1)).compile(metrics=[function])


def test_functions_are_left_out_of_files(tmp_path: Any) -> None:
    model = model_of(dnn.Input(1), dnn.Dense(1))
    model.compile(metrics=["mae", largest_error])
    model.save(tmp_path / "model.dnn")
    loaded = dnn.load(tmp_path / "model.dnn")
    assert loaded.metrics == ("mae",)
    assert loaded.evaluate([[1.0]], [2.0]).keys() == {"loss", "mae"}


def test_the_name_of_an_object_that_is_called_is_that_of_its_class() -> None:
    class Largest:
        def __call__(self, y_true: Array, y_pred: Array) -> float:
            return largest_error(y_true, y_pred)

    model = model_of(dnn.Input(1), dnn.Dense(1))
    model.compile(metrics=[Largest()])
    assert set(model.evaluate([[1.0]], [2.0])) == {"loss", "Largest"}
