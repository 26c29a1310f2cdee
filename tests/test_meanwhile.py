"""A model that others use while it trains: threads, functions that `fit` calls, and handlers of signals."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest

from benchmarks import memory


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 30)).astype(np.float32)
    return x, np.tanh(x[:, :1])


def small(dtype: str = "float32") -> dnn.Sequential:
    model = dnn.Sequential([dnn.Input(30), dnn.Dense(40, "tanh"), dnn.Dense(1)], dtype=dtype, seed=1)
    model.compile("adam", "mse")
    return model


def numbers(model: dnn.Sequential) -> bytes:
    return b"".join(array.tobytes() for array in model.get_weights())


def in_training(model: dnn.Sequential, work: Callable[[], None], **keywords: Any) -> dnn.History:
    """Does `work` while another thread trains the model, and ends the training."""
    found: list[dnn.History] = []
    options = {"epochs": 1_000_000, "verbose": 0, **keywords}
    thread = threading.Thread(target=lambda: found.append(model.fit(*data(), **options)))
    thread.start()
    try:
        while not model._network.is_training:
            time.sleep(0.001)
        work()
    finally:
        model.stop_training = True
        thread.join()
    return found[0]


@pytest.mark.parametrize("batch_size", [32, "full"])
def test_weights_that_another_thread_reads_are_those_of_a_finished_step(batch_size: Any) -> None:
    model, read = small(), list[bytes]()

    def work() -> None:
        for _ in range(40):
            read.append(numbers(model))
            time.sleep(0.002)

    options = {"batch_size": batch_size, "shuffle": False, "n_threads": 1, "verbose": 0}
    history = in_training(model, work, **options)
    assert len(set(read)) > 1
    # The same training once more, all of whose steps are looked at.
    again = small()
    steps = {numbers(again)}
    assert not steps.issuperset(read[1:])

    class Look(dnn.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            steps.add(numbers(again))

    again.fit(*data(), epochs=len(history.epochs), callbacks=[Look()], **options)
    assert numbers(again) == numbers(model)
    assert steps.issuperset(read)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_another_thread_computes_goes_by_what_was_learnt(dtype: str, tmp_path: Path) -> None:
    x, y = data()
    model, path = small(dtype), tmp_path / "model.dnn"
    begins, losses = model.evaluate(x, y)["loss"], list[float]()

    def work() -> None:
        for _ in range(3):
            time.sleep(0.05)
            assert np.isfinite(model.predict(x[:2])).all()
            losses.append(model.evaluate(x, y)["loss"])
        model.save(path, optimizer=False)

    in_training(model, work)
    losses.append(dnn.load(path).evaluate(x, y)["loss"])
    assert max(losses) < 0.1 * begins


def test_readers_that_never_rest_change_nothing_of_a_training() -> None:
    model, alone = small(), small()
    ended, read = threading.Event(), [0, 0]
    x, y = data()

    def reader(at: int) -> None:
        while not ended.is_set():
            assert np.isfinite(model.predict(x[:3])).all()
            read[at] += 1

    threads = [threading.Thread(target=reader, args=(at,)) for at in (0, 1)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(20):
            model.fit(x, y, epochs=3, verbose=0)
    finally:
        sys.setswitchinterval(interval)
        ended.set()
        for thread in threads:
            thread.join()
    for _ in range(20):
        alone.fit(x, y, epochs=3, verbose=0)
    assert numbers(model) == numbers(alone)
    assert min(read) > 0


def test_functions_that_fit_calls_see_the_weights_of_the_last_step() -> None:
    x, y = data()
    model, seen = small(), dict[str, list[bytes]]()

    def look(who: str) -> None:
        # In another thread, which they wait for.
        thread = threading.Thread(target=lambda: seen.setdefault(who, []).append(numbers(model)))
        thread.start()
        thread.join()

    def order(epoch: int) -> Any:
        look("order")
        return np.arange(len(x))

    def rate(step: int) -> float:
        if step % 125 == 0:
            look("rate")
        return 1e-3

    def end(epoch: int, logs: dict[str, float]) -> None:
        look("callback")

    begins = numbers(model)
    model.fit(x, y, 32, 3, optimizer=dnn.Adam(rate), order=order, callbacks=[end], verbose=0)
    ends = seen["callback"]
    assert len({begins, *ends}) == 4
    assert seen["order"] == [begins, *ends[:-1]]
    assert seen["rate"] == [begins, *ends[:-1]]


def test_functions_within_a_step_see_the_weights_from_before_the_fit() -> None:
    x, y = data()
    model, seen = small(), set[bytes]()

    def metric(y_true: Any, y_pred: Any) -> float:
        seen.add(numbers(model))
        return 0.0

    begins = numbers(model)
    model.fit(x, y, epochs=2, metrics=[metric], verbose=0)
    assert seen == {begins}
    assert numbers(model) != begins


def test_a_line_search_shows_no_weights_that_it_only_tries() -> None:
    model, read = small(), set[bytes]()
    begins = numbers(model)

    def work() -> None:
        for _ in range(20):
            read.add(numbers(model))
            time.sleep(0.002)

    in_training(model, work, batch_size="full", optimizer=dnn.LBFGS(max_fun=10**6))
    assert read == {begins}


def test_a_fit_that_is_refused_leaves_the_weights_and_lets_others_read_them() -> None:
    x, y = data()
    model = small()
    begins = numbers(model)
    with pytest.raises(ValueError, match="batch"):
        model.fit(x, y, batch_size=0, verbose=0)
    layers = [dnn.Input(30), dnn.BatchNormalization(), dnn.Dense(1)]
    normalized = dnn.Sequential(layers, seed=1)
    before = numbers(normalized)
    with pytest.raises(ValueError, match="leaves nothing to normalise with"):
        normalized.fit(x, y, batch_size=1, verbose=0)
    assert (numbers(model), numbers(normalized)) == (begins, before)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell the peak")
def test_a_fit_takes_little_more_than_it_has_to_hold() -> None:
    taken, need = memory.measured("mnist-mlp")
    assert taken < 1.3 * need


def test_from_its_first_moment_nobody_changes_what_fit_trains() -> None:
    x, y = data()
    model, alone = small(), small()
    told: list[str] = []

    def change() -> None:
        changes: list[Callable[[], Any]] = [
            lambda: model.set_weights(alone.get_weights()),
            lambda: setattr(model, "flat_parameters", alone.flat_parameters),
            lambda: setattr(model, "learning_rate", 0.5),
            lambda: model.train_on_batch(x, y),
            lambda: model.compile("sgd", "mae"),
            lambda: model.fit(x, y, optimizer="sgd"),
        ]
        for call in changes:
            try:
                call()
            except RuntimeError as error:
                told.append(str(error).partition(":")[0])
        model.evaluate(x, y)

    class Begin(dnn.Callback):
        def on_train_begin(self, logs: dict[str, float]) -> None:
            thread = threading.Thread(target=change)
            thread.start()
            thread.join()

    for each, callbacks in ((model, [Begin()]), (alone, [])):
        each.fit(x, y, epochs=2, optimizer=dnn.Adam(0.01), callbacks=callbacks, verbose=0)
    assert told == ["set_weights", "flat_parameters", "learning_rate", "train_on_batch", "compile", "fit"]
    assert numbers(model) == numbers(alone)
    assert model.optimizer == alone.optimizer


def test_an_evaluation_that_began_before_a_fit_does_not_change_what_it_trains_with() -> None:
    x, y = data()
    model, alone = small(), small()
    reading, begun = threading.Event(), threading.Event()

    class Slow:
        """Rows that are there when the fit has begun."""

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
            reading.set()
            assert begun.wait(60)
            return x

    class Begin(dnn.Callback):
        def on_train_begin(self, logs: dict[str, float]) -> None:
            begun.set()
            thread.join()

    losses: list[float] = []
    thread = threading.Thread(target=lambda: losses.append(model.evaluate(Slow(), y)["loss"]))
    thread.start()
    assert reading.wait(60)
    for each, callbacks in ((model, [Begin()]), (alone, [])):
        each.fit(x, y, epochs=2, optimizer=dnn.SGD(0.1), callbacks=callbacks, verbose=0)
    assert losses == [small().evaluate(x, y)["loss"]]
    assert numbers(model) == numbers(alone)


def test_training_does_not_wait_for_a_long_look() -> None:
    model, looks = small(), list[tuple[float, float]]()
    x = np.random.default_rng(0).normal(size=(400_000, 30)).astype(np.float32)

    def work() -> None:
        start = time.perf_counter()
        for _ in range(20):
            model.get_weights()
            begun = time.perf_counter() - start
            # Long enough for many epochs, which would all wait for it.
            model.evaluate(x, x[:, :1], n_threads=1)
            looks.append((begun, time.perf_counter() - start))

    ended = in_training(model, work, n_threads=1).history["seconds"]
    assert max(sum(begun < at < done for at in ended) for begun, done in looks) > 3


def test_weights_of_an_estimator_that_are_read_while_it_trains_are_not_set_again() -> None:
    pytest.importorskip("sklearn")
    x, y = data()
    estimator = dnn.MLPRegressor(hidden_layer_sizes=(40,), random_state=1)
    estimator.partial_fit(x, y.ravel())
    network = estimator._model._network
    thread = threading.Thread(target=lambda: [estimator.partial_fit(x, y.ravel()) for _ in range(30)])
    thread.start()
    while thread.is_alive():
        first = estimator.coefs_[0]
        assert np.isfinite(first).all()
        assert np.isfinite(estimator.predict(x[:3])).all()
    thread.join()
    again = dnn.MLPRegressor(hidden_layer_sizes=(40,), random_state=1)
    for _ in range(31):
        again.partial_fit(x, y.ravel())
    assert network.trainings == again._model._network.trainings
    np.testing.assert_array_equal(estimator.coefs_[0], again.coefs_[0])


WAITS = """
import signal, threading, time
import numpy as np
import dnn

x = np.random.default_rng(0).normal(size=(4000, 30)).astype(np.float32)
model = dnn.Sequential([dnn.Input(30), dnn.Dense(40, "tanh"), dnn.Dense(1)], seed=1)

def handler(number, frame):
    told = []
    def read():
        try:
            model.predict(x[:2])
        except RuntimeError as error:
            told.append(str(error))
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    print(told)
    model.stop_training = True

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.2)
model.fit(x, x[:, 0], epochs=10**6, verbose=0)
print(np.isfinite(model.predict(x[:2])).all())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no timer that sends a signal")
def test_a_handler_that_waits_for_a_thread_that_reads_the_model_does_not_hang() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WAITS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['the model is in use by a call that waits for the handler of a signal']\nTrue\n"
