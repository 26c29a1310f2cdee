"""`import dnn` loads NumPy and the extension and starts no thread; `python -m dnn info` tells about both."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(code: str, **environment: str) -> str:
    """What `code` prints in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout


def test_import_loads_numpy_and_the_extension_only() -> None:
    new = run(
        "import sys, numpy; before = set(sys.modules); import dnn; print(*sorted(set(sys.modules) - before))"
    ).split()
    assert "dnn._core" in new
    foreign = {name for name in new if name.partition(".")[0] not in {*sys.stdlib_module_names, "dnn"}}
    assert not foreign
    heavy = {
        "asyncio",
        "difflib",
        "html",
        "multiprocessing",
        "shutil",
        "socket",
        "subprocess",
        "tempfile",
        "unittest",
    }
    assert not heavy & set(new)


def test_an_estimator_loads_scikit_learn_when_it_is_asked_for() -> None:
    pytest.importorskip("sklearn")
    code = (
        "import sys, dnn; print('sklearn' in sys.modules); dnn.MLPRegressor; print('sklearn' in sys.modules)"
    )
    assert run(code).split() == ["False", "True"]
    assert run("import sys; from dnn import *; print('sklearn' in sys.modules)") == "False\n"
    assert run("import dnn; print('MLPClassifier' in dir(dnn), hasattr(dnn, 'MLP'))") == "True False\n"


def test_an_estimator_without_scikit_learn_says_what_to_install() -> None:
    code = """
import sys
sys.modules["sklearn"] = None  # as if it weren't there
import dnn
try:
    dnn.MLPClassifier
except ImportError as error:
    print(error)
"""
    assert run(code) == "dnn.MLPClassifier needs scikit-learn 1.6 or later: pip install scikit-learn\n"


def test_a_fit_loads_no_extra_either() -> None:
    code = """
import sys, numpy as np, dnn
dnn.Sequential([dnn.Dense(2, "softmax")]).fit(np.eye(4), [0, 1, 0, 1], validation_split=0.5, verbose=1)
print(*sys.modules)
"""
    loaded = {name.partition(".")[0] for name in run(code).split()}
    assert not loaded & {
        "sklearn",
        "scipy",
        "pandas",
        "matplotlib",
        "tqdm",
        "rich",
        "onnx",
        "torch",
        "asyncio",
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_import_starts_no_thread() -> None:
    # One thread of NumPy's own: its BLAS starts some when it is imported.
    code = """
import os, numpy
before = len(os.listdir("/proc/self/task"))
import dnn
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert run(code) == "0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_trains_and_predicts() -> None:
    code = """
import os, numpy as np, dnn
x = np.random.default_rng(0).normal(size=(500, 64))
model = dnn.Sequential([dnn.Dense(256, "relu"), dnn.Dense(1)], seed=1)
model.fit(x, x[:, 0], epochs=2, n_threads=2)
child = os.fork()
if child == 0:
    model.fit(x, x[:, 0], epochs=2, n_threads=2)
    os._exit(0 if np.all(np.isfinite(model.predict(x, n_threads=2))) else 1)
model.fit(x, x[:, 0], epochs=2, n_threads=2)
print(os.waitpid(child, 0)[1])
"""
    assert run(code) == "0\n"


def test_info_names_version_instruction_set_and_threads() -> None:
    import dnn

    done = subprocess.run(
        [sys.executable, "-m", "dnn", "info"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "DNN_ISA": "scalar", "DNN_NUM_THREADS": "3"},
    )
    assert dnn.__version__ in done.stdout
    assert "scalar (DNN_ISA)" in done.stdout
    assert "3 (DNN_NUM_THREADS)" in done.stdout


def test_other_commands_show_the_usage() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dnn", "train"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "usage: python -m dnn info" in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_eight_fits_in_eight_threads_share_one_pool_and_train_to_the_bits_of_one() -> None:
    code = """
import os, threading, numpy as np, dnn
x = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
def fit():
    model = dnn.Sequential([dnn.Dense(256, "relu"), dnn.Dense(1)], seed=1)
    model.fit(x, x[:, 0], batch_size=256, epochs=3, n_threads=2, verbose=0)
    return model.flat_parameters
alone = fit()
before, most, found = len(os.listdir("/proc/self/task")), [0], []
def look():
    found.append(fit())
    most[0] = max(most[0], len(os.listdir("/proc/self/task")))
threads = [threading.Thread(target=look) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
# The first fit has started the pool's one worker; only the eight themselves come on top.
print(most[0] - before <= 8, len(found), all(alone.tobytes() == other.tobytes() for other in found))
"""
    assert run(code) == "True 8 True\n"
