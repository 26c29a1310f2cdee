"""Plain training data is read in place, all else is converted; both train to the same bits."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import dnn
import numpy as np
import pytest
from models import same_bits

RNG = np.random.default_rng(3)
X = RNG.normal(size=(300, 5)).astype(np.float32)
Y = np.tanh(X[:, :2])
LABELS = (X[:, 0] > 0).astype(np.int64)


def trained(x: Any, y: Any, output: str = "identity", dtype: str = "float32", **how: Any) -> dnn.Sequential:
    model = dnn.Sequential([dnn.Dense(7, "tanh"), dnn.Dense(2, output)], seed=5, dtype=dtype)
    model.fit(x, y, epochs=3, verbose=0, **how)
    return model


FORMS = {
    "in columns": np.asfortranarray,
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "float64": lambda a: a.astype(np.float64),
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a: (copy := a.copy(), copy.setflags(write=False))[0],
    "out of line": lambda a: np.frombuffer(b"\0" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "a list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("split", [0.0, 0.3])
def test_every_form_of_x_and_y_trains_to_the_bits_of_the_plain_one(form: str, split: float) -> None:
    plain = trained(X, Y, validation_split=split)
    other = trained(FORMS[form](X), FORMS[form](Y), validation_split=split)
    assert same_bits([plain.flat_parameters], [other.flat_parameters])
    assert plain.history is not None
    assert other.history is not None
    for name in {"loss", "val_loss"} & set(plain.history.history):
        assert plain.history.history[name] == other.history.history[name]


@pytest.mark.parametrize("labels", [False, True])
def test_a_split_trains_as_the_same_rows_given_apart(labels: bool) -> None:
    from dnn._data import split

    y, output = (LABELS, "softmax") if labels else (Y, "identity")
    model = trained(X, y, output, validation_split=0.25)
    rows, held_out = split(len(X), 0.25, LABELS if labels else None, seed=5)
    apart = trained(X[rows], y[rows], output, validation_data=(X[held_out], y[held_out]))
    assert same_bits([model.flat_parameters], [apart.flat_parameters])
    weight = np.linspace(0.5, 2, len(X))
    model = trained(X, y, output, validation_split=0.25, sample_weight=weight)
    apart = trained(
        X[rows],
        y[rows],
        output,
        sample_weight=weight[rows],
        validation_data=(X[held_out], y[held_out], weight[held_out]),
    )
    assert same_bits([model.flat_parameters], [apart.flat_parameters])


@pytest.mark.parametrize("split", [0.0, 0.3])
@pytest.mark.parametrize("which", ["x", "y"])
def test_nan_is_refused_before_the_first_step_with_place_and_count(which: str, split: float) -> None:
    model = dnn.Sequential([dnn.Input(5), dnn.Dense(2)], seed=5)
    before = model.flat_parameters
    given = {"x": X.copy(), "y": Y.copy()}
    given[which][[7, 250], 1] = np.nan, np.inf
    with pytest.raises(ValueError, match=rf"{which} has NaN or infinity in 2 values, the first nan at row 7"):
        model.fit(**given, validation_split=split)
    assert same_bits([model.flat_parameters], [before])


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_nan_is_found_wherever_it_is_in_a_large_table(n_threads: int) -> None:
    x = np.ones((1 << 18, 5), np.float32)
    for row, column in ((0, 0), (131072, 3), ((1 << 18) - 1, 4)):
        x[row, column] = -np.inf
        model = dnn.Sequential([dnn.Dense(1)])
        with pytest.raises(ValueError, match=rf"1 value, -inf at row {row}, column {column}"):
            model.fit(x, np.zeros(len(x)), n_threads=n_threads)
        x[row, column] = 1


def test_arrays_are_not_written_and_are_free_after_the_call() -> None:
    x, y = X.copy(), Y.copy()
    references = sys.getrefcount(x)
    model = trained(x, y, validation_split=0.2)
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)
    assert sys.getrefcount(x) == references
    # A reader that was left behind would refuse this.
    assert model.predict(X, out=y) is y


def test_rows_that_a_callback_changes_are_those_that_are_trained_with() -> None:
    x, y = np.zeros((40, 1), np.float32), np.full((40, 1), 2, np.float32)

    def swap(epoch: int, logs: dict[str, float]) -> None:
        x[:] = 1

    model = dnn.Sequential([dnn.Input(1), dnn.Dense(1, use_bias=False)])
    model.set_weights([[[0.0]]])
    model.fit(x, y, epochs=2, batch_size="full", optimizer=dnn.SGD(0.5), callbacks=[swap], verbose=0)
    # The first epoch saw zeros, whose gradient is 0; the second steps by 0.5 x 2 x 2.
    assert model.get_weights()[0].item() == pytest.approx(2.0, rel=1e-5)  # forty rounded fortieths


def test_nan_that_comes_while_it_trains_stops_with_the_last_finite_weights() -> None:
    x, y = X.copy(), Y.copy()

    def spoil(epoch: int, logs: dict[str, float]) -> None:
        x[:] = np.nan

    with pytest.warns(dnn.DivergenceWarning, match="epoch 2, step 1"):
        model = trained(x, y, callbacks=[spoil])
    assert model.history is not None
    assert model.history.stopped_because == "diverged"
    assert np.all(np.isfinite(model.flat_parameters))


def test_another_thread_may_write_to_x_meanwhile() -> None:
    x, y = np.tile(X, (20, 1)), np.tile(LABELS, 20)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            x[:] = -x

    writing = threading.Thread(target=write)
    writing.start()
    try:
        model = trained(x, y, "softmax", n_threads=2)
    finally:
        stop.set()
        writing.join()
    assert np.all(np.isfinite(model.flat_parameters))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss has its unit there")
def test_training_on_plain_arrays_takes_no_second_copy_of_them() -> None:
    code = """
import resource, sys
import numpy as np, dnn
x = np.ones((1 << 16, 256), np.float32)
x[::2] = 0
y = x[:, :1].copy()
model = dnn.Sequential([dnn.Input(256), dnn.Dense(8, "relu"), dnn.Dense(1)])
model.fit(x[:64], y[:64], verbose=0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.fit(x, y, batch_size=512, validation_split=0.25, verbose=0)
model.evaluate(x, y)
model.predict(x, out=y)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    # x has 64 MiB; the order of the rows, a batch and the targets' parts take some 3.
    assert float(done.stdout) < 16
