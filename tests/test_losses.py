"""Losses: values and derivatives as PyTorch and scikit-learn have them, what fits, and what is refused.

`values/losses.json` was recorded by `record/losses.py`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from dnn import _losses

RECORDED = json.loads((Path(__file__).parent / "values" / "losses.json").read_text(encoding="utf-8"))["cases"]


def title(case: dict[str, Any]) -> str:
    parameters = ",".join(str(value) for value in case["parameters"].values())
    return f"{case['loss']}({parameters})-{case['activation']}-{case['source']}-{np.abs(case['z']).max():.0e}"


def bare(activation: str, loss: object, n: int, dtype: str = "float64") -> dnn.Sequential:
    """A network whose z are its inputs."""
    model = dnn.Sequential([dnn.Input(n), dnn.Dense(n, activation)], seed=0, dtype=dtype)
    model.set_weights([np.eye(n), np.zeros(n)])
    model.compile(loss=loss)
    return model


@pytest.mark.parametrize("case", RECORDED, ids=title)
def test_values_and_derivatives_are_those_of_the_peer(case: dict[str, Any]) -> None:
    loss = _losses.LOSSES[case["loss"]](**case["parameters"])
    z, t, gradient = np.array(case["z"]), np.array(case["t"]), np.array(case["gradient"])
    model = bare(case["activation"], loss, z.shape[1])
    # PyTorch's and Keras's formula of ln cosh cancels to about 1e-15 absolutely.
    assert model.evaluate(z, t)["loss"] == pytest.approx(case["value"], rel=1e-12, abs=1e-15)
    (found,) = model.deltas(z, t)
    # Relative to the largest, as p - t cancels where p is near t, in the peer as well.
    np.testing.assert_allclose(found, gradient, rtol=1e-12, atol=1e-12 * max(np.abs(gradient).max(), 1e-4))


def test_every_loss_but_those_of_other_books_is_recorded() -> None:
    # half_mse and sse are mse times a number, the hinges are worked by hand below.
    missing = set(_losses.LOSSES) - {case["loss"] for case in RECORDED}
    assert missing == {"half_mse", "sse", "hinge", "squared_hinge"}


@pytest.mark.parametrize(("name", "factor"), [("half_mse", 0.5), ("sse", 3.0)])
def test_mse_times_a_number(name: str, factor: float) -> None:
    rng = np.random.default_rng(1)
    z, t = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    mse, other = bare("identity", "mse", 3), bare("identity", name, 3)
    assert other.evaluate(z, t)["loss"] == pytest.approx(factor * mse.evaluate(z, t)["loss"], rel=1e-14)
    np.testing.assert_allclose(other.deltas(z, t)[0], factor * mse.deltas(z, t)[0], rtol=1e-14)


def test_hinges_by_hand() -> None:
    z, t = [[0.5], [-2.0], [3.0]], [-1.0, -1.0, 1.0]
    assert bare("identity", "hinge", 1).evaluate(z, t)["loss"] == pytest.approx(0.5, rel=1e-15)
    assert bare("identity", "squared_hinge", 1).evaluate(z, t)["loss"] == pytest.approx(0.75, rel=1e-15)


@pytest.mark.parametrize(
    "loss", [*(loss() for loss in _losses.LOSSES.values()), dnn.Quantile([0.1, 0.9])], ids=repr
)
def test_float32_has_the_loss_of_float64(loss: _losses.Loss) -> None:
    output = "softmax" if isinstance(loss, _losses.OfSoftmax) else (loss.fits or ("identity",))[0]
    rng = np.random.default_rng(2)
    n = 2 * loss.heads
    z = rng.normal(0, 2, (40, n)).astype(np.float32).astype(float)
    task = _losses.task(loss, output, n)
    shape = (40, task.n_targets)
    t = {"any": rng.normal(size=shape), "signs": rng.choice([-1.0, 1.0], shape)}.get(
        task.targets, rng.uniform(0.2, 0.8, shape)
    )
    t = t / t.sum(1, keepdims=True) if task.targets == "distribution" else t
    t = t.astype(np.float32).astype(float)
    ours, exact = bare(output, loss, n, "float32"), bare(output, loss, n)
    # A few roundings of float32, 6e-8 each, in numbers of the size of the largest.
    assert ours.evaluate(z, t)["loss"] == pytest.approx(exact.evaluate(z, t)["loss"], rel=2e-6, abs=2e-6)
    expected = exact.deltas(z, t)[0]
    np.testing.assert_allclose(ours.deltas(z, t)[0], expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_tweedie_of_1_and_2_are_poisson_and_gamma_and_focal_of_0_is_cross_entropy() -> None:
    rng = np.random.default_rng(3)
    z, t = rng.normal(size=(9, 2)), rng.uniform(0.1, 1, (9, 2))
    p = t / t.sum(1, keepdims=True)
    for one, other, output, targets in [
        (dnn.Tweedie(1.0), "poisson", "exponential", t),
        (dnn.Tweedie(2.0), "gamma", "softplus", t),
        (dnn.Focal(0.0), "cross_entropy", "softmax", p),
        (dnn.Focal(0.0), "binary_cross_entropy", "sigmoid", t),
    ]:
        a, b = bare(output, one, 2), bare(output, other, 2)
        assert a.evaluate(z, targets) == b.evaluate(z, targets)
        assert (a.deltas(z, targets)[0] == b.deltas(z, targets)[0]).all()


def test_the_constants_of_cross_entropies_are_zero() -> None:
    z, p = np.log([[0.2, 0.3, 0.5]]), [[0.2, 0.3, 0.5]]
    assert bare("softmax", "kl_divergence", 3).evaluate(z, p)["loss"] == pytest.approx(0.0, abs=1e-15)
    entropy = -sum(x * math.log(x) for x in p[0])
    assert bare("softmax", "cross_entropy", 3).evaluate(z, p)["loss"] == pytest.approx(entropy, rel=1e-14)


def test_quantiles_find_the_quantiles_of_the_data() -> None:
    y = np.random.default_rng(4).exponential(size=2000)
    model = dnn.Sequential([dnn.Input(1), dnn.Dense(3)], seed=1)
    x = np.zeros((2000, 1))
    loss = dnn.Quantile([0.1, 0.5, 0.9])
    model.fit(x, y, batch_size="full", epochs=1500, loss=loss, optimizer=dnn.Adam(0.01), verbose=0)
    # The bias alone is left: it settles where the share below it is q, to about a step of 0.01.
    np.testing.assert_allclose(model.predict([[0.0]])[0], np.quantile(y, loss.q), atol=0.03)


def test_heads_of_several_targets_stand_head_by_head() -> None:
    z, t = [[1.0, 2.0, 3.0, 4.0]], [[0.0, 5.0]]
    losses = [
        max(q * (t - y), (q - 1) * (t - y))
        for q, y, t in [(0.1, 1.0, 0.0), (0.1, 2.0, 5.0), (0.9, 3.0, 0.0), (0.9, 4.0, 5.0)]
    ]
    model = bare("identity", dnn.Quantile([0.1, 0.9]), 4)
    assert model.evaluate(z, t)["loss"] == pytest.approx(np.mean(losses), rel=1e-15)
    model = bare("identity", "gaussian_nll", 4)
    wanted = np.mean([(3.0 + 1.0 / math.exp(3.0)) / 2, (4.0 + 9.0 / math.exp(4.0)) / 2])
    assert model.evaluate(z, t)["loss"] == pytest.approx(wanted, rel=1e-14)


def test_label_smoothing_spreads_the_target_over_the_classes() -> None:
    rng = np.random.default_rng(5)
    z, labels = rng.normal(size=(7, 4)), rng.integers(0, 4, 7)
    smooth = 0.8 * np.eye(4)[labels] + 0.2 / 4
    model, plain = bare("softmax", dnn.CrossEntropy(0.2), 4), bare("softmax", "cross_entropy", 4)
    assert model.evaluate(z, labels)["loss"] == pytest.approx(plain.evaluate(z, smooth)["loss"], rel=1e-14)
    np.testing.assert_allclose(model.deltas(z, labels)[0], plain.deltas(z, smooth)[0], rtol=0, atol=1e-16)


@pytest.mark.parametrize(
    ("loss", "output", "message"),
    [
        ("poisson", "identity", "needs positive outputs.*'exponential' or 'softplus'"),
        ("gamma", "relu", "needs positive outputs.*'exponential' or 'softplus'"),
        (dnn.Tweedie(1.5), "softmax", "needs positive outputs.*loss='cross_entropy'"),
        ("msle", "tanh", "never negative.*'softplus', 'exponential' or 'relu'"),
        ("focal", "identity", "needs probabilities.*'softmax' or 'sigmoid'"),
        ("kl_divergence", "sigmoid", "needs a softmax output.*loss='binary_cross_entropy'"),
        ("quantile", "softmax", "do not depend on each other.*'identity'"),
        ("gaussian_nll", "relu", "a mean and the logarithm of a variance.*'identity'"),
    ],
)
def test_a_loss_that_does_not_fit_the_output_names_those_that_do(
    loss: object, output: str, message: str
) -> None:
    model = dnn.Sequential([dnn.Dense(2, output)])
    with pytest.raises(ValueError, match=message):
        model.compile(loss=loss)


@pytest.mark.parametrize(
    ("loss", "output", "y", "message"),
    [
        (
            "poisson",
            "exponential",
            [-1.0, 1.0],
            "y at row 0 has -1, but loss 'poisson' needs targets of 0 or more",
        ),
        ("gamma", "softplus", [1.0, 0.0], "y at row 1 has 0, but loss 'gamma' needs targets above 0"),
        (dnn.Tweedie(2.5), "softplus", [1.0, 0.0], "needs targets above 0"),
        (dnn.Tweedie(1.5), "softplus", [1.0, -2.0], "needs targets of 0 or more"),
        ("msle", "relu", [-0.5, 0.0], "needs targets of 0 or more"),
        ("mape", "identity", [1.0, 0.0], "divides by the target"),
        ("focal", "sigmoid", [0.5, 2.0], "loss 'focal' needs targets from 0 to 1"),
    ],
)
def test_targets_that_do_not_fit_are_refused_with_their_row(
    loss: object, output: str, y: list[float], message: str
) -> None:
    model = dnn.Sequential([dnn.Dense(1, output)])
    with pytest.raises(ValueError, match=message):
        model.fit([[1.0], [2.0]], y, loss=loss, verbose=0)


def test_heads_need_their_number_of_outputs_and_of_targets() -> None:
    with pytest.raises(
        ValueError, match="2 outputs for each target, but the last layer has 3; give it 2 units"
    ):
        dnn.Sequential([dnn.Dense(3)]).compile(loss="gaussian_nll")
    with pytest.raises(ValueError, match=r"6 outputs, 3 for each target.*pass y as \(4, 2\)"):
        dnn.Sequential([dnn.Dense(6)]).fit(
            np.zeros((4, 1)), np.zeros((4, 3)), loss=dnn.Quantile([0.1, 0.2, 0.3]), verbose=0
        )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dnn.Quantile(1.0), ValueError, "q must be .* below 1"),
        (lambda: dnn.Quantile([]), ValueError, "q is empty"),
        (lambda: dnn.Quantile([0.1, "b"]), TypeError, "q must be"),
        (lambda: dnn.Tweedie(0.5), ValueError, "p must be .* at least 1"),
        (lambda: dnn.Focal(-1.0), ValueError, "gamma must be .* at least 0"),
        (lambda: dnn.CrossEntropy(1.0), ValueError, "label_smoothing must be .* below 1"),
        (lambda: dnn.GaussianNLL(0.0), ValueError, "epsilon must be"),
    ],
)
def test_parameters_out_of_range_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("loss", "output", "units"),
    [
        (dnn.Quantile([0.1, 0.5]), "identity", 2),
        (dnn.Quantile(0.3), "identity", 1),
        (dnn.Tweedie(1.7), "exponential", 1),
        (dnn.GaussianNLL(1e-3), "identity", 2),
        (dnn.Focal(1.5), "sigmoid", 1),
        (dnn.CrossEntropy(label_smoothing=0.25), "softmax", 2),
    ],
)
def test_a_file_keeps_the_loss_and_its_parameters(loss: Any, output: str, units: int, tmp_path: Path) -> None:
    model = dnn.Sequential([dnn.Input(1), dnn.Dense(units, output)], seed=1)
    model.compile(loss=loss)
    model.save(tmp_path / "model.dnn")
    same = dnn.load(tmp_path / "model.dnn")
    assert same.loss == loss
    y = [0, 1] if output == "softmax" else [0.25, 0.5]
    assert same.evaluate([[1.0], [2.0]], y) == model.evaluate([[1.0], [2.0]], y)


@pytest.mark.parametrize("loss", _losses.LOSSES.values(), ids=lambda loss: loss.name)
def test_a_weight_of_2_is_the_row_twice_for_every_loss(loss: type[_losses.Loss]) -> None:
    made = loss()
    output = (made.fits or ("identity",))[0]
    n = 2 * made.heads
    rng = np.random.default_rng(6)
    z = rng.normal(size=(4, n))
    task = _losses.task(made, output, n)
    t = rng.uniform(0.2, 0.8, (4, task.n_targets))
    t = {"signs": np.sign(t - 0.5), "distribution": t / t.sum(1, keepdims=True)}.get(task.targets, t)
    model, index = bare(output, made, n), [0, 0, 1, 3, 3, 3]
    weighted = model.loss_and_gradients(z, t, sample_weight=[2, 1, 0, 3])
    repeated = model.loss_and_gradients(z[index], t[index])
    # The same sums in another order.
    assert weighted[0] == pytest.approx(repeated[0], rel=1e-13)
    for ours, other in zip(weighted[1], repeated[1], strict=True):
        np.testing.assert_allclose(ours, other, rtol=0, atol=1e-13 * max(np.abs(other).max(), 1e-3))


@pytest.mark.parametrize("output", ["exponential", "softplus"])
def test_mae_and_mse_are_those_of_the_outputs_also_where_the_loss_takes_their_logarithm(output: str) -> None:
    rng = np.random.default_rng(8)
    z, t = rng.normal(size=(20, 2)), rng.poisson(2.0, (20, 2)).astype(float)
    model = bare(output, "poisson", 2)
    model.compile(loss="poisson", metrics=["mae", "mse"])
    measured, y = model.evaluate(z, t), model.predict(z)
    assert measured["mae"] == pytest.approx(np.abs(y - t).mean(), rel=1e-14)
    assert measured["mse"] == pytest.approx(((y - t) ** 2).mean(), rel=1e-14)


@pytest.mark.parametrize(("loss", "units"), [("gaussian_nll", 2), (dnn.Quantile([0.1, 0.9]), 4)])
def test_metrics_of_single_outputs_are_refused_where_a_target_has_several(loss: Any, units: int) -> None:
    with pytest.raises(ValueError, match="'mae' compares every output with a target of its own"):
        dnn.Sequential([dnn.Dense(units)]).compile(loss=loss, metrics=["mae"])


@pytest.mark.parametrize("loss", ["focal", "kl_divergence"])
def test_metrics_of_regression_are_refused_for_classes(loss: str) -> None:
    with pytest.raises(ValueError, match="'mse' is for regression"):
        dnn.Sequential([dnn.Dense(3, "softmax")]).compile(loss=loss, metrics=["mse"])
