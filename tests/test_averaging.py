"""`fit(averaging=)`: means of the weights are validated and come back, while training goes its own way."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from dnn._optimizers import OPTIMIZERS
from models import Table, model_of, same, same_bits
from numpy.typing import NDArray

RULES = [dnn.EMA(0.9), dnn.SWA(2), dnn.SWA(1, every=2)]
# Those that make steps; L-BFGS is refused.
STEPPING = sorted(set(OPTIMIZERS) - {"lbfgs"})
VALUES = json.loads((Path(__file__).parent / "values" / "averaging.json").read_text(encoding="utf-8"))


def plain(dtype: str = "float64") -> dnn.Sequential:
    return model_of(dnn.Dense(5, "tanh"), dnn.Dense(1), dtype=dtype)


def normalised(dtype: str = "float64") -> dnn.Sequential:
    layers = [dnn.Dense(6), dnn.BatchNormalization(momentum=0.8), dnn.Activation("relu"), dnn.Dropout(0.2)]
    return model_of(*layers, dnn.Dense(1), dtype=dtype)


def path_of(model: dnn.Sequential, *data: Any, **arguments: Any) -> tuple[list[Any], list[Any]]:
    """The parameters after every step and after every epoch of a fit without a mean."""
    steps: list[NDArray[Any]] = []
    epochs: list[NDArray[Any]] = []
    watch = dnn.LambdaCallback(
        on_train_batch_end=lambda batch, logs: steps.append(model.flat_parameters),
        on_epoch_end=lambda epoch, logs: epochs.append(model.flat_parameters),
    )
    model.fit(*data, callbacks=[watch], **arguments)
    return steps, epochs


def ema(steps: list[NDArray[Any]], decay: float) -> NDArray[Any]:
    mean = steps[0]
    for weights in steps[1:]:
        mean = decay * mean + (1 - decay) * weights
    return mean


def swa(epochs: list[NDArray[Any]], start: int, every: int) -> NDArray[Any]:
    return np.asarray(np.mean(epochs[start::every], axis=0))


def expected(rule: Any, steps: list[NDArray[Any]], epochs: list[NDArray[Any]]) -> NDArray[Any]:
    if isinstance(rule, dnn.EMA):
        return ema(steps, rule.decay)
    return swa(epochs, rule.start_epoch, rule.every)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("optimizer", STEPPING)
def test_the_mean_is_that_of_the_steps_or_epochs_that_training_makes_anyway(
    optimizer: str, rule: Any, regression: Table
) -> None:
    how: dict[str, Any] = {"batch_size": 16, "epochs": 6, "optimizer": optimizer}
    steps, epochs = path_of(plain(), *regression, **how)
    averaged = plain()
    history = averaged.fit(*regression, averaging=rule, **how)
    np.testing.assert_allclose(
        averaged.flat_parameters, expected(rule, steps, epochs), rtol=1e-12, atol=1e-13
    )
    assert np.abs(averaged.flat_parameters - steps[-1]).max() > 1e-6
    # Training itself has not noticed.
    alone = plain()
    assert history.history["loss"] == alone.fit(*regression, **how).history["loss"]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"accumulate": 2},
        {"optimizer": dnn.SGD(0.2, momentum=0.9, clip_norm=0.1)},
        {"optimizer": dnn.Adam(dnn.CosineDecay(0.02, 20))},
        {"sample_weight": np.arange(60) % 3 + 0.5, "shuffle": False},
        {"order": lambda epoch: np.arange(epoch, epoch + 40)},
        {"batch_size": "full"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_the_mean_goes_with_everything_that_makes_steps(options: Any, rule: Any, regression: Table) -> None:
    how: dict[str, Any] = {"batch_size": 8, "epochs": 5, "optimizer": "sgd", **options}
    steps, epochs = path_of(plain(), *regression, **how)
    averaged = plain()
    averaged.fit(*regression, averaging=rule, **how)
    np.testing.assert_allclose(
        averaged.flat_parameters, expected(rule, steps, epochs), rtol=1e-12, atol=1e-13
    )


def test_a_decay_of_0_and_a_mean_over_one_epoch_are_the_weights_themselves(regression: Table) -> None:
    models = [plain("float32") for _ in range(3)]
    for model, rule in zip(models, [None, dnn.EMA(0.0), dnn.SWA(3)], strict=True):
        model.fit(*regression, 16, 4, averaging=rule)
    np.testing.assert_allclose(models[1].flat_parameters, models[0].flat_parameters, rtol=1e-6, atol=1e-7)
    assert same(models[2], models[0])


@pytest.mark.parametrize("case", VALUES["cases"], ids=lambda case: case["name"])
def test_the_mean_and_its_statistics_are_pytorchs(case: dict[str, Any]) -> None:
    model = model_of(
        dnn.Input(3),
        dnn.Dense(5),
        dnn.BatchNormalization(momentum=0.9, epsilon=1e-5),
        dnn.Activation("tanh"),
        dnn.Dense(2),
        dtype="float64",
    )
    model.set_weights([np.array(array) for array in case["before"]])
    rule = dnn.EMA(case["decay"]) if "decay" in case else dnn.SWA(case["start_epoch"], every=case["every"])
    size = case["batch_size"]
    model.fit(
        case["x"],
        case["y"],
        size,
        case["epochs"],
        shuffle=False,
        optimizer=dnn.SGD(case["rate"], momentum=0.9),
        loss="mse",
        averaging=rule,
    )
    # PyTorch's running variance is that of a sample, n / (n - 1) of ours; all batches have as many rows.
    after = [np.array(array) for array in case["after"]]
    after[5] = after[5] * (size - 1) / size
    for ours, theirs in zip(model.get_weights(), after, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)  # rounding, grown over all the steps


def test_means_and_variances_are_those_of_the_rows_under_the_mean_of_the_weights(regression: Table) -> None:
    x, y = regression
    # 7 batches of 8 rows and one of 4, which counts half as much.
    weight = 0.5 + np.arange(60) % 4
    model = model_of(dnn.Dense(6), dnn.BatchNormalization(), dnn.Dense(1), dtype="float64")
    model.fit(x, y, 8, 5, sample_weight=weight, averaging=dnn.EMA(0.8), optimizer="adam")
    w, b, _, _, mean, variance = model.get_weights()[:6]
    z = x.astype(float) @ w + b
    parts = [np.arange(60)[start : start + 8] for start in range(0, 60, 8)]
    means = [np.average(z[rows], axis=0, weights=weight[rows]) for rows in parts]
    variances = [
        np.average((z[rows] - of) ** 2, axis=0, weights=weight[rows])
        for rows, of in zip(parts, means, strict=True)
    ]
    shares = [weight[rows].sum() for rows in parts]
    np.testing.assert_allclose(mean, np.average(means, axis=0, weights=shares), rtol=1e-12)
    np.testing.assert_allclose(variance, np.average(variances, axis=0, weights=shares), rtol=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_mean_is_what_is_validated_seen_saved_and_found_best(
    rule: Any, regression: Table, tmp_path: Path
) -> None:
    x, y = regression
    seen: list[list[NDArray[Any]]] = []
    losses: list[float] = []

    def look(epoch: int, logs: dict[str, float]) -> None:
        seen.append(model.get_weights())
        losses.append(model.evaluate(x[40:], y[40:])["loss"])

    model = normalised()
    history = model.fit(
        x[:40],
        y[:40],
        8,
        12,
        validation_data=(x[40:], y[40:]),
        averaging=rule,
        optimizer=dnn.SGD(0.3),
        callbacks=[look, dnn.ModelCheckpoint(tmp_path / "{epoch}.dnn")],
    )
    assert losses == history.history["val_loss"]
    best = int(np.argmin(losses))
    assert history.best_epoch == best
    assert same_bits(model.get_weights(), seen[best])
    for epoch, weights in enumerate(seen):
        saved = dnn.load(tmp_path / f"{epoch + 1}.dnn").get_weights()
        assert same_bits(saved, weights)


def test_before_the_first_epoch_that_counts_all_is_as_without_a_mean(regression: Table) -> None:
    how: dict[str, Any] = {"validation_split": 0.3, "early_stopping": False, "optimizer": "adam"}
    alone, averaged = normalised(), normalised()
    expected = alone.fit(*regression, 8, 6, **how).history
    got = averaged.fit(*regression, 8, 6, averaging=dnn.SWA(3), **how).history
    assert got["loss"] == expected["loss"]
    assert got["val_loss"][:3] == expected["val_loss"][:3]
    # The first mean is of one epoch; its running statistics are found anew.
    assert got["val_loss"][3:] != expected["val_loss"][3:]


def test_training_that_a_callback_ends_within_an_epoch_leaves_the_mean_so_far(regression: Table) -> None:
    steps, _ = path_of(plain(), *regression, batch_size=8, epochs=2, optimizer="adam")
    averaged = plain()
    stop = dnn.LambdaCallback(on_train_batch_end=lambda batch, logs: batch == 4)
    averaged.fit(*regression, 8, 2, averaging=dnn.EMA(0.7), optimizer="adam", callbacks=[stop])
    np.testing.assert_allclose(averaged.flat_parameters, ema(steps[:5], 0.7), rtol=1e-12, atol=1e-13)


def test_an_error_in_a_callback_leaves_the_weights_of_the_last_step_and_training_can_go_on(
    regression: Table,
) -> None:
    def failing(epoch: int, logs: dict[str, float]) -> None:
        if epoch == 2:
            raise ArithmeticError("as the test wants")

    alone, averaged = plain(), plain()
    alone.fit(*regression, 16, 3, optimizer="adam")
    with pytest.raises(ArithmeticError, match="as the test wants"):
        averaged.fit(*regression, 16, 5, averaging=dnn.EMA(0.9), optimizer="adam", callbacks=[failing])
    assert same(averaged, alone)
    whole = plain()
    whole.fit(*regression, 16, 5, averaging=dnn.EMA(0.9), optimizer="adam")
    averaged.fit(*regression, 16, 5, averaging=dnn.EMA(0.9), initial_epoch=averaged.next_epoch)
    assert same(averaged, whole)


# Going on


@pytest.mark.filterwarnings("ignore:no average was taken:UserWarning")  # in the first part
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("validation_split", [0.0, 0.3])
@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_going_on_with_a_mean_equals_never_having_stopped(
    rule: Any, validation_split: float, stop: int, regression: Table, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"averaging": rule, "validation_split": validation_split}
    whole, parts, pickled = normalised("float32"), normalised("float32"), normalised("float32")
    checkpoint = dnn.ModelCheckpoint(tmp_path / "{epoch}.dnn")
    expected = whole.fit(*regression, 16, 8, optimizer="adam", callbacks=[checkpoint], **how)
    for model in (parts, pickled):
        model.fit(*regression, 16, stop, optimizer="adam", **how)
    parts.save(tmp_path / "model.dnn")
    others = [
        dnn.load(tmp_path / "model.dnn"),
        dnn.load(tmp_path / f"{stop}.dnn"),
        pickle.loads(pickle.dumps(pickled)),
        parts,
    ]
    for model in others:
        assert model.next_epoch == stop
        history = model.fit(*regression, 16, 8, initial_epoch=stop, **how)
        assert same(model, whole)
        assert history.history["loss"] == expected.history["loss"][stop:]
        assert history.best_epoch == expected.best_epoch


def test_without_the_rule_training_goes_on_from_the_weights_it_had_reached(regression: Table) -> None:
    alone, averaged = plain(), plain()
    alone.fit(*regression, 16, 6, optimizer="adam")
    averaged.fit(*regression, 16, 3, optimizer="adam", averaging=dnn.EMA(0.9))
    averaged.fit(*regression, 16, 6, initial_epoch=3)
    assert same(averaged, alone)


def test_another_rule_begins_another_mean(regression: Table) -> None:
    _, epochs = path_of(plain(), *regression, batch_size=16, epochs=6, optimizer="adam")
    averaged = plain()
    averaged.fit(*regression, 16, 3, optimizer="adam", averaging=dnn.EMA(0.9))
    averaged.fit(*regression, 16, 6, initial_epoch=3, averaging=dnn.SWA(4))
    np.testing.assert_allclose(averaged.flat_parameters, swa(epochs, 4, 1), rtol=1e-12, atol=1e-13)


def _set(model: dnn.Sequential, data: Table) -> None:
    model.set_weights([0 * array for array in model.get_weights()])


def _step(model: dnn.Sequential, data: Table) -> None:
    model.train_on_batch(*data)


@pytest.mark.parametrize("change", [_set, _step])
@pytest.mark.parametrize("validation_split", [0.0, 0.3])
def test_weights_that_are_changed_between_are_those_that_training_goes_on_from(
    change: Callable[[dnn.Sequential, Table], None], validation_split: float, regression: Table
) -> None:
    how: dict[str, Any] = {"averaging": dnn.EMA(0.9), "validation_split": validation_split}
    model = plain()
    model.fit(*regression, 16, 3, optimizer=dnn.SGD(0.05), **how)
    change(model, regression)
    alone = plain()
    alone.set_weights(model.get_weights())
    model.fit(*regression, "full", 4, initial_epoch=3, shuffle=False, **how)
    # One step: its weights are the first of a new mean.
    alone.fit(*regression, "full", 1, optimizer=dnn.SGD(0.05), validation_split=validation_split)
    assert same(model, alone)


def test_weights_that_a_callback_sets_at_the_end_of_an_epoch_are_trained_from(regression: Table) -> None:
    def reset(epoch: int, logs: dict[str, float]) -> None:
        if epoch == 1:
            model.set_weights([0 * array for array in model.get_weights()])

    model, alone = plain(), plain()
    model.fit(*regression, "full", 3, optimizer=dnn.SGD(0.1), averaging=dnn.EMA(0.5), callbacks=[reset])
    alone.set_weights([0 * array for array in model.get_weights()])
    alone.fit(*regression, "full", 1, optimizer=dnn.SGD(0.1))
    assert same(model, alone)


def test_a_file_without_the_optimizer_has_the_mean_alone(regression: Table, tmp_path: Path) -> None:
    model = plain()
    model.fit(*regression, 16, 3, averaging=dnn.EMA(0.9))
    model.save(tmp_path / "small.dnn", optimizer=False)
    model.save(tmp_path / "whole.dnn")
    assert same(dnn.load(tmp_path / "small.dnn"), model)
    assert b"average." not in (tmp_path / "small.dnn").read_bytes()
    assert b"average.layer1.weights" in (tmp_path / "whole.dnn").read_bytes()


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_mean_has_the_same_bits_for_any_number_of_threads_and_instruction_set(
    rule: Any, regression: Table
) -> None:
    from dnn import _core

    def trained(n_threads: int, isa: str | None = None) -> dnn.Sequential:
        layers = [
            dnn.Dense(300),
            dnn.BatchNormalization(),
            dnn.Activation("relu"),
            dnn.Dense(200),
            dnn.Dense(1),
        ]
        model = dnn.Sequential(layers, seed=3, precision="strict", isa=isa)
        model.fit(*regression, 20, 4, averaging=rule, n_threads=n_threads)
        return model

    one = trained(1)
    assert all(same(one, trained(n)) for n in (2, 3))
    assert all(same(one, trained(2, isa)) for isa in _core.available_isas())


def test_a_function_as_loss_is_not_called_for_the_statistics(regression: Table) -> None:
    def mean_squared(y: NDArray[Any], out: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        calls.append(len(y))
        return float(((out - y) ** 2).mean()), 2 * (out - y) / y.size

    calls: list[int] = []
    normalised().fit(*regression, 20, 2, loss=mean_squared, averaging=dnn.EMA(0.5))
    assert calls == [20] * 6


# What is refused


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: dnn.EMA(1.0), ValueError, "decay must be .* below 1"),
        (lambda: dnn.EMA(-0.1), ValueError, "decay must be .* at least 0"),
        (lambda: dnn.EMA(float("nan")), ValueError, "decay"),
        # Of another type on purpose, here and below.
        (lambda: dnn.EMA("fast"), TypeError, "decay"),  # type: ignore[arg-type]
        (lambda: dnn.SWA(-1), ValueError, "start_epoch must be a whole number, 0 or more"),
        (lambda: dnn.SWA(0.8), TypeError, "start_epoch"),  # type: ignore[arg-type]
        (lambda: dnn.SWA(1, every=0), ValueError, "every must be a whole number, 1 or more"),
    ],
)
def test_rules_that_average_nothing_are_refused(make: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"averaging": "ema"}, TypeError, r"averaging must be EMA\(decay=0.999\) or SWA"),
        ({"averaging": 0.99}, TypeError, "averaging must be"),
        ({"averaging": dnn.EMA}, TypeError, r"the class EMA; make one of it: EMA\(\)"),
        ({"averaging": dnn.SWA}, TypeError, r"the class SWA; make one of it: SWA\(10\)"),
        ({"averaging": dnn.EMA(), "optimizer": "lbfgs"}, ValueError, "L-BFGS ends at the lowest loss"),
    ],
)
def test_what_is_no_averaging_is_refused_and_the_model_unchanged(
    arguments: Any, error: Any, match: str, regression: Table
) -> None:
    model = model_of(dnn.Input(3), dnn.Dense(1))
    before = model.flat_parameters
    with pytest.raises(error, match=match):
        model.fit(*regression, epochs=3, **arguments)
    assert (model.flat_parameters == before).all()
    assert model.optimizer == dnn.Adam()


def test_an_average_that_training_ends_before_is_warned_of(regression: Table) -> None:
    model = plain()
    with pytest.warns(UserWarning, match=r"no average was taken: SWA\(4\) .* ended with epoch 3;") as told:
        model.fit(*regression, 16, 4, averaging=dnn.SWA(4))
    assert told[0].filename == __file__
    assert same(model, fitted_plain(regression, 4))
    with pytest.warns(UserWarning, match="ended with epoch 1;"):
        plain().fit(*regression, 16, 8, averaging=dnn.SWA(4), tol=1e9, n_iter_no_change=1)
    # Epochs go on being counted where training goes on; a callback that stops it knows why.
    model.fit(*regression, 16, 5, initial_epoch=4, averaging=dnn.SWA(4))
    plain().fit(*regression, 16, 8, averaging=dnn.SWA(4), callbacks=[lambda epoch, logs: epoch == 1])


def fitted_plain(regression: Table, epochs: int) -> dnn.Sequential:
    model = plain()
    model.fit(*regression, 16, epochs)
    return model
