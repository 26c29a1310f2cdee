"""EarlyStopping: the same as an argument and among the callbacks; Keras's rule, whatever it watches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from models import Table, model_of, same, same_bits

# Each with a fit in which its rule has something to decide.
CASES: list[tuple[dict[str, Any], bool]] = [
    ({"patience": 3}, True),
    ({"patience": 2, "min_delta": 0.01}, True),
    ({"patience": 3, "monitor": "loss", "min_delta": 0.02}, False),
    ({"patience": 4, "monitor": "val_accuracy"}, True),
    ({"patience": 3, "monitor": "accuracy", "min_delta": 0.02}, False),
    ({"patience": 2, "monitor": "val_accuracy", "mode": "min"}, True),
    ({"patience": 3, "monitor": "val_loss", "mode": "max"}, True),
    ({"patience": 5, "monitor": "val_loss", "baseline": 0.7}, True),
    ({"patience": 5, "monitor": "val_accuracy", "baseline": 0.9}, True),
    ({"patience": 4, "restore_best_weights": False}, True),
    ({"patience": None}, True),
    ({"patience": None, "monitor": "loss", "mode": "max"}, False),
    ({"patience": None, "restore_best_weights": False}, True),
]


def network() -> dnn.Sequential:
    layers = [dnn.Dense(24, "relu"), dnn.BatchNormalization(momentum=0.5), dnn.Dropout(0.1)]
    return model_of(*layers, dnn.Dense(3, "softmax"))


def fit(model: dnn.Sequential, data: Table, validates: bool, last: int = 40, **options: Any) -> dnn.History:
    x, y = data
    options = {"optimizer": dnn.Adam(0.05), "metrics": ["accuracy"], **options}
    if validates:
        options["validation_data"] = (x[40:], y[40:])
    return model.fit(x[:40], y[:40], 16, last, **options)


def keras(values: list[float], said: dnn.EarlyStopping) -> tuple[int, int]:
    """The epochs that Keras's EarlyStopping lets train, and the best one, by its source of version 3."""
    sign = -1.0 if said.higher else 1.0
    better = lambda value, than: sign * value < sign * than - said.min_delta  # noqa: E731
    best, wait = sign * math.inf, 0
    for epoch, value in enumerate(values):
        wait += 1
        if better(value, best):
            best = value
            if said.baseline is None or better(value, said.baseline):
                wait = 0
            continue
        if said.patience is not None and wait >= said.patience and epoch > 0:
            values = values[: epoch + 1]
            break
    # Keras brings back the last better one; here it is the best of all, which small gains count for, too.
    return len(values), int(np.argmin(sign * np.array(values)))


@pytest.mark.parametrize(("arguments", "validates"), CASES, ids=lambda value: str(value))
def test_what_is_watched_decides_by_keras_s_rule(
    arguments: dict[str, Any], validates: bool, classes: Table
) -> None:
    said = dnn.EarlyStopping(**arguments)
    seen: list[Any] = []
    whole = network()
    look = dnn.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(whole.get_weights()))
    free = fit(whole, classes, validates, callbacks=[look], early_stopping=False).history
    model = network()
    history = fit(model, classes, validates, early_stopping=said)
    n, best = keras(free[said.monitor], said)
    assert len(history.epochs) == n
    assert (history.stopped_because == "early_stopping") == (n < 40)
    for name in set(free) - {"seconds"}:
        assert history.history[name] == free[name][:n]
    restores = said.restore_best_weights
    assert history.best_epoch == (best if restores else None)
    assert same_bits(model.get_weights(), seen[best if restores else n - 1])
    if n < 40:
        assert said.patience is not None
        what = "the validation loss" if (said.monitor, said.mode) == ("val_loss", "auto") else said.monitor
        assert history.message.startswith(f"{what} did not improve for ")


def test_the_cases_have_something_to_decide(classes: Table) -> None:
    # Of the rules that may stop, some do so in the middle.
    lengths = [
        len(fit(network(), classes, validates, early_stopping=dnn.EarlyStopping(**arguments)).epochs)
        for arguments, validates in CASES
        if arguments["patience"] is not None
    ]
    assert len({n for n in lengths if 3 < n < 40}) >= 4


@pytest.mark.parametrize(("arguments", "validates"), CASES, ids=lambda value: str(value))
def test_it_is_the_same_among_the_callbacks_also_when_training_goes_on(
    arguments: dict[str, Any], validates: bool, classes: Table, tmp_path: Path
) -> None:
    said = dnn.EarlyStopping(**arguments)
    one, other = network(), network()
    path = tmp_path / "{epoch}.dnn"
    expected = fit(one, classes, validates, early_stopping=said, callbacks=[dnn.ModelCheckpoint(path)])
    got = fit(other, classes, validates, callbacks=[print_nothing, said])
    assert same(one, other)
    assert got.message == expected.message
    assert got.best_epoch == expected.best_epoch
    n = len(expected.epochs)
    for stop in {1, n // 2, n - 1} - {0}:
        parts = network()
        fit(parts, classes, validates, stop, callbacks=[said])
        parts.save(tmp_path / "parts.dnn")
        for model in (dnn.load(tmp_path / "parts.dnn"), dnn.load(tmp_path / f"{stop}.dnn")):
            history = fit(model, classes, validates, callbacks=[said], optimizer=None, initial_epoch=stop)
            assert same(model, one)
            assert (history.message, history.best_epoch) == (expected.message, expected.best_epoch)
            assert history.epochs[-1] == n - 1


def print_nothing(epoch: int, logs: dict[str, float]) -> None:
    """A callback beside it."""


def test_small_gains_add_up(regression: Table) -> None:
    # A slow fall: no epoch gains min_delta, but every few of them together do.
    x, y = regression
    options: dict[str, Any] = {"optimizer": dnn.SGD(0.001), "validation_data": (x, y)}
    falling = model_of(dnn.Dense(1)).fit(x, y, "full", 50, **options).history["val_loss"]
    gains = -np.diff(falling)
    assert (gains > 0).all()
    delta = 2.5 * gains.max()
    stop = dnn.EarlyStopping(10, min_delta=delta)
    assert len(model_of(dnn.Dense(1)).fit(x, y, "full", 50, early_stopping=stop, **options).epochs) == 50


def test_an_epoch_whose_value_is_not_a_number_is_never_the_best(regression: Table) -> None:
    values = iter([math.nan, 3.0, math.nan, 1.0, 2.0, math.nan])

    def strange(y: Any, out: Any) -> float:
        return next(values)

    stop = dnn.EarlyStopping(3, monitor="strange")
    model = model_of(dnn.Dense(1))
    history = model.fit(*regression, "full", 6, metrics=[strange], callbacks=[stop])
    assert history.best_epoch == 3


def test_a_metric_that_is_a_function_can_be_watched(regression: Table) -> None:
    def largest_error(y: Any, out: Any) -> float:
        return float(np.abs(out - y).max())

    stop = dnn.EarlyStopping(2, monitor="val_largest_error")
    options: dict[str, Any] = {"validation_split": 0.3, "metrics": [largest_error], "optimizer": dnn.SGD(0.5)}
    history = model_of(dnn.Dense(8, "tanh"), dnn.Dense(1)).fit(
        *regression, 8, 60, callbacks=[stop], **options
    )
    values = history.history["val_largest_error"]
    assert (len(values), history.best_epoch) == keras(values, stop)
    assert history.stopped_because == "early_stopping"


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"monitor": 3}, TypeError, "monitor must be a name"),
        ({"mode": "best"}, ValueError, "mode must be 'auto', 'min' or 'max'"),
        ({"min_delta": -0.1}, ValueError, "min_delta"),
        ({"baseline": math.nan}, ValueError, "baseline"),
        ({"baseline": "low"}, TypeError, "baseline"),
        ({"patience": "val_loss"}, TypeError, "patience"),
        ({"restore_best_weights": 1}, TypeError, "restore_best_weights"),
    ],
)
def test_bad_arguments_are_refused(arguments: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        dnn.EarlyStopping(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"callbacks": [dnn.EarlyStopping()]},
            ValueError,
            "watches 'val_loss', but there is no validation; pass",
        ),
        (
            {"callbacks": [dnn.EarlyStopping(monitor="val_mae")], "metrics": ["mae"]},
            ValueError,
            "no validation; .*monitor='mae'",
        ),
        (
            {"callbacks": [dnn.EarlyStopping(monitor="mae")], "validation_split": 0.2, "metrics": ["mse"]},
            ValueError,
            "'mae', which is not measured; there are: loss, mse, val_loss, val_mse$",
        ),
        ({"early_stopping": dnn.EarlyStopping(monitor="rate")}, ValueError, "there are: loss$"),
        (
            {"early_stopping": 5, "callbacks": [dnn.EarlyStopping(3)], "validation_split": 0.2},
            ValueError,
            "asked for twice",
        ),
        (
            {"early_stopping": False, "callbacks": [dnn.EarlyStopping(3)], "validation_split": 0.2},
            ValueError,
            "asked for twice",
        ),
        (
            {"callbacks": [dnn.EarlyStopping(3), dnn.EarlyStopping(3, monitor="loss")]},
            ValueError,
            "watches 'val_loss', but there is no validation",
        ),
        ({"callbacks": [dnn.EarlyStopping]}, TypeError, r"make one of it: EarlyStopping\(\)"),
    ],
)
def test_what_can_not_be_watched_is_told_before_training(
    arguments: Any, error: Any, match: str, regression: Table
) -> None:
    model = model_of(dnn.Input(3), dnn.Dense(1))
    before = model.flat_parameters
    with pytest.raises(error, match=match):
        model.fit(*regression, epochs=3, **arguments)
    assert (model.flat_parameters == before).all()


def test_an_estimator_says_what_it_has_instead() -> None:
    sklearn = pytest.importorskip("sklearn", reason="estimators need scikit-learn")
    assert sklearn
    with pytest.raises(TypeError, match="early_stopping=True and n_iter_no_change"):
        dnn.MLPRegressor(callbacks=[dnn.EarlyStopping()]).fit([[0.0], [1.0]], [0.0, 1.0])


def follow(values: list[float], *stoppers: dnn.EarlyStopping, last: int | None = None) -> dnn.History:
    """A fit whose metric "told" has these values, epoch by epoch."""
    left = iter(values)

    def told(y: Any, out: Any) -> float:
        return next(left)

    options: dict[str, Any] = {"metrics": [told], "callbacks": [*stoppers]}
    x = np.ones((4, 2))
    return model_of(dnn.Dense(1)).fit(x, x[:, 0], "full", last or len(values), **options)


BY_HAND: list[tuple[dict[str, Any], list[float], int]] = [
    # Waits 1 after epoch 0, which is never the end; epoch 1 is no better either, and is.
    ({"patience": 1}, [math.nan, math.nan, 1.0, 1.0], 2),
    ({"patience": 1}, [math.inf, 2.0, 1.0, 0.5], 4),
    # Better than nothing, but above the baseline: waits 1, yet an epoch that is better is never the end.
    ({"patience": 1, "baseline": 0.5}, [2.0, 1.0, 0.9, 0.8], 4),
    ({"patience": 1, "baseline": 0.5}, [2.0, 1.0, 1.0, 0.8], 3),
    ({"patience": 3, "baseline": 0.5}, [5.0, 4.0, 3.0, 2.0, 2.0, 1.0], 5),
    ({"patience": 1, "baseline": 0.5}, [2.0, 0.4, 0.3, 0.3, 0.2], 4),
    ({"patience": 1, "mode": "max"}, [1.0, 1.0, 2.0], 2),
    ({"patience": 2, "mode": "max", "baseline": 3.0}, [1.0, 2.0, 2.0, 4.0], 3),
    ({"patience": 2, "min_delta": 0.5}, [3.0, 2.8, 2.4, 2.2, 2.0, 1.0], 5),
]


@pytest.mark.parametrize(("arguments", "values", "n"), BY_HAND, ids=lambda value: str(value))
def test_the_end_is_where_keras_s_rule_has_it_by_hand(
    arguments: dict[str, Any], values: list[float], n: int
) -> None:
    said = dnn.EarlyStopping(monitor="told", **arguments)
    assert len(follow(values, said).epochs) == n
    # The same where another one, that never stops, is counted by the core.
    free = dnn.EarlyStopping(None, monitor="loss")
    history = follow(values, said, free)
    assert len(history.epochs) == n
    assert (history.stopped_because == "early_stopping") == (n < len(values))
    if n < len(values):
        assert history.message.startswith("told did not improve for")
        assert history.message == follow(values, said).message


def test_of_several_the_first_that_has_waited_long_enough_stops(classes: Table) -> None:
    rules = [
        dnn.EarlyStopping(6, monitor="val_accuracy", restore_best_weights=False),
        dnn.EarlyStopping(3, monitor="loss", min_delta=0.02, restore_best_weights=False),
        dnn.EarlyStopping(4, monitor="val_loss", restore_best_weights=False),
    ]
    alone = [len(fit(network(), classes, True, callbacks=[rule]).epochs) for rule in rules]
    assert len(set(alone)) > 1
    for order in (rules, rules[::-1]):
        history = fit(network(), classes, True, callbacks=order)
        assert len(history.epochs) == min(alone)
        assert (history.stopped_because, history.best_epoch) == ("early_stopping", None)


def test_of_several_the_last_that_wants_its_best_weights_gets_them(classes: Table) -> None:
    by_loss = dnn.EarlyStopping(5, monitor="val_loss")
    by_train = dnn.EarlyStopping(None, monitor="loss")
    keeps = dnn.EarlyStopping(None, restore_best_weights=False)
    values = fit(network(), classes, True, callbacks=[by_loss, by_train, keeps]).history
    best = {name: int(np.argmin(values[name])) for name in ("loss", "val_loss")}
    assert best["loss"] != best["val_loss"]
    for stoppers, name in (([by_loss, by_train, keeps], "loss"), ([by_train, keeps, by_loss], "val_loss")):
        model = network()
        history = fit(model, classes, True, callbacks=stoppers)
        assert history.best_epoch == best[name]
        reached = network()
        fit(reached, classes, True, best[name] + 1, early_stopping=False)
        assert (model.flat_parameters == reached.flat_parameters).all()


def test_several_go_on_counting_where_training_goes_on(classes: Table, tmp_path: Path) -> None:
    rules = [
        dnn.EarlyStopping(3, monitor="loss", min_delta=0.02),
        dnn.EarlyStopping(9, monitor="val_accuracy", baseline=0.3),
        dnn.EarlyStopping(7, monitor="val_loss"),
    ]
    whole = network()
    expected = fit(whole, classes, True, callbacks=rules)
    n = len(expected.epochs)
    assert 2 < n < 40
    for stop in {1, n // 2, n - 1}:
        parts = network()
        fit(parts, classes, True, stop, callbacks=rules)
        parts.save(tmp_path / "parts.dnn")
        model = dnn.load(tmp_path / "parts.dnn")
        history = fit(model, classes, True, callbacks=rules, optimizer=None, initial_epoch=stop)
        assert same(model, whole)
        assert (history.message, history.best_epoch) == (expected.message, expected.best_epoch)
        assert history.stopped_because == "early_stopping"


def test_the_history_tells_whose_weights_came_back() -> None:
    history = dnn.History(
        {"loss": [3.0, 2.0, 1.0], "val_loss": [2.0, 1.5, 4.0]},
        epochs=[0, 1, 2],
        stopped_because="epochs",
        message="all 3 epochs are done",
        best_epoch=1,
    )
    told = "all 3 epochs are done; the weights are those of epoch 2: val_loss 1.5"
    assert repr(history) == f"<History of 3 epochs: loss 1, val_loss 4; {told}>"
    assert told in history._repr_html_()
    history.best_epoch = 2
    assert "weights" not in repr(history)
