"""Prediction: arrays that are as they should be take a short way, others a longer one to the same bits."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from models import same_bits


def network(dtype: str = "float32") -> dnn.Sequential:
    layers = [dnn.Input(6), dnn.Dense(40, "tanh"), dnn.Dense(17, "relu"), dnn.Dense(3, "softmax")]
    return dnn.Sequential(layers, seed=4, dtype=dtype)


def inputs(rows: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.random.default_rng(rows).normal(size=(rows, 6)).astype(dtype)


# Brief ones, one block, several blocks; blocks of conversion are larger than all of them but the last.
SIZES = (1, 2, 40, 129, 1000, 100_000)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", SIZES)
def test_both_ways_and_both_kinds_of_out_have_the_same_bits(rows: int, dtype: str) -> None:
    model = network(dtype)
    x = inputs(rows, dtype)
    straight = model.predict(x)
    assert straight.shape == (rows, 3)
    assert straight.dtype == dtype
    assert straight.flags.c_contiguous
    assert straight.flags.owndata
    into = np.full((rows, 3), 7, dtype)
    assert model.predict(x, out=into) is into
    # A Fortran order is converted block by block.
    longer = np.full((rows, 3), 7, dtype)
    turned = np.asfortranarray(x)
    assert model.predict(turned, out=longer) is longer
    shared = model.predict(x, n_threads=3)
    for other in (into, longer, shared, model.predict(turned), model.predict(x.tolist())):
        assert same_bits([straight], [other])


def test_x_that_is_read_only_or_a_view_or_a_memory_map_is_read_as_it_is(tmp_path: Any) -> None:
    model = network()
    x = inputs(300)
    expected = model.predict(x)
    locked = x.copy()
    locked.flags.writeable = False
    assert same_bits([model.predict(locked)], [expected])
    assert same_bits([model.predict(x[5:200])], [expected[5:200]])
    assert same_bits([model.predict(x[::3])], [expected[::3]])
    np.save(tmp_path / "x.npy", x)
    assert same_bits([model.predict(np.load(tmp_path / "x.npy", mmap_mode="r"))], [expected])


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_nan_is_named_with_its_place_and_count_and_out_stays_as_it_was(rows: int, order: Any) -> None:
    model = network()
    x = np.array(inputs(rows), order=order)
    x[-1, 2], x[-1, 5] = np.inf, np.nan
    out = np.full((rows, 3), 7, np.float32)
    message = rf"x has NaN or infinity in 2 values, the first inf at row {rows - 1}, column 2"
    with pytest.raises(ValueError, match=message):
        model.predict(x, out=out)
    with pytest.raises(ValueError, match=message):
        model.predict(x)
    assert np.all(out == 7)


def of_another_kind(rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """The same whole numbers, of every layout and type that has a way of its own."""
    x = np.random.default_rng(rows).integers(-100, 100, (rows, 6)).astype(float)
    wide = np.full((2 * rows, 14), np.nan)
    wide[::2, 1:13:2] = x
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view("f8").reshape(x.shape)
    unaligned[:] = x
    backwards = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    own = {
        "in order": x,
        "columns first": np.asfortranarray(x),
        "apart": wide[::2, 1:13:2],
        "backwards": backwards,
        "columns first and backwards": np.asfortranarray(backwards)[::-1][::-1],
        "unaligned": unaligned,
    }
    found = {
        f"{name}, {dtype}": array.astype(dtype, order="K") for name, array in own.items() for dtype in "fd"
    }
    return {
        **found,
        **own,
        **{dtype: x.astype(dtype) for dtype in (">f8", ">f4", "f2", "i8", "i1", "longdouble")},
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 7, 40, 129, 5000])
def test_layout_and_type_of_x_do_not_matter(rows: int, dtype: str) -> None:
    model = network(dtype)
    kinds = of_another_kind(rows)
    expected = model.predict(kinds["in order"].astype(dtype))
    classes = expected.argmax(axis=1)
    for kind, x in kinds.items():
        before = x.copy()
        assert same_bits([model.predict(x)], [expected]), kind
        assert same_bits([model.predict(x, n_threads=1)], [expected]), kind
        out = np.zeros((rows, 3), dtype)
        assert model.predict(x, out=out) is out
        assert same_bits([out], [expected]), kind
        np.testing.assert_array_equal(model.predict_classes(x), classes, kind)
        np.testing.assert_array_equal(model.predict_classes(x, n_threads=3), classes, kind)
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_row_that_stands_for_many_is_read_as_often(dtype: str) -> None:
    model = network()
    row = inputs(1, dtype)
    many = np.broadcast_to(row, (300, 6))
    assert same_bits([model.predict(many)], [np.repeat(model.predict(row), 300, axis=0)])
    column = np.broadcast_to(np.arange(40, dtype=dtype)[:, None], (40, 6))
    assert same_bits([model.predict(column)], [model.predict(column.copy())])


@pytest.mark.parametrize("rows", [3, 5000])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_overflows_float32_is_named_and_out_stays_as_it_was(rows: int, order: Any) -> None:
    model = network()
    x = np.array(inputs(rows, float), order=order)
    x[rows - 1, 4] = -3.5e38
    out = np.full((rows, 3), 7, np.float32)
    message = rf"x overflows float32 in 1 value, -3.5e\+38 at row {rows - 1}, column 4; scale it"
    for call in (
        lambda: model.predict(x),
        lambda: model.predict(x, out=out),
        lambda: model.predict_classes(x),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert np.all(out == 7)


def test_the_class_is_the_first_of_the_largest_outputs() -> None:
    model = dnn.Sequential([dnn.Input(1), dnn.Dense(4)])
    model.set_weights([np.array([[1.0, 2.0, 2.0, -3.0]]), np.zeros(4)])
    x = np.array([[1.0], [-1.0], [0.0]])
    for rows in (1, 50, 4000):
        found = model.predict_classes(np.repeat(x, rows, axis=0))
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, np.repeat([1, 3, 0], rows))


@pytest.mark.parametrize("rows", [1, 4000])
def test_classes_of_outputs_that_are_no_numbers_are_those_of_numpy_and_told(rows: int) -> None:
    model = dnn.Sequential([dnn.Input(1), dnn.Dense(3)])
    model.set_weights([np.array([[1e38, 3e38, -3e38]]), np.zeros(3)])
    x = np.full((rows, 1), 3.0, np.float32)
    with pytest.warns(RuntimeWarning, match="predict gives NaN or infinity"):
        assert np.all(model.predict_classes(x) == 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_out_on_the_memory_of_x_is_refused_whatever_lies_between(dtype: str) -> None:
    model = dnn.Sequential([dnn.Input(2), dnn.Dense(2)])
    memory = np.zeros(4096, np.uint8)
    x = memory.view(dtype)[:400].reshape(4, 100)[::-1, 40:42]
    inside = memory.view("float32")[150:158].reshape(4, 2)
    with pytest.raises(ValueError, match="out shares memory with x"):
        model.predict(x, out=inside)
    behind = memory.view("float32")[-8:].reshape(4, 2)
    assert model.predict(x, out=behind) is behind


def test_out_on_the_memory_of_x_is_refused_also_by_way_of_a_third_object() -> None:
    model = dnn.Sequential([dnn.Input(3), dnn.Dense(3)])
    memory = bytearray(4 * 30)
    # Two arrays that know nothing of each other.
    x = np.frombuffer(memory, np.float32, count=15).reshape(5, 3)
    out = np.frombuffer(memory, np.float32, count=15, offset=4 * 14).reshape(5, 3)
    with pytest.raises(ValueError, match="out shares memory with x"):
        model.predict(x, out=out)
    beside = np.frombuffer(memory, np.float32, count=15, offset=4 * 15).reshape(5, 3)
    assert model.predict(x, out=beside) is beside


def test_an_array_of_another_class_takes_the_longer_way() -> None:
    model = network()
    x = inputs(4)
    masked = np.ma.masked_less(x, 0)
    with pytest.raises(TypeError, match="masked array"):
        model.predict(masked)
    other = x.view(type("Other", (np.ndarray,), {}))
    assert type(model.predict(other)) is np.ndarray
    assert same_bits([model.predict(other)], [model.predict(x)])


@pytest.mark.parametrize("n_threads", [0, -1, 1025, 2.0, "two", True])
def test_n_threads_is_checked_on_the_short_way_too(n_threads: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="n_threads"):
        network().predict(inputs(1), n_threads=n_threads)


@pytest.mark.parametrize("rows", [1, 500])
def test_threads_predict_at_once_on_one_model(rows: int) -> None:
    model = network()
    tables = [inputs(rows) + np.float32(i) for i in range(8)]
    expected = [model.predict(x) for x in tables]

    def ask(i: int) -> bool:
        out = np.empty((rows, 3), np.float32)
        return all(same_bits([model.predict(tables[i], out=out)], [expected[i]]) for _ in range(200))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(8)))


def test_a_model_predicts_while_it_learns() -> None:
    model = network()
    x = inputs(400)
    y = np.arange(400) % 3
    stop = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            while not stop.is_set():
                for rows in (1, 400):
                    assert np.allclose(model.predict(x[:rows]).sum(axis=1), 1, atol=1e-5)
        except BaseException as error:
            failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    model.fit(x, y, epochs=100, verbose=0)
    stop.set()
    asking.join()
    assert not failures


@pytest.mark.filterwarnings("ignore:a learning rate that is a function")
def test_a_model_that_learns_elsewhere_gives_its_weights_and_not_its_optimizer(tmp_path: Path) -> None:
    model = network()
    x, y = inputs(60), np.arange(60) % 3
    model.fit(x, y, epochs=1, verbose=0)
    path = tmp_path / "model.dnn"
    asked: list[str] = []
    waiting: list[threading.Thread] = []

    class Save(dnn.Callback):
        """In a callback the optimizer is there."""

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            model.save(path)
            asked.append("callback")

    def schedule(step: int) -> float:
        # A step in the midst of the second epoch; training waits for the rates of all its steps.
        if step == 5 and not waiting:
            waiting.append(threading.Thread(target=ask))
            waiting[0].start()
            waiting[0].join()
        return 1e-3

    def ask() -> None:
        assert model.predict(x).shape == (60, 3)
        model.save(path, optimizer=False)
        for name, call in {"save": model.save, "copy": lambda _: copy.copy(model)}.items():
            with pytest.raises(RuntimeError, match=f"{name}.*the model is training.*callback"):
                call(path)
            asked.append(name)

    model.fit(x, y, epochs=4, optimizer=dnn.Adam(schedule), callbacks=[Save()], verbose=0)
    assert asked == ["callback", "save", "copy", "callback", "callback", "callback"]
    model.save(path)
    assert same_bits(dnn.load(path).predict(x), model.predict(x))


def test_the_weights_that_a_prediction_sees_are_those_of_now() -> None:
    model = dnn.Sequential([dnn.Input(1), dnn.Dense(1)])
    x, out = np.ones((1, 1), np.float32), np.empty((1, 1), np.float32)
    for weight in (1.0, 2.0, 3.0):
        model.set_weights([[[weight]], [0.0]])
        assert model.predict(x, out=out)[0, 0] == weight
    model.compile("sgd", loss="mae")
    assert model.predict(x)[0, 0] == 3.0


def test_a_number_of_threads_that_is_none_is_told_by_the_smallest_prediction_too() -> None:
    code = (
        "import dnn, numpy as np\n"
        "model = dnn.Sequential([dnn.Input(1), dnn.Dense(1)])\n"
        "x = np.zeros((1, 1), np.float32)\n"
        "model.predict(x, n_threads=1)\n"
        "model.predict(x)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DNN_NUM_THREADS": "many"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "line 5" in done.stderr, done.stderr
    assert "ValueError: the environment variable DNN_NUM_THREADS is 'many'" in done.stderr


@pytest.mark.parametrize("rows", [2, 5000])
def test_outputs_that_are_no_numbers_are_told(rows: int) -> None:
    model = dnn.Sequential([dnn.Input(1), dnn.Dense(1, weight_initializer=dnn.Constant(3e38))], seed=1)
    x = np.full((rows, 1), 2.0, np.float32)
    for given in (x, x.astype(np.float64), np.asfortranarray(np.hstack([x, x]))[:, :1]):
        with pytest.warns(RuntimeWarning, match="predict gives NaN or infinity"):
            found = model.predict(given)
        assert np.isinf(found).all()


def test_targets_scaled_back_beyond_the_type_are_told() -> None:
    x = np.random.default_rng(0).normal(size=(60, 4))
    model = dnn.Sequential([dnn.Dense(8, "relu"), dnn.Dense(1)], seed=1, scale_target="robust")
    model.fit(x, x[:, 0] * 1e300, epochs=2, verbose=0)
    with pytest.warns(RuntimeWarning, match="dtype='float64'") as told:
        model.predict(x)
    assert len(told) == 1
    assert told[0].filename == __file__


def test_an_estimator_tells_of_outputs_that_are_no_numbers() -> None:
    pytest.importorskip("sklearn")
    x = np.random.default_rng(0).normal(size=(50, 3))
    model = dnn.MLPRegressor(hidden_layer_sizes=(4,), max_iter=300, random_state=0, tol=1e-2).fit(x, x[:, 0])
    model.coefs_[-1][:] = 1e308
    with pytest.warns(RuntimeWarning, match="predict gives NaN or infinity"):
        model.predict(x * 1e3)
    with pytest.warns(RuntimeWarning, match="predict gives NaN or infinity"):
        model.predict((x * 1e3).tolist())


def test_an_array_that_another_call_reads_is_not_written_and_named() -> None:
    x = inputs(50)
    network_of_three = dnn.Sequential([dnn.Input(6), dnn.Dense(6)], seed=1)
    raised: list[BaseException] = []

    def loss(y_true: Any, y_pred: Any) -> Any:
        # x is being read by the evaluation that asks for this loss.
        try:
            network_of_three.predict(inputs(50), out=x)
        except RuntimeError as error:
            raised.append(error)
        return np.abs(y_pred - y_true).mean(axis=1), np.sign(y_pred - y_true) / 3

    model = network()
    model.compile(loss=loss)
    before = x.copy()
    model.evaluate(x, np.zeros((50, 3), np.float32))
    assert [str(error) for error in raised] == [
        "out is being read or written by another call; give each thread arrays of its own"
    ]
    np.testing.assert_array_equal(x, before)


def test_an_out_that_is_not_aligned_is_called_that() -> None:
    room = np.zeros(4 * 12 + 1, np.uint8)[1:].view(np.float32).reshape(4, 3)
    with pytest.raises(ValueError, match="out isn't aligned in memory"):
        network().predict(inputs(4), out=room)
