"""Going on: a training that stops, is saved, loaded and goes on has the bits of one that never stopped.

Driven by the registries of optimizers and layers, so that whatever is added is tried as well.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from dnn._optimizers import OPTIMIZERS
from models import Table, model_of, same, same_bits

# Settings that a default leaves out but that have memory of their own.
VARIANTS: list[dnn.SGD | dnn.Adam] = [
    dnn.SGD(0.05, momentum=0.9),
    dnn.SGD(0.05, momentum=0.9, nesterov=True),
    dnn.SGD(0.05, momentum=0.9, dampened=True),
    dnn.Adam(0.01, amsgrad=True),
    dnn.SGD([0.1 / (1 + step) for step in range(100)]),
]
ALL_OPTIMIZERS: list[Any] = [*sorted(OPTIMIZERS), *VARIANTS]
EPOCHS = 9


def hidden_layers() -> list[Any]:
    """One of each layer that the package offers and that may stand in the middle."""
    found: list[Any] = [dnn.Dense(8, "tanh", l2=1e-3), dnn.Dense(6, "relu")]
    for name, arguments in [
        ("Dropout", (0.2,)),
        ("GaussianNoise", (0.1,)),
        ("AlphaDropout", (0.1,)),
        ("BatchNormalization", ()),
        ("LayerNormalization", ()),
    ]:
        if hasattr(dnn, name):
            found.append(getattr(dnn, name)(*arguments))
    return found


def network(dtype: str = "float32") -> dnn.Sequential:
    return model_of(*hidden_layers(), dnn.Dense(1), dtype=dtype)


def fit(model: dnn.Sequential, data: Table, first: int, last: int, **arguments: Any) -> dnn.History:
    return model.fit(*data, 16, last, initial_epoch=first, **arguments)


def through_a_file(model: dnn.Sequential, path: Path) -> dnn.Sequential:
    model.save(path)
    return dnn.load(path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ALL_OPTIMIZERS, ids=str)
def test_every_optimizer_goes_on_with_the_same_bits(
    optimizer: Any, dtype: str, regression: Table, tmp_path: Path
) -> None:
    whole, parts, pickled = (network(dtype) for _ in range(3))
    history = fit(whole, regression, 0, EPOCHS, optimizer=optimizer)
    for model in (parts, pickled):
        fit(model, regression, 0, 2, optimizer=optimizer)
    losses: list[float] = []
    for first, last in [(2, 3), (3, 7), (7, EPOCHS)]:
        parts = through_a_file(parts, tmp_path / "model.dnn")
        assert parts.next_epoch == first
        losses += fit(parts, regression, first, last).history["loss"]
        pickled = pickle.loads(pickle.dumps(pickled))
        fit(pickled, regression, first, last)
    assert same(parts, whole)
    assert same(pickled, whole)
    assert losses == history.history["loss"][2:]


# Everything that a fit can count, in combinations in which each meets each kind of the others.
SCHEDULES: dict[str, Any] = {
    "constant": lambda rate: rate,
    "warm restarts": lambda rate: dnn.WarmUp(dnn.CosineRestarts(2 * rate, 7), 3),
    "one cycle": lambda rate: dnn.OneCycle(3 * rate),
    "plateau": lambda rate: dnn.ReduceOnPlateau(rate, factor=0.5, patience=0, threshold=0.05),
    "adaptive": lambda rate: dnn.Adaptive(rate, tol=0.02, n_iter_no_change=1),
}
STOPPING: dict[str, Any] = {
    "free": {},
    "validated": {"validation_split": 0.3},
    "val_loss": {"validation_split": 0.3, "early_stopping": 2},
    "loss": {"callbacks": [dnn.EarlyStopping(2, monitor="loss", min_delta=0.03)]},
    "val_mae": {
        "validation_split": 0.3,
        "metrics": ["mae"],
        "callbacks": [dnn.EarlyStopping(3, monitor="val_mae", min_delta=0.01)],
    },
}
AVERAGES: dict[str, Any] = {
    "no mean": {},
    "ema": {"averaging": dnn.EMA(0.8)},
    "swa": {"averaging": dnn.SWA(2, every=2)},
}
STEPS: dict[str, Any] = {
    "shuffled": {},
    "in order": {"order": lambda epoch: np.random.default_rng(epoch).integers(0, 60, 40)},
    "as they lie": {"shuffle": False},
    "accumulated": {"accumulate": 2},
}


def combinations() -> list[Any]:
    """Each schedule, stopping, mean and kind of step with each optimizer, and with most of the others."""
    found = []
    for i, optimizer in enumerate(sorted(set(OPTIMIZERS) - {"lbfgs"})):
        for j in range(5):
            names = [
                list(kind)[(i + j * by) % len(kind)] for kind, by in zip(KINDS, (1, 2, 1, 3), strict=True)
            ]
            found.append(pytest.param(optimizer, *names, id=", ".join([optimizer, *names])))
    return found


KINDS = (SCHEDULES, STOPPING, AVERAGES, STEPS)


@pytest.mark.parametrize(("optimizer", "schedule", "stopping", "mean", "steps"), combinations())
def test_all_that_a_fit_counts_goes_on_from_any_checkpoint_of_it(
    optimizer: str, schedule: str, stopping: str, mean: str, steps: str, regression: Table, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {**STOPPING[stopping], **AVERAGES[mean], **STEPS[steps]}
    if "order" in arguments and "validation_split" in arguments:
        x, y = regression
        del arguments["validation_split"]
        arguments["validation_data"] = (x[::3], y[::3])
    callbacks = arguments.pop("callbacks", [])
    made = OPTIMIZERS[optimizer]
    rule = made(SCHEDULES[schedule](made().learning_rate), clip_norm=5.0)
    whole = network()
    save = dnn.ModelCheckpoint(tmp_path / "{epoch}.dnn")
    expected = fit(whole, regression, 0, EPOCHS, optimizer=rule, callbacks=[*callbacks, save], **arguments)
    n = len(expected.epochs)
    assert n >= 3
    for stop in {1, n // 2, n - 1}:
        parts = dnn.load(tmp_path / f"{stop}.dnn")
        history = fit(parts, regression, stop, EPOCHS, callbacks=callbacks, **arguments)
        for name in set(expected.history) - {"seconds"}:
            assert history.history[name] == expected.history[name][stop:]
        assert (history.message, history.best_epoch) == (expected.message, expected.best_epoch)
        assert same(parts, whole)


def test_the_combinations_leave_no_pair_out() -> None:
    met = {(a, b) for case in combinations() for a in case.values for b in case.values}
    optimizers = {case.values[0] for case in combinations()}
    for kind in KINDS:
        assert {(optimizer, name) for optimizer in optimizers for name in kind} <= met
        for other in KINDS:
            if other is not kind:
                assert {(a, b) for a in kind for b in other} <= met


def test_early_stopping_and_the_best_weights_go_on_counting(regression: Table, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"validation_split": 0.3, "early_stopping": 6}
    optimizer = dnn.SGD(0.3)  # fast enough for the validation loss to rise and fall
    whole = network()
    expected = fit(whole, regression, 0, 200, optimizer=optimizer, **arguments)
    assert expected.stopped_because == "early_stopping"
    n = len(expected.epochs)
    assert expected.best_epoch == n - 1 - 6
    for stop in range(1, n):
        parts = network()
        fit(parts, regression, 0, stop, optimizer=optimizer, **arguments)
        best = int(np.argmin(expected.history["val_loss"][:stop]))
        assert parts.evaluate(*regression)  # with the best weights so far
        assert parts.history is not None
        assert parts.history.best_epoch == best
        parts = through_a_file(parts, tmp_path / "model.dnn")
        history = fit(parts, regression, stop, 200, **arguments)
        assert (history.stopped_because, history.epochs[-1]) == ("early_stopping", n - 1)
        assert history.best_epoch == expected.best_epoch
        assert history.message == expected.message
        assert same(parts, whole)


def test_tol_goes_on_counting(regression: Table, tmp_path: Path) -> None:
    whole, parts = network(), network()
    arguments: dict[str, Any] = {"tol": 1e-3, "n_iter_no_change": 4}
    expected = fit(whole, regression, 0, 500, optimizer=dnn.SGD(0.05), **arguments)
    assert expected.stopped_because == "tol"
    stop = len(expected.epochs) - 2
    fit(parts, regression, 0, stop, optimizer=dnn.SGD(0.05), **arguments)
    parts = through_a_file(parts, tmp_path / "model.dnn")
    history = fit(parts, regression, stop, 500, **arguments)
    assert len(history.epochs) == 2
    assert same(parts, whole)


def test_weights_set_in_between_are_those_that_training_goes_on_from(regression: Table) -> None:
    arguments: dict[str, Any] = {"validation_split": 0.3, "optimizer": dnn.SGD(0.0 + 1e-30)}
    model = network()
    fit(model, regression, 0, 3, **arguments)
    zeros = [0 * array for array in model.get_weights()]
    model.set_weights(zeros)
    fit(model, regression, 3, 4, **arguments)
    # Not the running statistics of a normalisation, which no optimizer moves.
    assert np.abs(model.flat_parameters).max() < 1e-20


def test_another_first_epoch_is_another_training(regression: Table) -> None:
    model = network()
    fit(model, regression, 0, 3, tol=1e9, n_iter_no_change=3, optimizer="sgd")
    # After the first epoch, the best so far, three without improvement: those before don't count.
    assert fit(model, regression, 7, 12, tol=1e9, n_iter_no_change=3).epochs == [7, 8, 9, 10]
    assert fit(model, regression, 11, 12, tol=1e9, n_iter_no_change=3).epochs == [11]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_checkpoint_of_any_epoch_goes_on_in_a_new_process(
    optimizer: str, regression: Table, tmp_path: Path
) -> None:
    x, y = regression
    np.savez(tmp_path / "data.npz", x=x, y=y)
    path = str(tmp_path / "{epoch}.dnn")
    code = """
import sys, numpy as np, dnn
data = np.load(sys.argv[1])
model = dnn.load(sys.argv[2])
model.fit(data["x"], data["y"], 16, 9, initial_epoch=model.next_epoch, validation_split=0.3,
          callbacks=[dnn.ReduceLROnPlateau("loss", 0.5, 2, min_delta=0.01)] if sys.argv[4] == "adam" else [])
np.save(sys.argv[3], model.flat_parameters)
"""
    whole = network()
    plateau = [dnn.ReduceLROnPlateau("loss", 0.5, 2, min_delta=0.01)] if optimizer == "adam" else []
    callbacks = [*plateau, dnn.ModelCheckpoint(path)]
    fit(whole, regression, 0, EPOCHS, optimizer=optimizer, validation_split=0.3, callbacks=callbacks)
    for stop in (1, 5):
        arguments = [
            str(tmp_path / "data.npz"),
            path.format(epoch=stop),
            str(tmp_path / "out.npy"),
            optimizer,
        ]
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=120)
        assert same_bits([np.load(tmp_path / "out.npy")], [whole.flat_parameters])


def test_without_the_optimizer_the_file_is_smaller_and_predicts_the_same(
    regression: Table, tmp_path: Path
) -> None:
    x, y = regression
    model = model_of(dnn.Dense(200, "tanh"), dnn.Dense(1))
    model.fit(x, y, 16, 3, validation_split=0.2)
    model.save(tmp_path / "whole.dnn")
    model.save(tmp_path / "small.dnn", optimizer=False)
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.dnn", "small.dnn")]
    assert sizes[1] < 0.5 * sizes[0]
    small = dnn.load(tmp_path / "small.dnn")
    assert same_bits([small.predict(x)], [model.predict(x)])
    assert (small.next_epoch, small.optimizer, small.loss) == (0, model.optimizer, model.loss)
    small.fit(x, y, 16, 1)
    with pytest.raises(TypeError, match="optimizer"):
        model.save(tmp_path / "small.dnn", optimizer="no")  # type: ignore[arg-type]


# Files


def test_a_process_killed_while_it_saves_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "model.dnn"
    code = """
import sys, dnn
model = dnn.Sequential([dnn.Input(300), dnn.Dense(600, "relu"), dnn.Dense(1)], seed=1)
while True:
    model.save(sys.argv[1])
    print(flush=True)
"""
    for delay in (0.0, 0.011, 0.023, 0.037):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()  # it saves from now on
        time.sleep(delay)
        process.kill()
        process.wait()
        process.stdout.close()
        assert dnn.load(path).n_inputs == 300


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="the size of files can't be limited here")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.dnn"
    model_of(dnn.Input(2), dnn.Dense(1)).save(path)
    old = path.read_bytes()
    code = """
import resource, sys, dnn
model = dnn.Sequential([dnn.Input(300), dnn.Dense(600, "relu"), dnn.Dense(1)])
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
try:
    model.save(sys.argv[1])
except OSError as error:
    print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "OSError"
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["model.dnn"]


def test_a_folder_that_can_not_be_written_is_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    model = model_of(dnn.Input(2), dnn.Dense(1))
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "missing" / "model.dnn")
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        model.save(tmp_path / "model.dnn")
        old = (tmp_path / "model.dnn").read_bytes()
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(PermissionError):
                model.save(tmp_path / "model.dnn")
        finally:
            tmp_path.chmod(0o700)
        assert (tmp_path / "model.dnn").read_bytes() == old
    # A folder in the place of the file can't be replaced by it.
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    with pytest.raises(IsADirectoryError):
        model.save(tmp_path / "folder")
    assert sorted(name for name in os.listdir(tmp_path) if name.endswith(".tmp")) == []


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_checkpoint_has_what_callbacks_behind_it_have_counted(tmp_path: Path, place: str) -> None:
    rng = np.random.default_rng(2)
    data = rng.normal(size=(64, 3)), rng.normal(size=64)

    def callbacks() -> list[dnn.Callback]:
        # Nothing is ever better by 100: the rate drops every second epoch.
        plateau = dnn.ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=100.0)
        checkpoint = dnn.ModelCheckpoint(tmp_path / "{epoch}.dnn")
        return [checkpoint, plateau] if place == "first" else [plateau, checkpoint]

    whole = model_of(dnn.Dense(8, "tanh"), dnn.Dense(1))
    rates = fit(whole, data, 0, 8, callbacks=callbacks()).history["rate"]
    assert len(set(rates)) > 2
    for epoch in (1, 2, 3, 4, 5):
        model = dnn.load(tmp_path / f"{epoch}.dnn")
        history = fit(model, data, epoch, 8, callbacks=callbacks())
        assert history.history["rate"] == rates[epoch:], epoch
        assert same(model, whole), epoch


def test_who_uses_the_file_of_a_checkpoint_comes_after_it(tmp_path: Path) -> None:
    path, found = tmp_path / "model.dnn", []
    callbacks = [dnn.ModelCheckpoint(path), lambda epoch, logs: found.append(path.exists())]
    fit(model_of(dnn.Dense(1)), (np.zeros((8, 2)), np.zeros(8)), 0, 2, callbacks=callbacks)
    assert found == [True, True]
