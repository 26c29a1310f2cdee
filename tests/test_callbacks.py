"""The callbacks that come with the package: files, rates, logs; what an exception in one leaves behind."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from dnn._callbacks import Monitor
from models import Table, model_of, same


def small() -> dnn.Sequential:
    return model_of(dnn.Dense(4, "tanh"), dnn.Dense(1))


# ModelCheckpoint


def test_a_checkpoint_is_named_by_epoch_and_values(regression: Table, tmp_path: Path) -> None:
    name = str(tmp_path / "{epoch:02d}-{loss:.4f}.dnn")
    history = small().fit(*regression, epochs=3, callbacks=[dnn.ModelCheckpoint(name)])
    expected = [f"{epoch:02d}-{loss:.4f}.dnn" for epoch, loss in enumerate(history.history["loss"], 1)]
    assert sorted(os.listdir(tmp_path)) == expected


@pytest.mark.parametrize(("monitor", "mode", "pick"), [("val_loss", "auto", min), ("loss", "max", max)])
def test_save_best_only_keeps_the_best(
    monitor: str, mode: str, pick: Any, regression: Table, tmp_path: Path
) -> None:
    best, path = tmp_path / "best.dnn", str(tmp_path / "{epoch}.dnn")
    callbacks = [
        dnn.ModelCheckpoint(best, monitor, save_best_only=True, mode=mode),
        dnn.ModelCheckpoint(path),
    ]
    history = small().fit(
        *regression, epochs=15, optimizer=dnn.SGD(0.5), callbacks=callbacks, validation_split=0.3
    )
    values = history.history[monitor]
    at = values.index(pick(values))
    assert same(dnn.load(best), dnn.load(path.format(epoch=at + 1)))
    assert callbacks[0].best == pick(values)


def test_a_threshold_and_weights_only_are_obeyed(regression: Table, tmp_path: Path) -> None:
    none, small_file = tmp_path / "none.dnn", tmp_path / "small.dnn"
    small().fit(
        *regression,
        epochs=2,
        callbacks=[
            dnn.ModelCheckpoint(none, "loss", save_best_only=True, initial_value_threshold=-1.0),
            dnn.ModelCheckpoint(small_file, save_weights_only=True),
        ],
    )
    assert not none.exists()
    assert dnn.load(small_file).next_epoch == 0


def test_what_a_checkpoint_can_not_do_is_told(regression: Table, tmp_path: Path) -> None:
    path = tmp_path / "model.dnn"
    for arguments, error, match in [
        ((3,), TypeError, "filepath"),
        ((path, "loss", 0, False, False, "best"), ValueError, "mode"),
        ((path, 7), TypeError, "monitor"),
        ((path, "loss", 0, "yes"), TypeError, "save_best_only"),
        ((str(path) + "{",), ValueError, "filepath"),
    ]:
        with pytest.raises(error, match=match):
            dnn.ModelCheckpoint(*arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="save_freq"):
        dnn.ModelCheckpoint(path, save_freq="batch")
    for callback, match in [
        (dnn.ModelCheckpoint(path, save_best_only=True), "val_loss.*validation_split"),
        (dnn.ModelCheckpoint(str(path) + "{val_acc}"), "val_acc.*grad_norm, loss"),
    ]:
        with pytest.raises(ValueError, match=match):
            small().fit(*regression, callbacks=[callback])
    assert os.listdir(tmp_path) == []


# Rates


def test_the_scheduler_sets_the_rate_of_the_epoch_that_begins(regression: Table) -> None:
    rates = [0.1, 0.05, 0.2]
    scheduler = dnn.LearningRateScheduler(lambda epoch, rate: rates[epoch])
    scheduled, listed = small(), small()
    history = scheduled.fit(*regression, 20, 3, optimizer=dnn.SGD(1.0), callbacks=[scheduler])
    listed.fit(*regression, 20, 3, optimizer=dnn.SGD(np.repeat(rates, 3)))
    assert history.history["rate"] == rates
    assert same(scheduled, listed)
    assert scheduled.learning_rate == 0.2


def test_reduce_on_plateau_is_keras_s_rule(regression: Table) -> None:
    # The values that it sees are given, so that its rule can be followed by hand.
    def rates(values: list[float], **arguments: Any) -> list[float]:
        model = small()
        found: list[float] = []

        class Given(dnn.ReduceLROnPlateau):
            def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
                found.append(logs["rate"])
                super().on_epoch_end(epoch, {"loss": values[epoch], "accuracy": values[epoch]})

        callback = Given(**{"monitor": "loss", "factor": 0.5, "patience": 2, "min_delta": 0.0, **arguments})
        model.fit(*regression, epochs=len(values), optimizer=dnn.SGD(1.0), callbacks=[callback])
        return found

    flat = [1.0] * 8
    assert rates(flat) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert rates(flat, cooldown=2) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates(flat, min_lr=0.3) == [1, 1, 1, 0.5, 0.5, 0.3, 0.3, 0.3]
    falling = [1.0, 0.9, 0.8, 0.7, 0.6]
    assert rates(falling) == [1.0] * 5
    assert rates(falling, min_delta=0.15) == [1, 1, 1, 1, 1]
    assert rates(falling, monitor="accuracy") == [1, 1, 1, 0.5, 0.5]
    assert rates(falling, mode="max") == [1, 1, 1, 0.5, 0.5]


def test_a_rate_that_is_no_number_can_not_be_changed(regression: Table) -> None:
    for callback in (
        dnn.LearningRateScheduler(lambda epoch, rate: rate),
        dnn.ReduceLROnPlateau("loss", patience=1, min_delta=100.0),
    ):
        with pytest.raises(ValueError, match="a rate that is one number"):
            small().fit(*regression, epochs=5, optimizer=dnn.SGD([0.1, 0.2]), callbacks=[callback])
    with pytest.raises(ValueError, match=r"schedule\(0, 0.001\)"):
        small().fit(*regression, callbacks=[dnn.LearningRateScheduler(lambda epoch, rate: -1.0)])
    with pytest.raises(ValueError, match="finds its step by itself"):
        small().fit(
            *regression,
            optimizer="lbfgs",
            callbacks=[dnn.LearningRateScheduler(lambda epoch, rate: rate)],
        )


def test_setting_the_rate_keeps_the_memory_of_the_optimizer(regression: Table) -> None:
    changed, listed = small(), small()
    changed.fit(*regression, "full", 2, optimizer=dnn.SGD(0.1, momentum=0.9))
    changed.learning_rate = 0.02
    changed.fit(*regression, "full", 2)
    listed.fit(*regression, "full", 4, optimizer=dnn.SGD([0.1, 0.1, 0.02], momentum=0.9))
    assert same(changed, listed)
    with pytest.raises(ValueError, match="learning_rate"):
        changed.learning_rate = -1.0


# Logs


def test_the_csv_file_has_what_the_history_has(regression: Table, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    model = small()
    history = model.fit(*regression, epochs=3, callbacks=[dnn.CSVLogger(path)], validation_split=0.2)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    for name, values in history.history.items():
        assert [float(row[name]) for row in rows] == values
    more = model.fit(
        *regression,
        epochs=5,
        initial_epoch=3,
        callbacks=[dnn.CSVLogger(path, append=True)],
        validation_split=0.2,
    )
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3, 4]
    assert float(rows[4]["val_loss"]) == more.history["val_loss"][-1]
    small().fit(*regression, callbacks=[dnn.CSVLogger(path, separator="\t")])
    assert path.read_text().splitlines()[0].split("\t")[:2] == ["epoch", "grad_norm"]


def test_a_csv_file_that_can_not_be_written_is_told_before_training(
    regression: Table, tmp_path: Path
) -> None:
    model = small()
    with pytest.raises(FileNotFoundError):
        model.fit(*regression, callbacks=[dnn.CSVLogger(tmp_path / "missing" / "log.csv")])
    assert model.next_epoch == 0


def test_tensorboard_gets_training_and_validation_apart(
    regression: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, list[tuple[str, float, int]]] = {}
    closed: list[str] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            self.folder = os.path.basename(folder)

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            written.setdefault(self.folder, []).append((tag, value, step))

        def flush(self) -> None: ...

        def close(self) -> None:
            closed.append(self.folder)

    module = types.ModuleType("tensorboardX")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    history = small().fit(
        *regression, epochs=2, callbacks=[dnn.TensorBoard("logs")], validation_split=0.2, metrics=["mae"]
    )
    for side, prefix in (("train", ""), ("validation", "val_")):
        for name in ("loss", "mae"):
            values = [value for tag, value, _ in written[side] if tag == f"epoch_{name}"]
            assert values == history.history[prefix + name]
    assert sorted(closed) == ["train", "validation"]


def test_without_a_writer_tensorboard_says_what_to_install(
    regression: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorboardX", "torch.utils.tensorboard", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    model = small()
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        model.fit(*regression, callbacks=[dnn.TensorBoard()])
    assert model.next_epoch == 0


def test_the_progress_bar_shows_where_auto_would_not(
    regression: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    small().fit(*regression, epochs=3, callbacks=[dnn.ProgressBar()])
    shown = capsys.readouterr().err
    assert "epoch 3/3 [####################]" in shown
    assert shown.endswith("\n")


# Exceptions


@pytest.mark.parametrize("method", ["on_epoch_end", "on_train_batch_end", "on_epoch_begin"])
def test_an_exception_leaves_the_model_after_its_last_step(method: str, regression: Table) -> None:
    arguments: dict[str, Any] = {"validation_split": 0.3, "optimizer": dnn.SGD(0.8)}
    seen: list[Any] = []

    def fail(number: int, logs: dict[str, float]) -> None:
        seen.append(model.flat_parameters)
        if len(seen) == 6:
            raise ArithmeticError("as the test wants")

    model = small()
    with pytest.raises(ArithmeticError, match="as the test wants"):
        model.fit(*regression, epochs=20, callbacks=[dnn.LambdaCallback(**{method: fail})], **arguments)
    # Not those of the best epoch: the fit was not ended, it failed.
    np.testing.assert_array_equal(model.flat_parameters, seen[-1])
    model.fit(*regression, epochs=2)


def test_a_state_that_can_not_be_saved_is_told(regression: Table, tmp_path: Path) -> None:
    class Odd(dnn.Callback):
        def get_state(self) -> dict[str, Any]:
            return {"file": object()}

    model = small()
    model.fit(*regression, callbacks=[Odd()])
    with pytest.raises(TypeError, match="get_state"):
        model.save(tmp_path / "model.dnn")


@pytest.mark.parametrize("name", ["validation_score", "val_score", "val_accuracy"])
def test_scores_are_better_when_they_are_higher(name: str) -> None:
    assert Monitor(name, "auto", 0.0).higher


def test_a_state_that_looks_like_a_number_of_ours_comes_back_as_it_was(
    regression: Table, tmp_path: Path
) -> None:
    states: list[dict[str, Any]] = [
        {"float": 3},
        {"float": "inf"},
        {"float": {"float": float("-inf")}},
        {"best": float("inf"), "float": 1.5},
        {"list": [{"float": None}, float("nan")]},
    ]

    class Keeps(dnn.Callback):
        def __init__(self, state: dict[str, Any] | None = None) -> None:
            self.state = state

        def get_state(self) -> dict[str, Any] | None:
            return self.state

        def set_state(self, state: dict[str, Any]) -> None:
            self.state = state

    model = small()
    model.fit(*regression, epochs=1, callbacks=[Keeps(state) for state in states])
    model.save(tmp_path / "model.dnn")
    callbacks = [Keeps() for _ in states]
    dnn.load(tmp_path / "model.dnn").fit(*regression, epochs=2, initial_epoch=1, callbacks=callbacks)
    assert repr([callback.state for callback in callbacks]) == repr(states)


METHODS = ["on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end"]
METHODS += ["on_train_batch_begin", "on_train_batch_end"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("answer", ["stop", 1, 0.0, [True]], ids=str)
def test_an_answer_that_is_neither_none_nor_a_bool_is_refused(
    method: str, answer: Any, regression: Table
) -> None:
    def own(self: Any, *arguments: Any) -> Any:
        return answer

    def of_function(*arguments: Any) -> Any:
        return answer

    mine = type("Mine", (dnn.Callback,), {method: own})()
    function = dnn.LambdaCallback(**{method: of_function})
    for callback, who in ((mine, "Mine"), (function, "the function of_function")):
        message = f"{method} of {who} returned {answer!r} ({type(answer).__name__}); return True to stop"
        with pytest.raises(TypeError, match=re.escape(message)):
            small().fit(*regression, epochs=2, callbacks=[callback])


@pytest.mark.parametrize(("answer", "epochs"), [(None, 3), (False, 3), (True, 1), (np.True_, 1)], ids=str)
def test_true_stops_and_none_and_false_go_on(answer: Any, epochs: int, regression: Table) -> None:
    def end(epoch: int, logs: dict[str, float]) -> Any:
        return answer

    assert len(small().fit(*regression, epochs=3, callbacks=[end]).epochs) == epochs


def test_what_else_a_lambda_returns_counts_for_nothing(regression: Table) -> None:
    text = io.StringIO()
    write = dnn.LambdaCallback(on_epoch_end=lambda epoch, logs: text.write(f"{epoch} "))
    assert len(small().fit(*regression, epochs=3, callbacks=[write, lambda *_: "stop"]).epochs) == 3
    assert text.getvalue() == "0 1 2 "


def test_another_thread_ends_training_and_is_refused_another_rate() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 30))
    model = dnn.Sequential([dnn.Input(30), dnn.Dense(64, "relu"), dnn.Dense(1)], seed=1)
    found: list[dnn.History] = []
    thread = threading.Thread(target=lambda: found.append(model.fit(x, x[:, 0], epochs=100_000, verbose=0)))
    thread.start()
    try:
        while not model._network.is_training:
            time.sleep(0.001)
        with pytest.raises(RuntimeError, match="learning_rate: the model is training; do it in a callback"):
            model.learning_rate = 1.0
        with pytest.raises(RuntimeError, match="writes what was learnt so far"):
            model.save("never.dnn")
    finally:
        model.stop_training = True
        thread.join()
    assert found[0].stopped_because == "callback"
    assert len(found[0].epochs) < 100_000
    assert model.learning_rate == 0.001
    # It does not end the next one.
    assert len(model.fit(x, x[:, 0], epochs=2, verbose=0).epochs) == 2


@pytest.mark.parametrize(
    ("callback", "error", "message"),
    [
        (dnn.ModelCheckpoint("missing/{epoch}.dnn"), FileNotFoundError, "no such folder: 'missing'"),
        (dnn.ModelCheckpoint("{val_loss}.dnn"), ValueError, "wants {val_loss}, which is not measured"),
        (dnn.ModelCheckpoint("best.dnn", save_best_only=True), ValueError, "pass validation_split"),
        (dnn.ReduceLROnPlateau(), ValueError, "pass validation_split"),
    ],
)
def test_what_a_callback_can_not_do_is_refused_before_training(
    regression: Table, callback: dnn.Callback, error: type[Exception], message: str
) -> None:
    model = small()
    model.fit(*regression, epochs=1)
    before = model.get_weights()
    with pytest.raises(error, match=re.escape(message)):
        model.fit(*regression, epochs=3, callbacks=[callback])
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_what_another_callback_measures_may_be_watched(regression: Table) -> None:
    class Measures(dnn.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            logs["mine"] = 1.0

    callbacks = [Measures(), dnn.ReduceLROnPlateau("mine", factor=0.5, patience=1)]
    history = small().fit(*regression, epochs=4, optimizer=dnn.SGD(0.1), callbacks=callbacks)
    assert history.history["rate"] == [0.1, 0.1, 0.05, 0.025]


def test_a_fit_that_is_refused_beside_another_one_changes_nothing_of_it() -> None:
    x = np.random.default_rng(0).normal(size=(2000, 20))
    model = dnn.Sequential([dnn.Input(20), dnn.Dense(32, "relu"), dnn.Dense(1)], seed=1)
    refused: list[str] = []

    class Beside(dnn.Callback):
        """Another thread wants to train with everything else, while this one waits here."""

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            def fit() -> None:
                try:
                    model.fit(x, x[:, 0], optimizer="sgd", metrics=["mae"], epochs=1)
                except RuntimeError as error:
                    refused.append(str(error))

            hook, thread = model._hook, threading.Thread(target=fit)
            model.learning_rate, model.stop_training = 0.01, epoch == 2
            thread.start()
            thread.join()
            assert model._hook is hook

    model.fit(x, x[:, 0], epochs=9, callbacks=[Beside()])
    assert refused == ["fit: the model is already training"] * 3
    assert (model.optimizer.name, model.learning_rate, model.stop_training) == ("adam", 0.01, True)


@pytest.mark.parametrize("path", ["{loss:d}.dnn", "{epoch:{width}}.dnn"])
def test_a_path_that_can_not_be_filled_in_is_refused_before_training(regression: Table, path: str) -> None:
    model = small()
    with pytest.raises(ValueError, match="can't be filled in"):
        model.fit(*regression, epochs=1, callbacks=[dnn.ModelCheckpoint(path)])
    with pytest.raises(RuntimeError, match="no weights yet"):
        model.get_weights()
