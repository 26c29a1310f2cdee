"""Ctrl-C while a model trains: it stops soon, keeps finite weights, and training can go on."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The parent sends the signal when the child says that it trains. Sizes as in the digits of scikit-learn.
CHILD = """
import signal, sys, threading, time
import numpy as np
import dnn

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
    # An interrupt that arrives while a callback runs is raised there, before a history can be made.
    check = 'assert model.history.stopped_because == "interrupted"' if way in ("plain", "full batch") else ""
    code = CHILD.format(fit=FITS[way], check=check)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("interrupted"), done.stdout
    assert done.stdout.endswith("went on\n")
