"""Ctrl-C while a model trains: it stops soon, keeps finite weights, and training can go on."""

from __future__ import annotations

import os
import subprocess
import sys

import dnn
import numpy as np
import pytest
from dnn import _training

# The parent sends the signal when the child says that it trains. Sizes as in the digits of scikit-learn.
CHILD = """
import signal, sys, threading, time
import numpy as np
import dnn

signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell may have had it ignored.

rng = np.random.default_rng(0)
x, y = rng.normal(size=(1797, 64)), rng.integers(0, 10, 1797)
model = dnn.Sequential([dnn.Dense(128, "relu"), dnn.Dense(64, "relu"), dnn.Dense(10, "softmax")], seed=1)
model.fit(x, y, epochs=1)
before = model.flat_parameters
sent = []

def interrupt():
    time.sleep(0.3)
    sent.append(time.perf_counter())
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    {fit}
except KeyboardInterrupt:
    print("interrupted", time.perf_counter() - sent[0])
else:
    print("ended")
assert np.all(np.isfinite(model.flat_parameters))
assert not np.array_equal(before, model.flat_parameters), "the steps before it are kept"
{check}
history = model.fit(x, y, epochs=2)
assert history.stopped_because == "epochs", history
print("went on")
"""

FITS = {
    "plain": "model.fit(x, y, epochs=10**6)",
    "full batch": "model.fit(x, y, 'full', epochs=10**6)",
    "with a callback": "model.fit(x, y, epochs=10**6, callbacks=[lambda epoch, logs: None])",
    "with a bar": "model.fit(x, y, epochs=10**6, verbose=1)",
}


@pytest.mark.skipif(sys.platform == "win32", reason="signals reach a chosen thread only on POSIX systems")
@pytest.mark.parametrize("way", FITS)
def test_ctrl_c_ends_a_fit_that_can_go_on(way: str) -> None:
    check = 'assert model.history.stopped_because == "interrupted"'
    code = CHILD.format(fit=FITS[way], check=check)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("interrupted"), done.stdout
    assert done.stdout.endswith("went on\n")


# A network whose passes over all rows take seconds with the slowest kernels, however fast the machine is.
# What comes after them must not have come.
SLOW = {"DNN_ISA": "scalar", "DNN_NUM_THREADS": "1"}
LONG = """
import signal, sys, threading, time
import numpy as np
import dnn

signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell may have had it ignored.

rng = np.random.default_rng(0)
rows, dtype = 60_000, sys.argv[1]
x, y = rng.normal(size=(rows, 64)).astype(dtype), rng.integers(0, 10, rows)
layers = [dnn.Input(64), dnn.Dense(1024, "relu"), dnn.Dense(1024, "relu"), dnn.Dense(10, "softmax")]
model = dnn.Sequential(layers, seed=1, dtype=dtype)
model.fit(x[:64], y[:64])
before, history = model.flat_parameters, model.history
done = []

def at_the_end(y_true, y_pred):
    done.append(len(y_pred))
    return 0.0

def compared(*arguments):
    done.append(len(arguments))

def interrupt():
    time.sleep(0.3)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

{before}
threading.Thread(target=interrupt, daemon=True).start()
try:
    {call}
except KeyboardInterrupt:
    print("interrupted")
{after}
assert not done, done
model.fit(x[:64], y[:64], metrics=[])
print("went on")
"""

SAME = "assert np.array_equal(model.flat_parameters, before) and model.history is history"
LONG_CALLS = {
    "evaluate": ("model.compile(metrics=[at_the_end])", "model.evaluate(x, y)", SAME),
    "predict": (
        "out = np.full((rows, 10), -1.0, dtype)",
        "model.predict(x, out=out)",
        f"{SAME}; assert np.all(out[-100:] == -1.0)",
    ),
    "validate": (
        "",
        "model.fit(x[:64], y[:64], validation_data=(x, y), epochs=3)",
        "assert model.history.stopped_because == 'interrupted' and not model.history.epochs; "
        "assert model.next_epoch == 0; assert not np.array_equal(model.flat_parameters, before)",
    ),
    "one step": ("", "model.train_on_batch(x, y)", SAME),
    "gradients": ("", "model.input_gradients(x, y); done.append(1)", SAME),
    "forward": ("", "model.forward(x[:20_000]); done.append(1)", SAME),
    "check": ("model._compared = compared", "model.check_gradients(x[:64], y[:64])", SAME),
}


@pytest.mark.skipif(sys.platform == "win32", reason="signals reach a chosen thread only on POSIX systems")
@pytest.mark.parametrize("way", LONG_CALLS)
def test_ctrl_c_ends_long_calls_in_the_middle_and_leaves_the_model_whole(way: str) -> None:
    before, call, after = LONG_CALLS[way]
    code = LONG.format(before=before, call=call, after=after)
    dtype = "float64" if way == "check" else "float32"
    done = subprocess.run(
        [sys.executable, "-c", code, dtype],
        env={**os.environ, **SLOW},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "interrupted\nwent on\n"


def test_ctrl_c_after_the_last_step_keeps_what_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the signal came when the extension has given back the trained network.
    def close(hook: object) -> None:
        raise KeyboardInterrupt

    x = np.random.default_rng(0).normal(5.0, 3.0, (50, 3))
    model, twin = (
        dnn.Sequential([dnn.Dense(4, "tanh"), dnn.Dense(1)], seed=1, scale="standard") for _ in "12"
    )
    twin.fit(x, x[:, 0], epochs=3, optimizer=dnn.SGD(0.1))
    with monkeypatch.context() as patched:
        patched.setattr(_training.Hook, "close", close)
        with pytest.raises(KeyboardInterrupt):
            model.fit(x, x[:, 0], epochs=3, optimizer=dnn.SGD(0.1))
    np.testing.assert_array_equal(model.predict(x), twin.predict(x))
    assert model.optimizer == twin.optimizer
    histories = [each.fit(x, x[:, 0], epochs=2).history for each in (model, twin)]
    assert histories[0]["loss"] == histories[1]["loss"]


HANDLER = """
import signal, sys, threading, time
import numpy as np
import dnn

rng = np.random.default_rng(0)
x, y = rng.normal(size=(60_000, 64)).astype(np.float32), rng.integers(0, 10, 60_000)
layers = [dnn.Input(64), dnn.Dense(1024, "relu"), dnn.Dense(1024, "relu"), dnn.Dense(10, "softmax")]
model, other = dnn.Sequential(layers, seed=1), dnn.Sequential([dnn.Input(64), dnn.Dense(1)])
told = []

def handler(number, frame):
    other.predict(x[:1])
    for call in (lambda: model.set_weights(model.get_weights()), lambda: model.predict(x[:1])):
        try:
            call()
            told.append("done")
        except RuntimeError as error:
            told.append(str(error))
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    model.{call}
except KeyboardInterrupt:
    print(told)
model.set_weights(model.get_weights())
"""
IN_USE = "the model is in use by the call that the signal has interrupted"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no timer that sends a signal")
@pytest.mark.parametrize(
    ("call", "told"),
    # Several may read at a time.
    [
        ("evaluate(x, y)", [IN_USE, "done"]),
        ("train_on_batch(x, y)", [IN_USE, IN_USE]),
        ("fit(x, y, batch_size=10_000, epochs=100)", [IN_USE, IN_USE]),
    ],
)
def test_the_handler_of_a_signal_can_not_hang_on_the_model(call: str, told: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANDLER.replace("{call}", call)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **SLOW},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{told}\n"


NESTED = """
import signal
import numpy as np
import dnn

x, y = np.zeros((60_000, 64), np.float32), np.zeros(60_000, int)
layers = [dnn.Input(64), dnn.Dense(128, "relu"), dnn.Dense(10, "softmax")]
model, other = dnn.Sequential(layers, seed=1), dnn.Sequential(layers, seed=2)
for each in (model, other):
    each.compile("sgd", "cross_entropy")

def handler(number, frame):
    other.evaluate(x[:20_000], y[:20_000])  # long enough to look for signals itself
    try:
        model.set_weights(model.get_weights())
    except RuntimeError as error:
        print(error)

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
model.evaluate(x, y)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no timer that sends a signal")
def test_a_handler_may_use_another_model_for_long() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NESTED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **SLOW},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{IN_USE}\n"
