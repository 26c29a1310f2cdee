"""One of something is told as one: "1 output", not "1 outputs"."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import dnn
import numpy as np
import pytest

X = np.arange(8.0).reshape(4, 2)
Y = X[:, :1]


def net(units: int = 1, *, output: str | None = None, n_inputs: int = 2) -> Any:
    return dnn.Sequential([dnn.Input(n_inputs), dnn.Dense(units, output)], seed=1)


MESSAGES: dict[str, tuple[Callable[[], object], str]] = {
    "columns of x": (lambda: net().predict(X[:, :1]), "x has 1 column, but the network takes 2 inputs"),
    "inputs": (lambda: net(n_inputs=1).predict(X), "x has 2 columns, but the network takes 1 input$"),
    "rows": (lambda: net().fit(X[:1], Y), "x has 1 row, but y has 4"),
    "outputs": (lambda: net().fit(X, X), "last layer has 1 output; give the last layer 2 units"),
    "units": (lambda: net(2).fit(X, Y), "last layer has 2 outputs; give the last layer 1 unit,"),
    "arrays": (lambda: net().set_weights([X]), "weights has 1 array, but the network has 2"),
    "epochs": (
        lambda: net().fit(X, Y, epochs=2, order=np.zeros((1, 2), int)),
        "rows for 1 epoch, but epochs",
    ),
    "labels": (lambda: net(2, output="softmax").fit(X, [0.5, 1, 0, 1]), "y has 1 label that is not a whole"),
    "weights": (lambda: net().fit(X, Y, sample_weight=[1, 1, -1, 1]), "has 1 negative weight, the first -1"),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_one_of_something_is_told_as_one(what: str) -> None:
    act, message = MESSAGES[what]
    with pytest.raises(ValueError, match=message) as told:
        act()
    assert not re.search(r"\b1 \w+s\b", str(told.value))


def test_reasons_to_stop_count_as_well() -> None:
    history = net().fit(X, Y, epochs=9, tol=1e9, n_iter_no_change=1, verbose=0)
    assert "did not improve by more than tol=1000000000 for 1 epoch, up to epoch 2" in history.message
