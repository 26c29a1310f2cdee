"""Normalisation, residual connections and prelu have PyTorch's values and gradients.

tests/values/layers.json was recorded by tests/record/layers.py; it names the version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest

VALUES = json.loads((Path(__file__).parent / "values" / "layers.json").read_text(encoding="utf-8"))["cases"]
# Both are float64, with sums in another order; the largest numbers are some hundreds.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def layers_of(said: list[Any]) -> list[Any]:
    found: list[Any] = []
    for kind, *arguments in said:
        if kind == "Dense":
            found.append(dnn.Dense(arguments[0], use_bias=arguments[1]))
        elif kind == "Residual":
            found.append(dnn.Residual(layers_of(arguments[0])))
        else:
            found.append(getattr(dnn, kind)(*arguments))
    return found


def model_of(case: dict[str, Any]) -> dnn.Sequential:
    model = dnn.Sequential([dnn.Input(4), *layers_of(case["layers"])], seed=0, dtype="float64")
    model.set_weights(case["weights"])
    # Steps so small that they change nothing.
    model.compile(dnn.SGD(1e-300), loss="mse")
    return model


def running(model: dnn.Sequential) -> list[tuple[int, str, float]]:
    """Place, name and momentum of each array of running statistics."""
    from dnn import _weights

    slots = _weights.slots(model.layers, 4)
    return [
        (at, slot.kind, slot.layer.momentum)
        for at, slot in enumerate(slots)
        if not slot.is_parameter and isinstance(slot.layer, dnn.BatchNormalization)
    ]


@pytest.mark.parametrize("name", VALUES)
def test_loss_and_gradients_are_pytorchs(name: str) -> None:
    case = VALUES[name]
    model = model_of(case)
    loss, gradients = model.loss_and_gradients(case["x"], case["y"])
    assert loss == pytest.approx(case["loss"], rel=1e-12)
    gathered = {at for at, _, _ in running(model)}
    for at, (ours, theirs) in enumerate(zip(gradients, case["gradients"], strict=True)):
        if at in gathered:
            assert not ours.any()
        else:
            np.testing.assert_allclose(ours, theirs, **TOLERANCE)


@pytest.mark.parametrize("name", [name for name in VALUES if "batch" in name or "all" in name])
def test_running_statistics_move_as_pytorchs_do_but_for_the_variance_convention(name: str) -> None:
    case = VALUES[name]
    model = model_of(case)
    model.train_on_batch(case["x"], case["y"])
    found, rows = model.get_weights(), len(case["x"])
    for at, kind, momentum in running(model):
        before, theirs = np.array(case["weights"][at]), np.array(case["weights_after"][at])
        if kind == "running_variance":
            # PyTorch gathers the sum of squares over n - 1; ours, as Keras's, is over n.
            batch = (theirs - momentum * before) / (1 - momentum) * (rows - 1) / rows
            theirs = momentum * before + (1 - momentum) * batch
        np.testing.assert_allclose(found[at], theirs, **TOLERANCE)


@pytest.mark.parametrize("name", VALUES)
def test_outputs_in_use_are_pytorchs(name: str) -> None:
    case = VALUES[name]
    model = model_of(case)
    model.set_weights(case["weights_after"])
    np.testing.assert_allclose(model.predict(case["x"]), case["outputs_after"], **TOLERANCE)
