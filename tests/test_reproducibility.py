"""The same seed gives the same bits: for any number of threads, any company of rows, any way to an epoch.

In precision="strict" also for any instruction set. Equal bits need no tolerance.
"""

import os
import subprocess
import sys
import threading

import dnn
import numpy as np
import pytest
from dnn import _core
from hypothesis import given, settings
from hypothesis import strategies as st

THREADS = [1, 2, 3, 4]
ISAS = _core.available_isas()
HIDDEN = [
    "identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu",
    "gelu", "gelu_tanh", "silu", "softplus", "softsign",
]  # fmt: skip


def bits(arrays):
    return [(array.shape, array.dtype.str, array.tobytes()) for array in arrays]


def data(rows, n_inputs, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, n_inputs)), rng.integers(0, n_classes, rows)


def classifier(widths=(33, 17), n_classes=5, activation="relu", **options):
    layers = [*(dnn.Dense(units, activation) for units in widths), dnn.Dense(n_classes, "softmax")]
    return dnn.Sequential(layers, **{"seed": 11, **options})


def fitted(model, x, y, **options):
    model.fit(x, y, verbose=0, **{"epochs": 3, "batch_size": 64, "optimizer": dnn.Adam(0.01), **options})
    return model


def measured(model):
    """What training measured, without the time it took."""
    return {name: values for name, values in model.history.history.items() if name != "seconds"}


# ---- seeds -------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights():
    x, y = data(200, 20, 5)
    assert bits(fitted(classifier(), x, y).get_weights()) == bits(fitted(classifier(), x, y).get_weights())


def test_another_seed_gives_other_weights():
    x, y = data(200, 20, 5)
    one, other = fitted(classifier(), x, y), fitted(classifier(seed=12), x, y)
    assert bits(one.get_weights()) != bits(other.get_weights())


def test_numpys_random_state_is_neither_used_nor_changed():
    x, y = data(200, 20, 5)
    np.random.seed(1)  # noqa: NPY002 - the global state is what this is about
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    first = fitted(classifier(), x, y)
    assert np.random.random() == expected  # noqa: NPY002
    assert bits(first.get_weights()) == bits(fitted(classifier(), x, y).get_weights())


def test_the_seed_a_model_draws_repeats_it():
    x, y = data(200, 20, 5)
    drawn = fitted(classifier(seed=None), x, y)
    assert bits(drawn.get_weights()) == bits(fitted(classifier(seed=drawn.seed), x, y).get_weights())


# ---- threads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("precision", ["highest", "strict"])
@pytest.mark.parametrize("optimizer", [dnn.SGD(0.05, momentum=0.9), dnn.Adam(0.01)], ids=["sgd", "adam"])
def test_training_has_the_same_bits_for_any_number_of_threads(optimizer, precision, dtype):
    # Wide enough that the work is shared; no width is a multiple of a vector, no batch one of the others.
    x, y = data(700, 101, 10)
    models = [
        fitted(
            classifier((257, 131), 10, precision=precision, dtype=dtype),
            x,
            y,
            batch_size=300,
            optimizer=optimizer,
            validation_data=(x[:150], y[:150]),
            metrics=["accuracy"],
            n_threads=n_threads,
        )
        for n_threads in THREADS
    ]
    for model in models[1:]:
        assert bits(model.get_weights()) == bits(models[0].get_weights())
        assert measured(model) == measured(models[0])


@pytest.mark.parametrize("activation", HIDDEN)
def test_each_activation_has_the_same_bits_for_any_number_of_threads(activation):
    x, y = data(300, 50, 10)
    models = [
        fitted(classifier((150, 70), 10, activation), x, y, epochs=1, batch_size="full", n_threads=n_threads)
        for n_threads in THREADS
    ]
    for model in models[1:]:
        assert bits(model.get_weights()) == bits(models[0].get_weights())


def test_all_that_is_measured_has_the_same_bits_for_any_number_of_threads():
    x, y = data(500, 101, 10)
    model = fitted(classifier((257, 131), 10), x, y, epochs=1)
    sample_weight = np.random.default_rng(3).random(500)

    def everything(n_threads):
        loss, gradients = model.loss_and_gradients(x, y, sample_weight=sample_weight, n_threads=n_threads)
        layers = model.forward(x, n_threads=n_threads)
        return (
            loss,
            bits(gradients),
            bits([array for layer in layers for array in layer]),
            bits(model.deltas(x, y, n_threads=n_threads)),
            bits([model.input_gradients(x, y, n_threads=n_threads), model.predict(x, n_threads=n_threads)]),
            model.evaluate(x, y, sample_weight=sample_weight, n_threads=n_threads),
        )

    expected = everything(1)
    for n_threads in THREADS[1:]:
        assert everything(n_threads) == expected


# ---- instruction sets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", HIDDEN)
def test_strict_training_has_the_same_bits_on_every_instruction_set(activation, dtype):
    x, y = data(130, 19, 4)
    models = [
        fitted(classifier((37, 21), 4, activation, precision="strict", dtype=dtype, isa=isa), x, y)
        for isa in ISAS
    ]
    assert [model.isa for model in models] == ISAS
    for model in models[1:]:
        assert bits(model.get_weights()) == bits(models[0].get_weights())
        assert bits([model.predict(x)]) == bits([models[0].predict(x)])
        assert measured(model) == measured(models[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("identity", "mse"),
        ("tanh", "half_mse"),
        ("softplus", "sse"),
        ("identity", "mae"),
        ("gelu", "huber"),
        ("sigmoid", "binary_cross_entropy"),
        ("softmax", "mse"),
        ("identity", "hinge"),
        ("tanh", "squared_hinge"),
    ],
)
def test_strict_losses_have_the_same_bits_on_every_instruction_set(output, loss, dtype):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(90, 13)), rng.choice([-1.0, 1.0], (90, 3))
    if loss == "binary_cross_entropy" or output == "softmax":
        y = (y + 1) / 2
    results = []
    for isa in ISAS:
        layers = [dnn.Dense(29, "tanh", l1=1e-4, l2=1e-3), dnn.Dense(3, output)]
        model = dnn.Sequential(layers, seed=3, dtype=dtype, precision="strict", isa=isa)
        fitted(model, x, y, batch_size=32, loss=loss, optimizer=dnn.SGD(0.05, momentum=0.9, nesterov=True))
        results.append((bits(model.get_weights()), measured(model)))
    assert all(result == results[0] for result in results[1:])


# ---- the company of rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("widths", [(1,), (3, 5), (17, 31), (64, 128), (129, 65, 33)])
def test_prediction_of_a_row_does_not_depend_on_the_rows_beside_it(widths, dtype, isa):
    rng = np.random.default_rng(6)
    x = rng.normal(size=(70, 23)).astype(dtype)
    layers = [*(dnn.Dense(units, "silu") for units in widths), dnn.Dense(7, "softmax")]
    model = dnn.Sequential([dnn.Input(23), *layers], seed=4, dtype=dtype, isa=isa)
    together = model.predict(x)
    for size in [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 31, 32, 33, 63, 64, 65, 69]:
        for start in (0, 1, 70 - size):
            rows = slice(start, start + size)
            assert model.predict(x[rows]).tobytes() == together[rows].tobytes()


def test_prediction_does_not_depend_on_the_order_or_layout_of_rows_or_on_threads():
    x = np.random.default_rng(7).normal(size=(301, 45)).astype(np.float32)
    model = dnn.Sequential([dnn.Input(45), dnn.Dense(99, "gelu"), dnn.Dense(3)], seed=4)
    expected = model.predict(x)
    order = np.random.default_rng(8).permutation(301)
    assert model.predict(x[order]).tobytes() == expected[order].tobytes()
    assert model.predict(np.asfortranarray(x)).tobytes() == expected.tobytes()
    assert model.predict(x.tolist()).tobytes() == expected.tobytes()
    for n_threads in THREADS:
        assert model.predict(x, n_threads=n_threads).tobytes() == expected.tobytes()


def test_forward_predict_and_evaluate_see_the_same_outputs():
    x, y = data(97, 20, 5)
    model = fitted(classifier(), x, y)
    assert model.forward(x)[-1].a.tobytes() == model.predict(x).tobytes()


# ---- random networks ---------------------------------------------------------------------------------------

NETWORKS = st.fixed_dictionaries(
    {
        "n_inputs": st.integers(1, 40),
        "widths": st.lists(st.integers(1, 70), min_size=0, max_size=3),
        "n_classes": st.integers(2, 19),
        "activation": st.sampled_from(HIDDEN),
        "use_bias": st.booleans(),
        "dtype": st.sampled_from(["float32", "float64"]),
        "rows": st.integers(1, 90),
        "batch_size": st.one_of(st.just("full"), st.integers(1, 100)),
        "seed": st.integers(0, 2**63 - 1),
    }
)


def build(case, **options):
    layers = [dnn.Dense(n, case["activation"], use_bias=case["use_bias"]) for n in case["widths"]]
    layers += [dnn.Dense(case["n_classes"], "softmax", use_bias=case["use_bias"])]
    return dnn.Sequential(
        [dnn.Input(case["n_inputs"]), *layers], seed=case["seed"], dtype=case["dtype"], **options
    )


def case_data(case):
    return data(case["rows"], case["n_inputs"], case["n_classes"], case["seed"] % 2**32)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(NETWORKS)
def test_random_networks_train_to_the_same_bits_on_all_threads_and_sets(case):
    x, y = case_data(case)
    options = {"epochs": 2, "batch_size": case["batch_size"], "optimizer": dnn.SGD(0.01, momentum=0.5)}
    expected = bits(fitted(build(case, precision="strict"), x, y, n_threads=1, **options).get_weights())
    for isa in ISAS:
        model = fitted(build(case, precision="strict", isa=isa), x, y, n_threads=3, **options)
        assert bits(model.get_weights()) == expected


@settings(max_examples=40, deadline=None, derandomize=True)
@given(NETWORKS)
def test_random_networks_predict_each_row_alone_as_in_company(case):
    x, _ = case_data(case)
    model = build(case)
    together = model.predict(x)
    for row in range(len(x)):
        assert model.predict(x[row : row + 1]).tobytes() == together[row : row + 1].tobytes()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(NETWORKS)
def test_random_networks_predict_probabilities(case):
    x, _ = case_data(case)
    p = build(case).predict(x)
    assert p.shape == (case["rows"], case["n_classes"])
    assert (p >= 0).all()
    # The rounding of at most 19 quotients and their sum.
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=1e-5 if case["dtype"] == "float32" else 1e-14)


# ---- ways to the same epoch --------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "optimizer",
    [
        dnn.SGD(0.1),
        dnn.SGD(0.05, momentum=0.9, nesterov=True),
        dnn.Adam(0.01),
        dnn.Adam(lambda step: 0.01 / (1 + step)),
    ],
    ids=["sgd", "nesterov", "adam", "adam-callable"],
)
def test_two_epochs_are_one_epoch_and_then_another(optimizer, shuffle):
    x, y = data(150, 20, 5)
    options = {"optimizer": optimizer, "shuffle": shuffle, "batch_size": 32}
    at_once = fitted(classifier(), x, y, epochs=2, **options)
    in_parts = fitted(classifier(), x, y, epochs=1, **options)
    fitted(in_parts, x, y, initial_epoch=1, epochs=2, **options)
    assert bits(in_parts.get_weights()) == bits(at_once.get_weights())
    assert in_parts.history.epochs == [1]
    assert in_parts.history.history["loss"] == at_once.history.history["loss"][1:]


@pytest.mark.parametrize("optimizer", [dnn.SGD(0.05, momentum=0.9), dnn.Adam(0.01)], ids=["sgd", "adam"])
def test_a_saved_model_goes_on_as_if_never_stopped(optimizer, tmp_path):
    x, y = data(150, 20, 5)
    at_once = fitted(classifier(), x, y, epochs=4, optimizer=optimizer)
    model = fitted(classifier(), x, y, epochs=2, optimizer=optimizer)
    model.save(tmp_path / "model.dnn")
    loaded = dnn.load(tmp_path / "model.dnn")
    loaded.fit(x, y, initial_epoch=2, epochs=4, batch_size=64, verbose=0)
    assert bits(loaded.get_weights()) == bits(at_once.get_weights())


def test_steps_by_hand_are_the_steps_of_fit():
    x, y = data(96, 20, 5)
    model = dnn.Sequential([dnn.Input(20), dnn.Dense(33, "relu"), dnn.Dense(5, "softmax")], seed=11)
    model.compile(dnn.Adam(0.01))
    for _ in range(2):
        for start in (0, 32, 64):
            model.train_on_batch(x[start : start + 32], y[start : start + 32])
    whole = fitted(classifier((33,)), x, y, epochs=2, batch_size=32, shuffle=False)
    assert bits(model.get_weights()) == bits(whole.get_weights())


def test_watching_does_not_change_what_is_trained():
    x, y = data(150, 20, 5)
    plain = fitted(classifier(), x, y)
    seen = []
    callback = dnn.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    watched = fitted(classifier(), x, y, callbacks=[callback], metrics=["accuracy"])
    assert seen == [0, 1, 2]
    assert bits(watched.get_weights()) == bits(plain.get_weights())


# ---- several at once ---------------------------------------------------------------------------------------


def test_two_models_fitted_in_two_python_threads_are_those_fitted_one_after_the_other():
    x, y = data(700, 101, 10)
    options = {"epochs": 4, "batch_size": 128, "n_threads": 2}
    expected = [bits(fitted(classifier((129,), 10, seed=s), x, y, **options).get_weights()) for s in (1, 2)]
    results = {}

    def work(seed):
        results[seed] = bits(fitted(classifier((129,), 10, seed=seed), x, y, **options).get_weights())

    workers = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [results.get(1), results.get(2)] == expected


FORK = """
import os, sys, zlib
import numpy as np
import dnn

def trained():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(600, 101)), rng.integers(0, 10, 600)
    model = dnn.Sequential([dnn.Dense(257, "relu"), dnn.Dense(10, "softmax")], seed=1)
    model.fit(x, y, epochs=2, batch_size=200, n_threads=2, verbose=0)
    return zlib.crc32(b"".join(w.tobytes() for w in model.get_weights()))

expected = trained()
child = os.fork()
if child == 0:
    os._exit(0 if trained() == expected else 3)
_, status = os.waitpid(child, 0)
assert trained() == expected
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_can_fit_after_its_parent_has():
    # In a process of its own, so that a child that hangs is stopped by the timeout and the fork warning of
    # newer Pythons (there are threads) doesn't count here.
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], timeout=120, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


FORK_BESIDE = """
import os, sys, threading
import numpy as np
import dnn

x = np.random.default_rng(0).normal(size=(2000, 300))
def model():
    return dnn.Sequential([dnn.Dense(300, "relu"), dnn.Dense(1)], seed=1)

trains, ended = threading.Event(), threading.Event()
def beside(epoch, logs):
    trains.set()
    return ended.is_set()

thread = threading.Thread(
    target=lambda: model().fit(x, x[:, 0], epochs=10**6, n_threads=2, verbose=0, callbacks=[beside])
)
thread.start()
trains.wait()
child = os.fork()
if child == 0:
    model().fit(x, x[:, 0], epochs=2, n_threads=2, verbose=0)
    os._exit(0 if len(os.listdir("/proc/self/task")) == 2 else 3)
_, status = os.waitpid(child, 0)
ended.set()
thread.join()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_a_child_that_was_forked_while_another_thread_trained_has_workers_of_its_own():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_BESIDE],
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


FORK_IN_CALL = """
import os, sys, threading, time
import numpy as np
import dnn

x, y = np.zeros((60_000, 64), np.float32), np.zeros(60_000, int)
layers = [dnn.Input(64), dnn.Dense(128, "relu"), dnn.Dense(10, "softmax")]
model, other = dnn.Sequential(layers, seed=1), dnn.Sequential(layers, seed=2)
for each in (model, other):
    each.compile("sgd", "cross_entropy")
weights = model.get_weights()
thread = threading.Thread(target=lambda: [model.CALL for _ in range(3)])
thread.start()
time.sleep(0.1)
child = os.fork()
if child == 0:
    told = []
    for each in (model, other):
        try:
            each.set_weights(weights)
            told.append("done")
        except RuntimeError as error:
            told.append("forked" if "this one was forked from" in str(error) else str(error))
    os._exit(0 if told == ["forked", "done"] else 3)
_, status = os.waitpid(child, 0)
thread.join()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("call", ["evaluate(x, y)", "train_on_batch(x, y)", "fit(x, y, verbose=0)"])
def test_a_child_forked_in_the_middle_of_a_call_is_refused_the_model_and_does_not_hang(call):
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_IN_CALL.replace("CALL", call)],
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DNN_ISA": "scalar", "DNN_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
