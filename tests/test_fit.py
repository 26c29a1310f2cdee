"""Fit from outside: steps, history, stopping, validation, callbacks, progress."""

from __future__ import annotations

import io
import pickle
import sys
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from models import Table, model_of, same
from numpy.typing import NDArray

# Steps


@pytest.mark.parametrize(
    "optimizer",
    [dnn.SGD(0.1), dnn.SGD(0.1, momentum=0.9, nesterov=True), dnn.Adam(0.01), dnn.SGD([0.1, 0.2, 0.3])],
)
def test_train_on_batch_equals_a_fit_of_one_step(optimizer: Any, regression: Table) -> None:
    x, y = regression
    weight = np.arange(60) + 1.0
    by_fit, by_batch = (
        model_of(dnn.Dense(4, "tanh"), dnn.Dense(1)),
        model_of(dnn.Dense(4, "tanh"), dnn.Dense(1)),
    )
    for model in (by_fit, by_batch):
        model.compile(optimizer, metrics=["mae"])
    for _ in range(4):
        history = by_fit.fit(x, y, "full", sample_weight=weight)
        logs = by_batch.train_on_batch(x, y, sample_weight=weight)
        assert logs == {"loss": history.history["loss"][0], "mae": history.history["mae"][0]}
    assert same(by_fit, by_batch)


def test_rates_of_a_sequence_and_a_callable_are_those_of_the_steps(regression: Table) -> None:
    x, y = regression
    rates = [0.1, 0.05, 0.2, 0.01]
    models = [model_of(dnn.Dense(1)) for _ in range(2)]
    asked: list[int] = []

    def rate(step: int) -> float:
        asked.append(step)
        return rates[min(step, 3)]

    histories = [
        model.fit(x, y, 20, 2, optimizer=dnn.SGD(given))  # three steps in each epoch
        for model, given in zip(models, [rates, rate], strict=True)
    ]
    assert same(*models)
    assert asked == [0, 1, 2, 3, 4, 5]
    assert [history.history["rate"] for history in histories] == [[0.2, 0.01]] * 2


def test_loss_of_gradient_descent_is_the_one_before_the_update() -> None:
    model = model_of(dnn.Dense(1), dtype="float64")
    model.set_weights([[[2.0]], [0.0]])
    history = model.fit([[1.0]], [5.0], epochs=2, optimizer=dnn.SGD(0.5))
    # loss (2 - 5)^2 = 9; both gradients are -6, so w = 5 and b = 3; then (8 - 5)^2 = 9 again
    assert history.history["loss"] == [9.0, 9.0]


def test_a_row_of_weight_two_counts_twice(regression: Table) -> None:
    x, y = (a.astype(np.float64) for a in regression)
    weight = np.ones(60)
    weight[:10] = 2.0
    weighted, repeated = (model_of(dnn.Dense(3, "tanh"), dnn.Dense(1), dtype="float64") for _ in range(2))
    weighted.fit(x, y, "full", 5, sample_weight=weight)
    repeated.fit(np.vstack([x, x[:10]]), np.vstack([y, y[:10]]), "full", 5)
    # The same sums in another order.
    np.testing.assert_allclose(weighted.flat_parameters, repeated.flat_parameters, rtol=1e-10)


# History


def test_the_lists_of_a_history_have_every_bit_also_where_a_value_never_changes() -> None:
    columns = {"rate": [0.1] * 4, "loss": [0.0, -0.0, 0.0], "same": [-0.0] * 2, "nan": [np.nan, 1.0, np.nan]}
    history = dnn.History({**columns, "one": [2.5], "none": []}, epochs=[], stopped_because="", message="")
    for name, values in columns.items():
        assert np.asarray(history.history[name]).tobytes() == np.asarray(values).tobytes(), name
    assert (history.history["one"], history.history["none"]) == ([2.5], [])


def test_history_has_a_value_for_each_epoch(classifier: dnn.Sequential, classes: Table) -> None:
    x, y = classes
    history = classifier.fit(x, y, epochs=4, metrics=["accuracy"], validation_data=(x, y))
    names = ["loss", "accuracy", "val_loss", "val_accuracy", "rate", "grad_norm", "seconds"]
    assert sorted(history.history) == sorted(names)
    assert all(len(values) == 4 for values in history.history.values())
    assert history.epochs == [0, 1, 2, 3]
    assert history.stopped_because == "epochs"
    assert classifier.history is history
    assert "4 epochs" in repr(history)
    assert "val_accuracy" in history._repr_html_()


def test_a_history_gives_its_curves_by_name(classifier: dnn.Sequential, classes: Table) -> None:
    history = classifier.fit(*classes, epochs=2, validation_split=0.2, verbose=0)
    names = ["loss", "val_loss", "rate", "grad_norm", "seconds"]
    assert (list(history), list(history.keys())) == (names, names)
    assert "val_loss" in history
    assert "accuracy" not in history
    # The same list however it is looked at, and whichever way first.
    first = history["seconds"]
    assert first is history["seconds"] is history.history["seconds"]
    assert all(history[name] is values for name, values in history.history.items())
    assert dict(history) == {**history} == history.history
    assert list(history.history) == names
    with pytest.raises(KeyError, match="'acc' was not measured; there are loss, val_loss, rate, grad_norm"):
        history["acc"]
    # What a user has made of the dict.
    history.history["mine"] = [1.0, 2.0]
    del history.history["rate"]
    assert history["mine"] == [1.0, 2.0]
    assert list(history) == ["loss", "val_loss", "grad_norm", "seconds", "mine"]
    assert "rate" not in history
    history.history = {"loss": [0.5]}
    assert dict(history) == {"loss": [0.5]}


def test_a_history_without_an_epoch_has_its_curves_all_the_same() -> None:
    model = model_of(dnn.Dense(1))
    x = [[3e38], [3e38]]
    with pytest.warns(dnn.DivergenceWarning):
        history = model.fit(x, [0.0, 1.0], validation_data=([[0.0]], [1.0]), metrics=["mae"], verbose=0)
    assert list(history) == ["loss", "mae", "val_loss", "val_mae", "rate", "grad_norm", "seconds"]
    assert all(values == [] for values in history.history.values())


def test_a_validation_loss_that_is_no_number_is_told_of() -> None:
    model = model_of(dnn.Dense(1))
    held = ([[1e30]], [1e30])
    with pytest.warns(RuntimeWarning, match="the validation loss of the last epoch is inf: outputs"):
        history = model.fit([[1.0], [2.0]], [0.0, 1.0], epochs=2, validation_data=held, verbose=0)
    assert history.stopped_because == "epochs"


@pytest.mark.parametrize("looked_at", [False, True])
def test_what_is_in_a_history_stays_and_goes_with_copies(
    classifier: dnn.Sequential, classes: Table, looked_at: bool
) -> None:
    history = classifier.fit(*classes, epochs=3, initial_epoch=1, verbose=0)
    if looked_at:
        history.history["loss"].append(0.5)
        history.epochs.append(3)
    again = pickle.loads(pickle.dumps(history))
    assert (again.history, again.epochs) == (history.history, history.epochs)
    assert history.epochs == ([1, 2, 3] if looked_at else [1, 2])
    assert len(history.history["loss"]) == len(history.epochs)
    assert all(type(value) is float for values in history.history.values() for value in values)
    assert all(type(epoch) is int for epoch in history.epochs)


def test_history_plots(classifier: dnn.Sequential, classes: Table, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots are an extra")
    history = classifier.fit(*classes, epochs=4, validation_split=0.2)
    axes = history.plot()
    assert [line.get_label() for line in axes.get_lines()] == ["loss", "val_loss", "best epoch"]
    axes.figure.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert history.plot("rate", ax=axes) is axes
    with pytest.raises(ValueError, match="unknown curve 'val_los'; did you mean 'val_loss'"):
        history.plot("val_los")


def test_evaluate_gives_what_history_measured(classifier: dnn.Sequential, classes: Table) -> None:
    x, y = classes
    history = classifier.fit(
        x, y, epochs=2, metrics=["accuracy"], validation_data=(x, y), early_stopping=False
    )
    assert classifier.evaluate(x, y) == {
        "loss": history.history["val_loss"][-1],
        "accuracy": history.history["val_accuracy"][-1],
    }
    right = np.mean(classifier.predict_classes(x) == y)
    assert classifier.evaluate(x, y)["accuracy"] == pytest.approx(right)


def test_divergence_warns_names_the_place_and_keeps_finite_weights(regression: Table) -> None:
    x, y = regression
    model = model_of(dnn.Dense(8), dnn.Dense(1))
    with pytest.warns(dnn.DivergenceWarning, match="epoch.*step"):
        history = model.fit(x, y, epochs=500, optimizer=dnn.SGD(1e3))
    assert history.stopped_because == "diverged"
    assert np.all(np.isfinite(model.flat_parameters))


# Stopping


def test_tol_of_one_epoch_is_the_tolerance_of_the_article(regression: Table) -> None:
    history = model_of(dnn.Dense(1)).fit(
        *regression, batch_size="full", epochs=10_000, optimizer=dnn.SGD(0.1), tol=1e-5, n_iter_no_change=1
    )
    losses = np.array(history.history["loss"])
    assert history.stopped_because == "tol"
    gains = losses[:-1] - losses[1:]
    assert np.all(gains[:-1] > 1e-5)
    assert gains[-1] <= 1e-5


def test_tol_waits_for_as_many_epochs_as_asked() -> None:
    model = model_of(dnn.Dense(1, trainable=False))
    history = model.fit([[1.0]], [2.0], epochs=50, tol=0.0, n_iter_no_change=3)
    assert history.epochs == [0, 1, 2, 3]  # the first sets the mark, three do not pass it
    assert history.stopped_because == "tol"


def test_stop_at_loss_stops_at_the_first_epoch_that_reaches_it(regression: Table) -> None:
    history = model_of(dnn.Dense(8, "tanh"), dnn.Dense(1)).fit(*regression, epochs=1000, stop_at_loss=0.1)
    losses = history.history["loss"]
    assert history.stopped_because == "stop_at_loss"
    assert losses[-1] <= 0.1 < min(losses[:-1])


def test_max_time_stops(regression: Table) -> None:
    history = model_of(dnn.Dense(1)).fit(*regression, epochs=10**9, max_time=0.05)
    assert history.stopped_because == "max_time"


def test_early_stopping_restores_the_best_epoch(regression: Table) -> None:
    x, y = regression
    rng = np.random.default_rng(0)
    noisy = y[:20] + rng.normal(size=(20, 1))  # few rows and much noise: it is soon learnt by heart
    weights: list[list[NDArray[Any]]] = []
    model = model_of(dnn.Dense(64, "tanh"), dnn.Dense(1))
    history = model.fit(
        x[:20],
        noisy,
        epochs=2000,
        optimizer=dnn.Adam(0.01),
        validation_data=(x[20:], y[20:]),
        early_stopping=dnn.EarlyStopping(5),
        callbacks=[lambda epoch, logs: weights.append(model.get_weights())],
    )
    losses = history.history["val_loss"]
    assert history.stopped_because == "early_stopping"
    assert history.best_epoch == int(np.argmin(losses)) == len(losses) - 6
    assert all(
        np.array_equal(a, b) for a, b in zip(model.get_weights(), weights[history.best_epoch], strict=True)
    )
    assert model.evaluate(x[20:], y[20:])["loss"] == min(losses)


def test_best_epoch_comes_back_with_validation_unless_refused(regression: Table) -> None:
    x, y = regression
    wild = dnn.SGD([0.05] * 4 + [0.9] * 100)  # good steps at first, then too large ones
    kept, last = model_of(dnn.Dense(1)), model_of(dnn.Dense(1))
    history = kept.fit(x, y, "full", 8, optimizer=wild, validation_data=(x, y))
    other = last.fit(x, y, "full", 8, optimizer=wild, validation_data=(x, y), early_stopping=False)
    losses = history.history["val_loss"]
    assert other.history["val_loss"] == losses
    assert losses[-1] > min(losses)
    assert kept.evaluate(x, y)["loss"] == min(losses)
    assert last.evaluate(x, y)["loss"] == losses[-1]
    assert last.history is not None
    assert last.history.best_epoch is None


# Validation split


def test_validation_split_is_shuffled_stratified_and_seeded() -> None:
    from dnn._data import split

    labels = np.repeat([0, 1, 2], [50, 30, 10])  # sorted: unshuffled ends would miss classes
    training, validation = split(90, 0.2, labels, seed=5)
    assert np.bincount(labels[validation]).tolist() == [10, 6, 2]
    assert sorted([*training, *validation]) == list(range(90))
    assert np.array_equal(split(90, 0.2, labels, seed=5)[1], validation)
    assert not np.array_equal(split(90, 0.2, labels, seed=6)[1], validation)
    plain = split(90, 0.2, None, seed=5)[1]
    assert len(plain) == 18
    assert plain.tolist() != list(range(72, 90))


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("n_rows", [2, 3, 10, 101])
def test_validation_split_leaves_rows_on_both_sides(n_rows: int, fraction: float) -> None:
    from dnn._data import split

    classes = np.arange(n_rows) % 3
    for of in (None, classes):
        training, validation = split(n_rows, fraction, of, seed=1)
        assert len(training) > 0
        assert len(validation) == min(max(1, round(n_rows * fraction)), n_rows - 1)
        assert sorted([*training, *validation]) == list(range(n_rows))


def test_validation_split_equals_the_same_rows_given(regression: Table) -> None:
    from dnn._data import split

    x, y = regression
    weight = np.arange(60) + 1.0
    model, twin = model_of(dnn.Dense(1), seed=5), model_of(dnn.Dense(1), seed=5)
    training, validation = split(60, 0.25, None, seed=5)
    model.fit(x, y, epochs=3, validation_split=0.25, sample_weight=weight)
    twin.fit(
        x[training], y[training], epochs=3, sample_weight=weight[training],
        validation_data=(x[validation], y[validation], weight[validation]),
    )  # fmt: skip
    assert same(model, twin)
    assert model.history is not None
    assert twin.history is not None
    assert model.history.history["val_loss"] == twin.history.history["val_loss"]


# Callbacks


class Recorder(dnn.Callback):
    """Notes every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, list[str]]] = []

    def on_train_begin(self, logs: dict[str, float]) -> None:
        self.calls.append(("train begin", 0, list(logs)))

    def on_train_end(self, logs: dict[str, float]) -> None:
        self.calls.append(("train end", 0, sorted(logs)))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float]) -> None:
        self.calls.append(("epoch begin", epoch, list(logs)))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.calls.append(("epoch end", epoch, sorted(logs)))

    def on_train_batch_begin(self, batch: int, logs: dict[str, float]) -> None:
        self.calls.append(("batch begin", batch, list(logs)))

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.calls.append(("batch end", batch, list(logs)))


def test_callbacks_are_called_in_order(regression: Table) -> None:
    recorder = Recorder()
    model = model_of(dnn.Dense(1))
    model.fit(*regression, batch_size=30, epochs=2, callbacks=[recorder])
    batches = [("batch begin", 0), ("batch end", 0), ("batch begin", 1), ("batch end", 1)]
    expected = [
        ("train begin", 0),
        ("epoch begin", 0), *batches, ("epoch end", 0),
        ("epoch begin", 1), *batches, ("epoch end", 1),
        ("train end", 0),
    ]  # fmt: skip
    assert [call[:2] for call in recorder.calls] == expected
    measured = {name: logs for name, _, logs in recorder.calls}
    assert measured["batch end"] == ["loss"]
    assert measured["epoch end"] == measured["train end"] == ["grad_norm", "loss", "rate", "seconds"]
    assert recorder.model is model


def test_callbacks_do_not_change_the_bits(regression: Table) -> None:
    watched, alone = (
        model_of(dnn.Dense(4, "tanh"), dnn.Dense(1)),
        model_of(dnn.Dense(4, "tanh"), dnn.Dense(1)),
    )
    watched.fit(*regression, batch_size=7, epochs=3, callbacks=[Recorder()], verbose=2)
    alone.fit(*regression, batch_size=7, epochs=3)
    assert same(watched, alone)


@pytest.mark.parametrize(
    "method",
    ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end"],
)
@pytest.mark.parametrize("by_return", [True, False])
def test_every_callback_can_stop(method: str, by_return: bool, regression: Table) -> None:
    model = model_of(dnn.Dense(1))

    def stop(*arguments: Any) -> bool:
        if not by_return:
            model.stop_training = True
        return by_return

    history = model.fit(*regression, epochs=5, callbacks=[dnn.LambdaCallback(**{method: stop})])
    assert history.stopped_because == "callback"
    assert len(history.epochs) == (1 if method == "on_epoch_end" else 0)
    again = model.fit(*regression, epochs=5)
    assert len(again.epochs) == 5, "stopping once is not stopping forever"


def test_a_plain_function_is_called_at_epoch_ends(regression: Table) -> None:
    seen: list[tuple[int, float]] = []
    history = model_of(dnn.Dense(1)).fit(
        *regression, epochs=3, callbacks=[lambda epoch, logs: seen.append((epoch, logs["loss"]))]
    )
    assert seen == list(enumerate(history.history["loss"]))


def test_the_model_can_be_used_and_changed_while_it_trains(regression: Table) -> None:
    x, y = regression
    model = model_of(dnn.Dense(1))
    predictions = []

    def use(epoch: int, logs: dict[str, float]) -> None:
        predictions.append(model.predict(x))
        assert model.evaluate(x, y)["loss"] >= 0.0
        pickle.dumps(model)
        if epoch == 1:
            model.set_weights([np.zeros((3, 1)), np.zeros(1)])

    history = model.fit(x, y, "full", 4, callbacks=[use])
    assert not np.array_equal(predictions[0], predictions[1])
    # The weights that were set are those of the next step: its loss is that of predicting 0.
    assert history.history["loss"][2] == pytest.approx(float(np.mean(y.astype(np.float64) ** 2)), rel=1e-6)


def test_an_exception_in_a_callback_arrives_and_training_can_go_on(regression: Table) -> None:
    model = model_of(dnn.Dense(1))

    def fail(epoch: int, logs: dict[str, float]) -> None:
        if epoch == 2:
            raise LookupError("out of paper")

    with pytest.raises(LookupError, match="out of paper"):
        model.fit(*regression, epochs=5, callbacks=[fail])
    assert np.all(np.isfinite(model.flat_parameters))
    assert model.fit(*regression, epochs=2).stopped_because == "epochs"


def test_two_fits_at_once_are_refused(regression: Table) -> None:
    model = model_of(dnn.Dense(1))
    found: list[Exception] = []

    def nested(epoch: int, logs: dict[str, float]) -> None:
        try:
            model.fit(*regression)
        except Exception as error:
            found.append(error)

    model.fit(*regression, callbacks=[nested])
    assert [type(error) for error in found] == [RuntimeError]


# Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, data: Table, **arguments: Any) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    model_of(dnn.Dense(1)).fit(*data, **arguments)
    monkeypatch.undo()
    return stream.getvalue()


def test_verbose_auto_is_a_bar_on_a_terminal_and_silent_elsewhere(
    monkeypatch: pytest.MonkeyPatch, regression: Table
) -> None:
    text = printed(monkeypatch, Terminal(), regression, epochs=3)
    assert text.startswith("\repoch ")
    assert text.endswith("\n")
    assert "epoch 3/3 [####################]" in text
    assert printed(monkeypatch, io.StringIO(), regression, epochs=3) == ""
    assert printed(monkeypatch, Terminal(), regression, epochs=3, verbose=0) == ""


def test_verbose_2_is_a_line_for_each_epoch(monkeypatch: pytest.MonkeyPatch, regression: Table) -> None:
    lines = printed(monkeypatch, io.StringIO(), regression, epochs=3, verbose=2).splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("loss" in line for line in lines)


def test_the_bar_draws_rarely_however_fast_epochs_are(
    monkeypatch: pytest.MonkeyPatch, regression: Table
) -> None:
    text = printed(
        monkeypatch, Terminal(), regression, epochs=2000, verbose=1, callbacks=[lambda epoch, logs: None]
    )
    seconds = 60.0  # no machine takes longer for 2000 tiny epochs, nor draws more than ten times a second
    assert 1 <= text.count("\r") <= 10 * seconds
    assert text.count("\r") < 2000
    assert "epoch 2000/2000" in text


@pytest.mark.parametrize("epochs", [1, 2, 64, 65, 1000])
def test_epochs_of_one_batch_are_the_same_with_a_bar_with_a_callback_and_unseen(
    epochs: int, monkeypatch: pytest.MonkeyPatch, regression: Table
) -> None:
    # Unseen, and between two drawings of the bar, many go to the extension's kernel at once.
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    shown, seen, unseen = (model_of(dnn.Dense(5, "tanh"), dnn.Dense(1)) for _ in range(3))
    for model, how in (
        (shown, {"verbose": 1}),
        (seen, {"callbacks": [Recorder()], "verbose": 0}),
        (unseen, {"verbose": 0}),
    ):
        model.fit(*regression, batch_size="full", epochs=epochs, optimizer=dnn.Adam(0.01), **how)
    assert f"epoch {epochs}/{epochs}" in terminal.getvalue()
    for model in (shown, seen):
        assert same(model, unseen)
        assert model.history.epochs == unseen.history.epochs == list(range(epochs))
        for key in ("loss", "grad_norm", "rate"):
            assert model.history.history[key] == unseen.history.history[key]
    for model in (shown, seen, unseen):
        seconds = model.history.history["seconds"]
        assert all(0 < before <= after for before, after in zip([1e-12, *seconds], seconds, strict=False))


class Written:
    """The least that may stand in the place of standard error."""

    def write(self, text: str) -> None: ...


@pytest.mark.parametrize("verbose", ["auto", 0, 1, 2])
@pytest.mark.parametrize("kind", ["closed", "closed terminal", "of few methods", "none"])
def test_no_standard_error_ends_training(
    kind: str, verbose: int | str, monkeypatch: pytest.MonkeyPatch, regression: Table
) -> None:
    streams: dict[str, Any] = {
        "closed": io.StringIO(),
        "closed terminal": Terminal(),
        "of few methods": Written(),
        "none": None,
    }
    if kind.startswith("closed"):
        streams[kind].close()
    monkeypatch.setattr(sys, "stderr", streams[kind])
    history = model_of(dnn.Dense(1)).fit(*regression, epochs=2, verbose=verbose)
    monkeypatch.undo()
    assert len(history.epochs) == 2


def test_only_what_weights_of_rows_are_to_each_other_counts(regression: Table) -> None:
    weight = np.arange(60) % 4 + 1.0
    losses = []
    for size in (1.0, 1e-150, 1e-199, 1e300):
        model = model_of(dnn.Dense(4, "tanh"), dnn.Dense(1))
        history = model.fit(*regression, epochs=3, sample_weight=size * weight, metrics=["mae"], verbose=0)
        measured = model.evaluate(*regression, sample_weight=size * weight)
        losses.append([*history.history["loss"], *history.history["mae"], measured["loss"]])
    np.testing.assert_allclose(losses[1:], [losses[0]] * 3, rtol=1e-12)
    for size in (1e-210, 1e-310):
        with pytest.raises(
            ValueError, match=r"the sum of sample_weight is .*e-\d+; below 1e-200 losses would lose"
        ):
            model_of(dnn.Dense(1)).fit(*regression, sample_weight=np.full(60, size), verbose=0)
