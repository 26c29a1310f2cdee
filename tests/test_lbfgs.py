"""L-BFGS from outside: against SciPy's L-BFGS-B step by step, on real data, with all that fit offers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from models import Table, model_of, same
from numpy.typing import NDArray

scipy_optimize = pytest.importorskip("scipy.optimize", reason="SciPy is the oracle")
datasets = pytest.importorskip("sklearn.datasets", reason="its data sets are the problems")


def scaled(x: NDArray[Any]) -> NDArray[Any]:
    return (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12)


def diabetes() -> tuple[Table, list[dnn.Dense], str]:
    x, y = datasets.load_diabetes(return_X_y=True)
    return (scaled(x), scaled(y)), [dnn.Dense(12, "tanh", l2=1e-2), dnn.Dense(1, l2=1e-2)], "mse"


def breast_cancer() -> tuple[Table, list[dnn.Dense], str]:
    x, y = datasets.load_breast_cancer(return_X_y=True)
    layers = [dnn.Dense(6, "relu", l2=1e-3), dnn.Dense(1, "sigmoid", l2=1e-3)]
    return (scaled(x), y), layers, "binary_cross_entropy"


def digits() -> tuple[Table, list[dnn.Dense], str]:
    x, y = datasets.load_digits(return_X_y=True)
    return (
        (x[:600] / 16, y[:600]),
        [dnn.Dense(16, "tanh", l2=1e-3), dnn.Dense(10, "softmax", l2=1e-3)],
        "cross_entropy",
    )


def linear() -> tuple[Table, list[dnn.Dense], str]:
    x, y = datasets.load_diabetes(return_X_y=True)
    return (scaled(x), scaled(y)), [dnn.Dense(1)], "mse"


PROBLEMS = [diabetes, breast_cancer, digits, linear]


def by_scipy(problem: Any, epochs: int, **options: float) -> tuple[list[float], Any]:
    """SciPy's losses after each iteration on the loss and gradients of our network, and its result."""
    (x, y), layers, loss = problem()
    model = model_of(dnn.Input(x.shape[1]), *layers, dtype="float64")
    model.compile("sgd", loss)

    def loss_and_gradient(parameters: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        model.flat_parameters = parameters
        value, gradients = model.loss_and_gradients(x, y)
        return value, np.concatenate([gradient.reshape(-1) for gradient in gradients])

    losses: list[float] = []

    def note(intermediate_result: Any) -> None:
        losses.append(float(intermediate_result.fun))

    result = scipy_optimize.minimize(
        loss_and_gradient,
        model.flat_parameters,
        jac=True,
        method="L-BFGS-B",
        callback=note,
        options={"maxiter": epochs, **options},
    )
    return losses, result


def by_us(problem: Any, epochs: int, dtype: str = "float64", **options: Any) -> dnn.Sequential:
    (x, y), layers, loss = problem()
    model = model_of(*layers, dtype=dtype)
    model.fit(x, y, epochs=epochs, optimizer=dnn.LBFGS(**options), loss=loss)
    return model


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_losses_are_those_of_scipy_iteration_by_iteration(problem: Any) -> None:
    theirs, _ = by_scipy(problem, 40)
    history = by_us(problem, 40).history
    assert history is not None
    assert len(history.history["loss"]) == len(theirs)
    # Two orders of the same sums, which a nonlinear problem drives apart as iterations go by.
    np.testing.assert_allclose(history.history["loss"][:20], theirs[:20], rtol=1e-10)
    np.testing.assert_allclose(history.history["loss"], theirs, rtol=1e-6)


@pytest.mark.parametrize("problem", [diabetes, linear])
def test_it_ends_where_scipy_does_and_for_the_same_reason(problem: Any) -> None:
    _, theirs = by_scipy(problem, 3000, gtol=1e-5, ftol=0.0, maxfun=10**6)
    model = by_us(problem, 3000, gtol=1e-5, ftol=0.0)
    assert model.history is not None
    assert theirs.message.startswith("CONVERGENCE: NORM OF PROJECTED GRADIENT")
    assert model.history.stopped_because == "gtol"
    (x, y), _, _ = problem()
    _, gradients = model.loss_and_gradients(x, y)
    assert max(np.abs(gradient).max() for gradient in gradients) <= 1e-5
    # Not convex, but near the start of both; 1 % would be another valley.
    np.testing.assert_allclose(model.history.history["loss"][-1], theirs.fun, rtol=1e-2)


def test_least_squares_end_at_the_normal_equations() -> None:
    (x, y), _, _ = linear()
    solution = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]
    model = by_us(linear, 200, gtol=1e-10, ftol=0.0)
    np.testing.assert_allclose(model.flat_parameters, solution, atol=1e-7)
    narrow = by_us(linear, 200, dtype="float32", gtol=0.0, ftol=0.0)
    residual = np.mean((x @ solution[:-1] + solution[-1] - y) ** 2)
    loss = narrow.evaluate(x, y)["loss"]
    assert loss == pytest.approx(residual, rel=1e-6)  # a few roundings of float32


@pytest.mark.parametrize("problem", PROBLEMS)
def test_float32_gets_as_low_as_float64(problem: Any) -> None:
    wide, narrow = (by_us(problem, 150, dtype=dtype).history for dtype in ("float64", "float32"))
    assert wide is not None
    assert narrow is not None
    # Rounding leads through other points, so later iterations differ; the way down is as steep.
    assert narrow.history["loss"][-1] == pytest.approx(wide.history["loss"][-1], rel=0.05)


def test_the_bent_valley_of_a_deep_linear_network_is_followed_to_its_end() -> None:
    x = np.linspace(-1, 1, 21)[:, None]
    model = model_of(dnn.Dense(1, use_bias=False), dnn.Dense(1, use_bias=False), dtype="float64")
    model.set_weights([[[-1.2]], [[1.0]]])
    history = model.fit(x, 3 * x, epochs=100, optimizer=dnn.LBFGS(gtol=1e-9, ftol=0.0))
    assert history.stopped_because == "gtol"
    (u,), (v,) = (w[0] for w in model.get_weights())
    assert u * v == pytest.approx(3.0, abs=1e-8)


def test_the_same_bits_for_any_number_of_threads() -> None:
    (x, y), layers, loss = digits()
    models = [model_of(dnn.Dense(128, "tanh"), layers[1]) for _ in range(4)]
    for threads, model in enumerate(models, 1):
        model.fit(x, y, epochs=8, optimizer="lbfgs", loss=loss, n_threads=threads)
    assert all(same(models[0], model) for model in models[1:])


def test_the_loss_of_an_epoch_is_the_one_after_its_step_and_the_metrics_too() -> None:
    (x, y), layers, loss = digits()
    model = model_of(*layers)
    history = model.fit(x, y, epochs=5, optimizer="lbfgs", loss=loss, metrics=["accuracy"])
    found = model.evaluate(x, y)
    assert found["loss"] == history.history["loss"][-1]
    assert found["accuracy"] == history.history["accuracy"][-1]
    assert history.history["rate"][0] == pytest.approx(1 / first_gradient_norm(layers), rel=1e-5)


def first_gradient_norm(layers: list[dnn.Dense]) -> float:
    (x, y), _, loss = digits()
    model = model_of(dnn.Input(64), *layers)
    model.compile(loss=loss)
    _, gradients = model.loss_and_gradients(x, y)
    return float(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients)))


def test_limits_end_it_and_say_so() -> None:
    (x, y), layers, loss = digits()

    def ended(**options: Any) -> tuple[str, int]:
        history = model_of(*layers).fit(x, y, epochs=60, optimizer=dnn.LBFGS(**options), loss=loss)
        assert history.message
        return history.stopped_because, len(history.epochs)

    assert ended(max_fun=10)[0] == "max_fun"
    assert ended(max_fun=10)[1] < 11
    assert ended(gtol=0.05)[0] == "gtol"
    assert ended(ftol=0.05)[0] == "ftol"
    assert ended() == ("epochs", 60)


def test_validation_callbacks_and_stopping_work_as_with_any_optimizer() -> None:
    (x, y), layers, loss = digits()
    seen: list[int] = []
    model = model_of(*layers)
    history = model.fit(
        x,
        y,
        epochs=80,
        optimizer="lbfgs",
        loss=loss,
        validation_split=0.3,
        early_stopping=4,
        callbacks=[lambda epoch, logs: seen.append(epoch)],
    )
    assert history.stopped_because in ("early_stopping", "epochs")
    assert seen == history.epochs
    lowest = int(np.argmin(history.history["val_loss"]))
    assert history.best_epoch == lowest
    stopped = model_of(*layers).fit(
        x, y, epochs=80, optimizer="lbfgs", loss=loss, callbacks=[lambda epoch, logs: epoch == 2]
    )
    assert (stopped.stopped_because, len(stopped.epochs)) == ("callback", 3)
    assert model_of(*layers).fit(
        x, y, epochs=80, optimizer="lbfgs", loss=loss, stop_at_loss=0.5
    ).stopped_because == ("stop_at_loss")


def test_weights_that_a_callback_changes_are_those_it_goes_on_from() -> None:
    (x, y), layers, loss = digits()
    better, model = model_of(*layers), model_of(*layers)
    reached = better.fit(x, y, epochs=60, optimizer="lbfgs", loss=loss).history["loss"][-1]

    def to_the_better(epoch: int, logs: dict[str, float]) -> None:
        if epoch == 3:
            model.set_weights(better.get_weights())

    history = model.fit(x, y, epochs=5, optimizer="lbfgs", loss=loss, callbacks=[to_the_better])
    losses = history.history["loss"]
    assert losses[4] < reached < losses[3]


def test_a_model_in_the_middle_is_saved_and_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    (x, y), layers, loss = digits()
    whole, saved, pickled = (model_of(*layers) for _ in range(3))
    whole.fit(x, y, epochs=17, optimizer=dnn.LBFGS(m=4), loss=loss)
    for model in (saved, pickled):
        model.fit(x, y, epochs=7, optimizer=dnn.LBFGS(m=4), loss=loss)
    saved.save(tmp_path / "model.dnn")
    loaded = dnn.load(tmp_path / "model.dnn")
    assert loaded.optimizer == dnn.LBFGS(m=4)
    for model in (loaded, pickle.loads(pickle.dumps(pickled))):
        model.fit(x, y, epochs=17, initial_epoch=7)
        assert same(model, whole)


def test_bad_arguments_are_refused() -> None:
    for arguments, error in [
        ({"m": 0}, ValueError),
        ({"m": 10**9}, ValueError),
        ({"m": 2.5}, TypeError),
        ({"max_fun": 0}, ValueError),
        ({"gtol": -1e-5}, ValueError),
        ({"ftol": float("nan")}, ValueError),
        ({"learning_rate": 0.1}, TypeError),
    ]:
        with pytest.raises(error, match=next(iter(arguments))):
            dnn.LBFGS(**arguments)  # type: ignore[arg-type]
    model = model_of(dnn.Dense(1))
    model.compile("lbfgs")
    with pytest.raises(ValueError, match="call fit"):
        model.train_on_batch([[1.0]], [1.0])
