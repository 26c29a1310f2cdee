"""`fit(order=)`: epochs take the rows that the user says, in that order, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from models import Table, model_of, same


def small() -> dnn.Sequential:
    return model_of(dnn.Dense(4, "tanh"), dnn.Dense(1), dtype="float64")


def orders(epochs: int, n: int, rows: int = 60) -> np.ndarray:
    return np.random.default_rng(4).integers(0, rows, (epochs, n))


@pytest.mark.parametrize(("n", "batch_size"), [(60, 16), (60, "full"), (60, 7), (13, 5), (13, 100), (1, 1)])
def test_an_epoch_in_order_is_an_epoch_over_those_rows(n: int, batch_size: Any, regression: Table) -> None:
    x, y = regression
    weight = 0.5 + np.arange(60) % 4
    order = orders(4, n)
    ordered, by_hand = small(), small()
    history = ordered.fit(x, y, batch_size, 4, order=order, sample_weight=weight, optimizer="adam")
    losses = []
    for rows in order:
        taken = by_hand.fit(
            x[rows], y[rows], batch_size, 1, shuffle=False, sample_weight=weight[rows], optimizer="adam"
        )
        losses += taken.history["loss"]
    assert same(ordered, by_hand)
    assert history.history["loss"] == losses


@pytest.mark.parametrize("kind", [np.int8, np.uint64, list, "function"])
def test_a_function_and_arrays_of_every_kind_say_the_same(kind: Any, regression: Table) -> None:
    order = orders(3, 60)
    given: Any = order.tolist() if kind is list else order.astype(kind if kind != "function" else int)
    if kind == "function":
        given = lambda epoch: order[epoch]  # noqa: E731
    models = [small(), small()]
    for model, one in zip(models, [order, given], strict=True):
        model.fit(*regression, 16, 3, order=one)
    assert same(*models)


def test_a_function_is_asked_once_for_each_epoch(regression: Table) -> None:
    asked: list[int] = []

    def order(epoch: int) -> np.ndarray:
        asked.append(epoch)
        return np.arange(60)

    ordered, plain = small(), small()
    ordered.fit(*regression, 16, 5, order=order)
    plain.fit(*regression, 16, 5, shuffle=False)
    assert asked == [0, 1, 2, 3, 4]
    assert same(ordered, plain)


def test_training_goes_on_with_the_order_of_its_epochs(regression: Table, tmp_path: Path) -> None:
    order = orders(6, 40)
    whole, parts = small(), small()
    whole.fit(*regression, 16, 6, order=order)
    parts.fit(*regression, 16, 2, order=order)
    parts.save(tmp_path / "model.dnn")
    parts = dnn.load(tmp_path / "model.dnn")
    parts.fit(*regression, 16, 6, order=order, initial_epoch=2)
    assert same(parts, whole)


def test_rows_that_weigh_nothing_teach_nothing(regression: Table) -> None:
    weight = np.where(np.arange(60) < 30, 1.0, 0.0)
    model = model_of(dnn.Input(3), dnn.Dense(1))
    before = model.flat_parameters
    history = model.fit(*regression, 10, 2, order=np.full((2, 20), 45), sample_weight=weight, metrics=["mae"])
    assert (model.flat_parameters == before).all()
    assert history.history["loss"] == history.history["mae"] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("order", "error", "match"),
    [
        (np.zeros(60, int), ValueError, "order is 1-D"),
        (np.zeros((2, 60), int), ValueError, "2 epochs, but epochs is 3"),
        (np.full((3, 60), 60), ValueError, r"order\[0\] has the row number 60 at position 0"),
        ([[0, 1], [0, 1], [0, -1]], ValueError, r"order\[2\] has the row number -1 at position 1"),
        (np.zeros((3, 60)), TypeError, "float64"),
        (np.zeros((3, 60), bool), TypeError, "bool"),
        (np.zeros((3, 0), int), ValueError, r"shape \(0,\)"),
        (np.zeros((3, 61), int), ValueError, "61 row numbers, but x has 60 rows"),
        ("shuffled", TypeError, "order must be an array"),
        (lambda epoch: [0] * (2 + epoch), ValueError, r"order\(1\) has 3 row numbers, but the first"),
        (lambda epoch: None, TypeError, r"order\(0\) must be an array"),
    ],
)
def test_an_order_that_is_none_is_refused(order: Any, error: Any, match: str, regression: Table) -> None:
    with pytest.raises(error, match=match):
        small().fit(*regression, 16, 3, order=order)


def test_what_an_order_does_not_go_with_is_told(regression: Table) -> None:
    order = orders(1, 60)
    with pytest.raises(ValueError, match="validation_data instead"):
        small().fit(*regression, order=order, validation_split=0.1)
    with pytest.raises(ValueError, match="L-BFGS takes all rows"):
        small().fit(*regression, order=order, optimizer="lbfgs")

    def failing(epoch: int) -> np.ndarray:
        if epoch == 2:
            raise ArithmeticError("as the test wants")
        return np.arange(60)

    model = small()
    with pytest.raises(ArithmeticError, match="as the test wants"):
        model.fit(*regression, epochs=5, order=failing)
    assert model.next_epoch == 2
