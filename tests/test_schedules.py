"""Schedules have the rates of their owners, the same however they are asked for, and go on from files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import dnn
import numpy as np
import pytest
from dnn._plateau import SCHEDULES
from dnn._schedule import Span
from models import same_bits

RECORD = json.loads((Path(__file__).parent / "values" / "schedules.json").read_text(encoding="utf-8"))


def made(written):
    """The schedule that `written` is the code of."""
    return eval(written, vars(dnn))


@pytest.mark.parametrize("written", RECORD["timed"])
def test_a_schedule_has_the_rates_of_pytorch(written):
    # PyTorch multiplies its way from rate to rate; 1e-16 each, 60 times, where its own formula is a product.
    np.testing.assert_allclose(made(written).rates(60), RECORD["timed"][written], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("written", RECORD["reacting"])
def test_a_schedule_that_reacts_has_the_rates_of_its_owner(written):
    schedule = made(written)
    state, is_over, found = schedule.begin(), False, []
    for measure in RECORD["measures"]:
        if is_over:
            break
        found.append(schedule.of(Span(0, 1), state)[0])
        state, is_over = schedule.after(state, {"loss": measure})
    assert found == pytest.approx(RECORD["reacting"][written], rel=1e-14)


def test_invscaling_counts_rows_as_scikit_learn_does():
    found = dnn.InverseScaling(0.4, 0.3).rates(15, steps_per_epoch=3, rows=50)
    np.testing.assert_allclose(found[::3], RECORD["invscaling"], rtol=1e-15)
    np.testing.assert_array_equal(found[::3], found[2::3])


def test_formulas_of_the_schedules_that_pytorch_does_not_have():
    t = np.arange(50.0)
    np.testing.assert_allclose(
        dnn.InverseTimeDecay(0.4, 5, 0.5).rates(50), 0.4 / (1 + 0.5 * t / 5), rtol=1e-15
    )
    staircase = 0.4 / (1 + 0.5 * np.floor(t / 5))
    np.testing.assert_allclose(
        dnn.InverseTimeDecay(0.4, 5, 0.5, staircase=True).rates(50), staircase, rtol=1e-15
    )
    # coslog_4 of RealMLP: 0 at 1/15, 3/15 and 7/15 of the way, with a top in between.
    rates = dnn.CosLog4(0.4, 150).rates(151)
    np.testing.assert_allclose(rates[[0, 10, 30, 70, 150]], 0, atol=1e-15)
    np.testing.assert_allclose(
        rates, 0.2 * (1 - np.cos(2 * np.pi * np.log2(1 + np.arange(151) / 10))), atol=1e-15
    )
    assert dnn.Piecewise([2, 4], [3, 2, 1]).rates(6).tolist() == [3, 3, 3, 2, 2, 1]
    assert dnn.CosineRestarts(1.0, 2, m_mul=0.5).rates(6)[::2].tolist() == [1.0, 0.5, 0.25]


EVERY = {
    "step": dnn.StepDecay(0.1, 3),
    "multi_step": dnn.MultiStepDecay(0.1, (3, 5)),
    "exponential": dnn.ExponentialDecay(0.1, 10, 0.5),
    "inverse_time": dnn.InverseTimeDecay(0.1, 10, 0.5),
    "polynomial": dnn.PolynomialDecay(0.1),
    "cosine": dnn.CosineDecay(0.1),
    "cosine_restarts": dnn.CosineRestarts(0.1, 3, t_mul=2),
    "one_cycle": dnn.OneCycle(0.1),
    "coslog4": dnn.CosLog4(0.1),
    "piecewise": dnn.Piecewise([4, 9], [0.1, 0.05, 0.01]),
    "invscaling": dnn.InverseScaling(0.1),
    "warm_up": dnn.WarmUp(dnn.CosineDecay(0.1), 1, per="epoch"),
    "reduce_on_plateau": dnn.ReduceOnPlateau(0.1, patience=0, threshold=0.95),
    "adaptive": dnn.Adaptive(0.1, tol=100.0, n_iter_no_change=1),
}


def test_every_schedule_is_here():
    assert set(EVERY) == set(SCHEDULES)
    for name, schedule in EVERY.items():
        assert getattr(dnn, type(schedule).__name__) is SCHEDULES[name]
        assert made(repr(schedule)) == schedule


@pytest.mark.parametrize("name", EVERY)
def test_rates_do_not_depend_on_how_they_are_asked_for(name):
    options = {"steps_per_epoch": 5, "rows": 30, "end": 20}
    whole = EVERY[name].rates(20, **options)
    parts = [EVERY[name].rates(5, start=start, **options) for start in range(0, 20, 5)]
    single = [EVERY[name].rates(1, start=start, **options)[0] for start in range(20)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(single, whole)
    assert whole.shape == (20,)
    assert (whole >= 0).all()
    assert whole.max() <= 0.1 * (1 + 1e-15)


@pytest.mark.parametrize("name", EVERY)
def test_a_fit_takes_the_rates_of_its_schedule(name, regression):
    schedule, model = EVERY[name], dnn.Sequential([dnn.Dense(1)], seed=1)
    history = model.fit(*regression, batch_size=12, epochs=4, optimizer=dnn.SGD(schedule), verbose=0)
    if not schedule.reacts:
        rates = schedule.rates(20, steps_per_epoch=5, rows=60)
        np.testing.assert_array_equal(history.history["rate"], rates[4::5])
    else:
        assert history.history["rate"][0] == 0.1
        assert history.history["rate"][-1] < 0.1


@pytest.mark.parametrize("name", EVERY)
def test_a_schedule_goes_on_from_a_file_and_from_a_copy_with_the_same_bits(name, tmp_path, regression):
    path, options = tmp_path / "model.dnn", {"batch_size": 12, "epochs": 8, "verbose": 0}
    whole, parts = (dnn.Sequential([dnn.Dense(4, "tanh"), dnn.Dense(1)], seed=3) for _ in range(2))
    optimizer = dnn.SGD(EVERY[name], momentum=0.9)
    expected = whole.fit(*regression, optimizer=optimizer, **options).history["rate"]

    class Stop(dnn.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 3:
                self.model.save(path)
                return True

    parts.fit(*regression, optimizer=optimizer, callbacks=[Stop()], **options)
    loaded, copied = dnn.load(path), pickle.loads(pickle.dumps(parts))
    assert loaded.optimizer == optimizer
    for model in (loaded, copied):
        rates = model.fit(*regression, initial_epoch=4, **options).history["rate"]
        assert rates == expected[4:]
        assert same_bits([model.flat_parameters], [whole.flat_parameters])


def test_adaptive_ends_training_when_its_rate_has_become_too_small(regression):
    schedule = dnn.Adaptive(1e-5, tol=100.0, n_iter_no_change=1)
    model = dnn.Sequential([dnn.Dense(1)], seed=1)
    history = model.fit(*regression, epochs=100, optimizer=dnn.SGD(schedule), verbose=0)
    # The first epoch is better than none; two that are not, then a fifth of the rate, and again until 1e-6.
    assert history.history["rate"] == pytest.approx([1e-5] * 3 + [2e-6] * 2 + [4e-7] * 2)
    assert history.stopped_because == "callback"


def test_a_new_schedule_begins_anew_and_the_same_one_goes_on(regression):
    model, schedule = (
        dnn.Sequential([dnn.Dense(1)], seed=1),
        dnn.ReduceOnPlateau(0.1, patience=0, threshold=0.9),
    )
    model.fit(*regression, epochs=4, optimizer=dnn.SGD(schedule), verbose=0)
    lower = model.fit(*regression, epochs=1, verbose=0).history["rate"][0]
    assert lower < 0.1
    other = dnn.ReduceOnPlateau(0.1, patience=1, threshold=0.9)
    assert model.fit(*regression, optimizer=dnn.SGD(other), verbose=0).history["rate"] == [0.1]


def test_a_single_step_takes_the_rate_of_its_number(regression):
    model = dnn.Sequential([dnn.Dense(1, use_bias=False)], dtype="float64", seed=1)
    model.set_weights([[[0.0]]])
    model.compile(dnn.SGD(dnn.StepDecay(0.5, 1, 0.5)), loss="half_mse")
    # (w x - t) x with x = 1: the error is multiplied by 1 - rate.
    for _ in range(3):
        model.train_on_batch([[1.0]], [1.0])
    assert 1 - model.get_weights()[0][0, 0] == pytest.approx(0.5 * 0.75 * 0.875, rel=1e-15)
    model.compile(dnn.SGD(dnn.CosineDecay(0.5)))
    with pytest.raises(
        ValueError, match="CosineDecay spans the whole training, which a single step does not know"
    ):
        model.train_on_batch([[1.0]], [1.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dnn.StepDecay(0.0, 3), ValueError, r"learning_rate must be .* above 0"),
        (lambda: dnn.StepDecay(0.1, 0), ValueError, r"decay_steps must be a whole number, 1 or more, got 0"),
        (lambda: dnn.StepDecay(0.1, 2.5), TypeError, r"decay_steps must be"),
        (lambda: dnn.StepDecay(0.1, 2, 1.5), ValueError, r"decay_rate must be .* at most 1"),
        (lambda: dnn.StepDecay(0.1, 2, per="batch"), ValueError, r"unknown per 'batch'"),
        (lambda: dnn.MultiStepDecay(0.1, [5, 3]), ValueError, r"boundaries must be .* that rise"),
        (lambda: dnn.MultiStepDecay(0.1, 5), TypeError, r"boundaries must be a list"),
        (lambda: dnn.Piecewise([1], [0.1]), ValueError, r"values has 1 rates for 1 boundaries"),
        (lambda: dnn.CosineDecay(0.1, end_learning_rate=-1), ValueError, r"end_learning_rate must be"),
        (lambda: dnn.OneCycle(0.1, pct_start=1.0), ValueError, r"pct_start must be .* below 1"),
        (lambda: dnn.CosineRestarts(0.1, 3, t_mul=0), ValueError, r"t_mul must be"),
        (lambda: dnn.WarmUp(dnn.CosineDecay, 3), TypeError, r"schedule must be a rate or a schedule"),
        (lambda: dnn.WarmUp(0.1, 3, 1.5), ValueError, r"start_factor must be .* at most 1"),
        (lambda: dnn.ReduceOnPlateau(0.1, 1.0), ValueError, r"factor must be .* below 1"),
        (lambda: dnn.ReduceOnPlateau(0.1, mode="lower"), ValueError, r"unknown mode"),
        (lambda: dnn.Adaptive(0.1, monitor=3), TypeError, r"monitor must be the name"),
        (lambda: dnn.SGD(dnn.CosineDecay), TypeError, r"make one of it: CosineDecay\(0.1\)"),
        (lambda: dnn.StepDecay(0.1, 2, per="epoch").rates(3), ValueError, r"StepDecay counts in epochs"),
        (lambda: dnn.InverseScaling(0.1).rates(3), ValueError, r"InverseScaling counts the rows of epochs"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_measure_that_is_not_there_is_refused(regression):
    model = dnn.Sequential([dnn.Dense(1)], seed=1)
    with pytest.raises(ValueError, match="watches 'accuracy', which this fit does not measure"):
        model.fit(*regression, optimizer=dnn.SGD(dnn.ReduceOnPlateau(0.1, monitor="accuracy")), verbose=0)


@pytest.mark.parametrize("measured", [np.inf, np.nan])
def test_a_schedule_that_saw_what_is_no_number_is_kept_in_files_and_recovers(
    measured: float, tmp_path: Path
) -> None:
    rate = dnn.ReduceOnPlateau(0.1, patience=0)
    state, _ = rate.after(rate.begin(), {"val_loss": measured})
    model = dnn.Sequential([dnn.Dense(1)], seed=1)
    model.fit(
        [[0.0], [1.0]], [0.0, 1.0], loss="mse", optimizer=dnn.SGD(rate), validation_split=0.5, verbose=0
    )
    model._rate_state = (rate, state)
    model.save(tmp_path / "model.dnn")
    loaded = dnn.load(tmp_path / "model.dnn")
    (_, kept) = loaded._rate_state
    np.testing.assert_equal(kept, state)
    after, _ = rate.after(kept, {"val_loss": 1.0})
    assert after["best"] == 1.0
