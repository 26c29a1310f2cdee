"""Bad layers: the right type of exception, with a message that helps, and a model that is as before."""

from __future__ import annotations

from types import SimpleNamespace

import dnn
import numpy as np
import pytest
from test_bad_input import Case, state


@pytest.fixture
def m() -> SimpleNamespace:
    """A trained model that normalises, and data that it takes."""
    x = np.random.default_rng(3).normal(size=(20, 3))
    normalised = dnn.Sequential([dnn.Dense(4), dnn.BatchNormalization(), dnn.Dense(1)], seed=1)
    normalised.fit(x, x[:, :1], epochs=2)
    return SimpleNamespace(x=x, y=x[:, :1], normalised=normalised)


def deeply_nested(depth: int) -> dnn.Residual:
    return dnn.Residual([deeply_nested(depth - 1) if depth else dnn.Dense(3)])


CASES = [
    Case("rate of 1", lambda m: dnn.Dropout(1.0), ValueError, r"rate must be .* below 1, got 1"),
    Case("negative rate of dropout", lambda m: dnn.AlphaDropout(-0.1), ValueError,
         r"rate must be .* at least 0"),
    Case("rate as a string", lambda m: dnn.Dropout("0.5"), TypeError, r"rate must be .*\(str\)"),
    Case("negative std", lambda m: dnn.GaussianNoise(-1.0), ValueError, r"std must be .* at least 0"),
    Case("momentum of 1 in a layer", lambda m: dnn.BatchNormalization(1.0), ValueError,
         r"momentum must be .* below 1"),
    Case("epsilon of 0 in a layer", lambda m: dnn.BatchNormalization(epsilon=0.0), ValueError,
         r"epsilon must be .* at least 1e-12"),
    Case("infinite epsilon", lambda m: dnn.LayerNormalization(epsilon=np.inf), ValueError,
         r"epsilon must be a finite number"),
    Case("trainable as a string", lambda m: dnn.LayerNormalization(trainable="no"), TypeError,
         r"trainable must be True or False"),
    Case("no activation in a layer of its own", lambda m: dnn.Activation(None), TypeError, r"such as 'relu'"),
    Case("step as a layer", lambda m: dnn.Activation("step"), ValueError, r"derivative is zero"),
    Case("nan as slope", lambda m: dnn.PReLU(float("nan")), ValueError, r"slope must be a finite number"),
    Case("only layers without units", lambda m: dnn.Sequential([dnn.Dropout(0.5)]), ValueError,
         r"layers has no Dense layer"),
    Case("softmax in front of dropout", lambda m: dnn.Sequential([dnn.Dense(3, "softmax"), dnn.Dropout(0.1)]),
         ValueError, r"layer 1 has activation 'softmax', which belongs on the last layer"),
    Case("softmax within a residual",
         lambda m: dnn.Sequential([dnn.Dense(3), dnn.Residual([dnn.Dense(3, "softmax")])]), ValueError,
         r"layer 2\.1 has activation 'softmax'"),
    Case("softmax of one unit as a layer",
         lambda m: dnn.Sequential([dnn.Dense(1), dnn.Activation("softmax")]), ValueError,
         r"layer 2 is a softmax of one unit"),
    Case("empty residual", lambda m: dnn.Residual([]), ValueError, r"layers of Residual is empty"),
    Case("residual of one layer without a list", lambda m: dnn.Residual(dnn.Dense(3)), TypeError,
         r"layers must be a list"),
    Case("residual of a number", lambda m: dnn.Residual([3]), TypeError,
         r"layer 1 of Residual must be a layer"),
    Case("input within a residual", lambda m: dnn.Residual([dnn.Input(3)]), ValueError,
         r"layer 1 of Residual is an Input"),
    Case("class within a residual", lambda m: dnn.Residual([dnn.Dropout]), TypeError,
         r"is the class Dropout"),
    Case("residual of another width",
         lambda m: dnn.Sequential([dnn.Dense(8), dnn.Residual([dnn.Dense(16)])]), ValueError,
         r"layer 2 adds its input, which is 8 wide, to what .*, which is 16 wide; .* 8 units"),
    Case("nested residual of another width",
         lambda m: dnn.Sequential(
             [dnn.Dense(8), dnn.Residual([dnn.Dense(4), dnn.Residual([dnn.Dense(8)]), dnn.Dense(8)])]),
         ValueError, r"layer 2\.2 adds its input, which is 4 wide"),
    Case("residual of x, whose width data tell",
         lambda m: dnn.Sequential([dnn.Residual([dnn.Dense(2)]), dnn.Dense(1)]).fit(m.x, m.y), ValueError,
         r"layer 1: .* which is 3 wide, .* which is 2 wide"),
    Case("residuals without an end", lambda m: deeply_nested(40), ValueError, r"more than 20 deep"),
    Case("batches of one row to normalise", lambda m: m.normalised.fit(m.x, m.y, batch_size=1), ValueError,
         r"batch_size=1 .* LayerNormalization"),
    Case("negative running variance",
         lambda m: m.normalised.set_weights([w - 2 for w in m.normalised.get_weights()]), ValueError,
         r"running_variance of layer 2\) has .* a variance is 0 or more"),
    Case("a running statistic left out",
         lambda m: m.normalised.set_weights(m.normalised.get_weights()[:-1]), ValueError,
         r"has 7 arrays.* has 8"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
def test_bad_layers_are_refused_by_name_and_change_nothing(case: Case, m: SimpleNamespace) -> None:
    before = state(m.normalised)
    with pytest.raises(case.error, match=case.pattern) as caught:
        case.act(m)
    assert caught.type.__module__ == "builtins", "no exception of Rust's or NumPy's own"
    assert state(m.normalised) == before
