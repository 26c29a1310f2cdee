"""What is refused, or fails in the middle, leaves the model as it was, or as far as it had come."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from conftest import Table


def state(model: dnn.Sequential) -> bytes:
    """Everything about a model, weights and optimizer included."""
    return pickle.dumps(model)


def limited(**arguments: Any) -> dnn.Sequential:
    """A model that L-BFGS refuses to train, since its line search can't keep the limit."""
    return dnn.Sequential([dnn.Dense(6, "tanh", max_norm=2.0), dnn.Dense(1)], seed=3, **arguments)


def test_a_fit_that_the_core_refuses_leaves_a_trained_model_as_it_was(regression: Table) -> None:
    model, twin = limited(), limited()
    for each in (model, twin):
        each.fit(*regression, epochs=3, optimizer="adam", loss="huber", metrics=["mae"])
    before = state(model)
    with pytest.raises(ValueError, match="max_norm, which the line search of L-BFGS can't keep"):
        model.fit(*regression, optimizer="lbfgs", loss="mse", metrics=["r2"], epochs=9)
    assert state(model) == before
    # With the moments of its optimizer: training goes on as if nobody had asked.
    assert model.fit(*regression, epochs=2).history["loss"] == twin.fit(*regression, epochs=2).history["loss"]


def test_batches_of_one_row_that_are_refused_leave_the_memory_of_the_optimizer(regression: Table) -> None:
    layers = [dnn.Dense(5), dnn.BatchNormalization(), dnn.Dense(1)]
    model, twin = (dnn.Sequential(layers, seed=3) for _ in range(2))
    for each in (model, twin):
        each.fit(*regression, epochs=2, verbose=0)
    before = state(model)
    with pytest.raises(ValueError, match="batch_size=1 leaves nothing to normalise with"):
        model.fit(*regression, batch_size=1)
    assert state(model) == before
    assert model.fit(*regression, epochs=2).history["loss"] == twin.fit(*regression, epochs=2).history["loss"]


@pytest.mark.parametrize("how", [{"early_stopping": dnn.EarlyStopping(5)}, {"averaging": dnn.SWA(0)}])
def test_a_step_from_weights_that_came_back_is_refused_where_they_would_become_infinite(how: Any) -> None:
    x, y = np.full((4, 1), 1e-30, np.float32), np.ones((4, 1), np.float32)
    model = dnn.Sequential([dnn.Input(1), dnn.Dense(1, use_bias=False)], seed=1)

    class LargeAtFirst(dnn.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict[str, float]) -> None:
            self.model.set_weights([np.full((1, 1), 1e30 if epoch == 0 else 0.0, np.float32)])

    optimizer = dnn.AdamW(1e-30, epsilon=1.0, weight_decay=1e3)
    model.fit(x, y, epochs=2, optimizer=optimizer, validation_data=(x, y), callbacks=[LargeAtFirst()], **how)
    before = model.get_weights()[0]
    assert before > 1e29  # the best ones, or the mean, and not the last, which are 0
    model.learning_rate = 1e9
    with pytest.raises(ValueError, match="the weights become too large for float32"):
        model.train_on_batch(x, y)
    assert model.get_weights()[0] == before


def test_a_first_fit_that_the_core_refuses_leaves_a_model_without_weights(regression: Table) -> None:
    model = limited()
    with pytest.raises(ValueError, match="L-BFGS"):
        model.fit(*regression, optimizer="lbfgs")
    assert model.n_inputs is None
    assert model.optimizer == dnn.Adam()
    assert model.history is None


@pytest.mark.parametrize("is_built", [False, True])
def test_a_refused_batch_leaves_the_weights_that_data_would_scale(regression: Table, is_built: bool) -> None:
    layers = [dnn.Dense(8, "tanh", weight_initializer="lsuv"), dnn.Dense(1)]
    model, twin = (dnn.Sequential([dnn.Input(3), *layers] if is_built else layers, seed=1) for _ in range(2))
    x, y = regression
    before = state(model)
    with pytest.raises(ValueError, match="not finite"):
        model.train_on_batch(x, np.full_like(y, 1e30))
    assert state(model) == before
    model.compile("lbfgs")
    with pytest.raises(ValueError, match="no single step"):
        model.train_on_batch(x, y)
    model.compile()
    # The first training still scales them by its data.
    assert model.train_on_batch(x[:20], y[:20]) == twin.train_on_batch(x[:20], y[:20])
    assert model.flat_parameters.tobytes() == twin.flat_parameters.tobytes()


def test_a_refused_fit_puts_back_a_loss_that_is_a_function(regression: Table) -> None:
    def of(factor: float) -> Any:
        def loss(y_true: Any, y_pred: Any) -> Any:
            return factor * np.mean((y_pred - y_true) ** 2, axis=1), factor * 2 * (y_pred - y_true)

        return loss

    one, other = of(1.0), of(5.0)
    model = limited()
    model.fit(*regression, loss=one, epochs=2)
    before, measured = model.flat_parameters.tobytes(), model.evaluate(*regression)
    with pytest.raises(ValueError, match="L-BFGS"):
        model.fit(*regression, loss=other, optimizer="lbfgs")
    assert model.evaluate(*regression) == measured
    assert model.flat_parameters.tobytes() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ArithmeticError])
@pytest.mark.parametrize("hook", ["on_epoch_end", "on_train_batch_end"])
def test_the_history_is_there_whatever_a_callback_raises(
    regression: Table, error: type[BaseException], hook: str
) -> None:
    model = dnn.Sequential([dnn.Dense(4, "tanh"), dnn.Dense(1)], seed=1)
    model.fit(*regression, epochs=1)
    old, calls = model.history, []

    def fail(number: int, logs: dict[str, float]) -> None:
        calls.append(number)
        if len(calls) == 5:
            raise error("as the test wants")

    with pytest.raises(error, match="as the test wants"):
        model.fit(*regression, epochs=20, callbacks=[dnn.LambdaCallback(**{hook: fail})])
    assert model.history is not None
    assert model.history is not old
    # 60 rows in batches of 32: two steps for each epoch.
    assert len(model.history.epochs) == (5 if hook == "on_epoch_end" else 2)
    expected = "interrupted" if error is KeyboardInterrupt else "callback"
    assert model.history.stopped_because == expected, model.history.message
    assert model.fit(*regression, epochs=2).stopped_because == "epochs"


def test_a_state_that_a_callback_does_not_tell_costs_no_training(regression: Table) -> None:
    class Odd(dnn.Callback):
        def get_state(self) -> dict[str, Any]:
            raise ArithmeticError("as the test wants")

    model, twin = (dnn.Sequential([dnn.Dense(4, "tanh"), dnn.Dense(1)], seed=1) for _ in range(2))
    for each in (model, twin):
        each.fit(*regression, epochs=2)
    with pytest.raises(ArithmeticError):
        model.fit(*regression, epochs=2, optimizer="sgd", callbacks=[Odd()])
    twin.fit(*regression, epochs=2, optimizer="sgd")
    assert model.flat_parameters.tobytes() == twin.flat_parameters.tobytes()
    assert model.history is not None
    assert model.history.stopped_because == "epochs"
    assert model.optimizer == dnn.SGD()


# ---- memory ------------------------------------------------------------------------------------------------

# Calls with ever more room, from less than the first copy of the rows to enough for all: each ends, or says
# that there is no memory. The extension has to ask for memory that grows with the data: just to take it would
# end the program.
NO_MEMORY = """
import resource, sys
import numpy as np
import dnn

rows = 1 << 21
x = np.zeros((rows, 1), np.float32)
labels, weights = np.zeros(rows, np.int64), np.ones(rows)
labels[::2], x[::3] = 1, 1.0
y = labels.astype(np.float32).reshape(-1, 1)
model = dnn.Sequential([dnn.Input(1), dnn.Dense(2, "softmax")], seed=1)
wide = dnn.Sequential([dnn.Input(1), dnn.Dense(1 << 21)], seed=1)
numbers = dnn.Sequential([dnn.Input(1), dnn.Dense(1)], seed=1)
blocks = dnn.Sequential([dnn.Input(1), dnn.BatchNormalization(), dnn.Dense(1)], seed=1)

def function(y_true, y_pred):
    return np.zeros(len(y_pred)), np.zeros_like(y_pred)

CALLS = {
    "fit": lambda: model.fit(x, labels, 1 << 16, sample_weight=weights, n_threads=1),
    "in steps of one": lambda: model.fit(x, labels, 1, max_time=1e-9, n_threads=1, callbacks=[stop]),
    "in batches": lambda: blocks.fit(x, y, "full", n_threads=1),
    "by validation": lambda: model.fit(x, labels, 1 << 16, validation_split=0.5, n_threads=1),
    "evaluate": lambda: model.evaluate(x, labels, n_threads=1),
    "own": lambda: numbers.fit(x, y, "full", loss=function, n_threads=1),
    "one step": lambda: model.train_on_batch(x, labels, sample_weight=weights, n_threads=1),
    "gradients": lambda: model.input_gradients(x, labels, n_threads=1),
    "deltas": lambda: model.deltas(x, labels, n_threads=1),
    "forward": lambda: model.forward(x, n_threads=1),
    "predict": lambda: model.predict(x, n_threads=1),
    "weights": lambda: wide.get_weights(),
    "pickle": lambda: wide.__getstate__(),
    "save": lambda: wide.save(sys.argv[1]),
    "load": lambda: dnn.load(sys.argv[2]),
}

def stop(epoch, logs):
    return True

wide.save(sys.argv[2])
model.compile(metrics=["auc"])
# Once without a limit, which counts the stack as well: it does not shrink again.
for call in CALLS.values():
    call()
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
refused = {}
for name, call in CALLS.items():
    for room in (3, 8, 14, 24, 40, 70):
        print(name, room, file=sys.stderr, flush=True)
        resource.setrlimit(resource.RLIMIT_AS, (used + (room << 20), resource.RLIM_INFINITY))
        try:
            call()
        except MemoryError:
            refused[name] = refused.get(name, 0) + 1
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(refused) > len(CALLS) // 2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited on Linux")
@pytest.mark.timeout(600)
def test_memory_that_is_not_there_is_an_error_and_no_end(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_MEMORY, str(tmp_path / "new.dnn"), str(tmp_path / "old.dnn")],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # Not all: memory that was given back once is taken again without asking the system.
    assert done.stdout == "True\n", "most are refused at least once"
