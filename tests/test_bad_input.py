"""Bad input: always the right type of exception, with a message that helps, and a model that is as before."""

from __future__ import annotations

import decimal
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import dnn
import numpy as np
import pytest


class Case(NamedTuple):
    """`act(m)` with the models and data of `subject` has to raise `error`, with a message like `pattern`."""

    name: str
    act: Callable[[Any], object]
    error: type[Exception]
    pattern: str


@pytest.fixture
def m() -> SimpleNamespace:
    """Trained models, so that they have weights, momentum and a history to lose; data that they take."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(20, 3))
    labels = np.arange(20) % 3
    regressor = dnn.Sequential([dnn.Dense(4, "tanh"), dnn.Dense(1)], seed=1)
    regressor.fit(x, x[:, :1], epochs=2)
    pair = dnn.Sequential([dnn.Dense(2)], seed=1)
    pair.fit(x, x[:, :2], epochs=2)
    classifier = dnn.Sequential([dnn.Dense(4, "relu"), dnn.Dense(3, "softmax")], seed=1)
    classifier.fit(x, labels, epochs=2)
    binary = dnn.Sequential([dnn.Dense(1, "sigmoid")], seed=1)
    binary.fit(x, labels > 0, epochs=2)
    fresh = dnn.Sequential([dnn.Dense(4, "relu"), dnn.Dense(1)], seed=1)
    return SimpleNamespace(
        x=x,
        y=x[:, :1],
        labels=labels,
        regressor=regressor,
        pair=pair,
        classifier=classifier,
        binary=binary,
        fresh=fresh,
    )


def state(model: dnn.Sequential) -> tuple[object, ...]:
    """All that a refused call must not change: bytes of weights and optimizer, choices, history."""
    network = model.__getstate__()["_network"]
    return (
        network,
        model.loss,
        model.optimizer,
        model.metrics,
        model.n_inputs,
        id(model.history),
        model.stop_training,
    )


def changed(array: np.ndarray[Any, Any], place: Any, value: Any) -> np.ndarray[Any, Any]:
    """A copy of `array` with `value` at `place`."""
    copy = np.array(array)
    copy[place] = value
    return copy


def dense(**arguments: Any) -> dnn.Dense:
    return dnn.Dense(4, **arguments)


CASES = [
    # x: its values
    Case("nan in x", lambda m: m.regressor.fit(changed(m.x, (4, 1), np.nan), m.y), ValueError,
         r"x has NaN or infinity in 1 value, nan at row 4, column 1"),
    Case("infinities in x", lambda m: m.regressor.fit(changed(m.x, (slice(5, 7), 2), -np.inf), m.y),
         ValueError, r"2 values, the first -inf at row 5, column 2"),
    Case("nan in x of an unbuilt model", lambda m: m.fresh.fit(changed(m.x, (0, 0), np.nan), m.y), ValueError,
         r"row 0, column 0"),
    Case("nan in a row of the validation split",
         lambda m: m.regressor.fit(changed(m.x, slice(None), np.nan), m.y, validation_split=0.5), ValueError,
         r"x has NaN"),
    Case("overflow in x", lambda m: m.regressor.fit(changed(m.x, (3, 0), 1e300), m.y), ValueError,
         r"x overflows float32 in 1 value, 1e\+300 at row 3, column 0; scale it, or use dtype='float64'"),
    Case("overflow in x to predict", lambda m: m.regressor.predict(changed(m.x, (3, 0), 1e300)), ValueError,
         r"overflows float32"),
    Case("nan in x to predict", lambda m: m.regressor.predict(changed(m.x, (2, 1), np.nan)), ValueError,
         r"x has NaN or infinity in 1 value, nan at row 2, column 1"),
    Case("nan in float32 x to predict",
         lambda m: m.regressor.predict(changed(m.x.astype(np.float32), (2, 1), np.inf)), ValueError,
         r"inf at row 2, column 1"),
    Case("nan in x to look inside", lambda m: m.regressor.forward(changed(m.x, (2, 1), np.nan)), ValueError,
         r"row 2"),
    # x: its shape
    Case("1-D x", lambda m: m.regressor.fit(m.x[:, 0], m.y), ValueError,
         r"x is 1-D with shape \(20,\).*reshape\(1, -1\).*reshape\(-1, 1\)"),
    Case("3-D x", lambda m: m.regressor.fit(m.x[:, :, None], m.y), ValueError,
         r"x is 3-D.*x\.reshape\(len\(x\), -1\)"),
    Case("0-D x", lambda m: m.regressor.predict(3.0), ValueError, r"x is 0-D.*\[\[number\]\]"),
    Case("no numbers", lambda m: m.regressor.predict([]), ValueError, r"x has no rows \(shape \(0,\)\)"),
    Case("no images", lambda m: m.regressor.predict(np.zeros((0, 4, 4))), ValueError, r"x has no rows"),
    Case("an integer beyond float64", lambda m: m.regressor.predict([[1, 2, 10**400]]), TypeError,
         r"no float64 holds; scale it first"),
    Case("an integer beyond int64", lambda m: m.regressor.predict([[1, 2, 10**30]]), TypeError,
         r"dtype=float"),
    Case("no rows", lambda m: m.regressor.fit(m.x[:0], m.y[:0]), ValueError,
         r"x has no rows \(shape \(0, 3\)\)"),
    Case("no columns", lambda m: m.fresh.fit(m.x[:, :0], m.y), ValueError, r"x has no columns"),
    Case("too many columns", lambda m: m.regressor.fit(np.ones((20, 4)), m.y), ValueError,
         r"x has 4 columns, but the network takes 3 inputs"),
    Case("too few columns to predict", lambda m: m.regressor.predict(m.x[:, :2]), ValueError,
         r"x has 2 columns.* 3"),
    Case("other width in validation data", lambda m: m.fresh.fit(m.x, m.y, validation_data=(m.x[:, :2], m.y)),
         ValueError, r"validation_data\[0\] has 2 columns, but the network takes 3"),
    # x: its type
    Case("complex x", lambda m: m.regressor.fit(m.x + 1j, m.y), TypeError,
         r"x has complex numbers.*x\.real, x\.imag"),
    Case("strings in x", lambda m: m.regressor.fit([["a", "b", "c"]], [1.0]), TypeError,
         r"x has strings.*encode"),
    Case("x is a string", lambda m: m.regressor.predict("data.csv"), TypeError,
         r"x must be an array.*'data\.csv'"),
    Case("x is None", lambda m: m.regressor.predict(None), TypeError,
         r"x must be an array of numbers, got None"),
    Case("x is an object", lambda m: m.regressor.predict(object()), TypeError,
         r"x must be an array of numbers"),
    Case("masked x", lambda m: m.regressor.fit(np.ma.masked_less(m.x, 0), m.y), TypeError,
         r"x is a masked array, whose mask would be lost.*filled"),
    Case("ragged x", lambda m: m.regressor.fit([[1.0, 2.0, 3.0], [1.0]], [1.0, 2.0]), ValueError,
         r"x is ragged"),
    Case("objects in x", lambda m: m.regressor.fit(changed(m.x.astype(object), (1, 1), None), m.y), TypeError,
         r"x is an array of Python objects, among them None \(NoneType\).*dtype=float"),
    Case("object array of numbers", lambda m: m.regressor.fit(m.x.astype(object), m.y), TypeError,
         r"array of Python objects"),
    Case("dates in x", lambda m: m.regressor.predict(np.zeros((2, 3), "datetime64[s]")), TypeError,
         r"x has dates"),
    Case("durations in x", lambda m: m.regressor.predict(np.zeros((2, 3), "timedelta64[s]")), TypeError,
         r"x has durations"),
    Case("records in x", lambda m: m.regressor.predict(np.zeros((2, 3), "i4,f4")), TypeError,
         r"x has records"),
    Case("x is a dict", lambda m: m.regressor.predict({"a": [1.0]}), TypeError, r"x must be an array"),
    # y
    Case("other length of y", lambda m: m.regressor.fit(m.x, m.y[:-1]), ValueError,
         r"x has 20 rows, but y has 19"),
    Case("nan in y", lambda m: m.regressor.fit(m.x, changed(m.y, (9, 0), np.nan)), ValueError,
         r"y has NaN or infinity in 1 value, nan at row 9, column 0"),
    Case("overflow in y", lambda m: m.regressor.fit(m.x, changed(m.y, (9, 0), -1e39)), ValueError,
         r"y overflows float32"),
    Case("y with a column too many", lambda m: m.regressor.fit(m.x, m.x), ValueError,
         r"y has shape \(20, 3\), but the last layer has 1 output; give the last layer 3 units"),
    Case("one column of y for two outputs", lambda m: m.pair.fit(m.x, m.y), ValueError,
         r"y has shape \(20, 1\), but the last layer has 2 outputs"),
    Case("1-D y for two outputs", lambda m: m.pair.fit(m.x, m.y[:, 0]), ValueError, r"\(20, 2\)"),
    Case("labels for mse", lambda m: m.pair.fit(m.x, m.labels), ValueError,
         r"for class labels give the last layer activation='softmax' and 3 units"),
    Case("3-D y", lambda m: m.regressor.fit(m.x, m.y[:, :, None]), ValueError, r"y is 3-D"),
    Case("scalar y", lambda m: m.regressor.fit(m.x, 1.0), ValueError, r"y is 0-D"),
    Case("complex y", lambda m: m.regressor.fit(m.x, m.y * 1j), TypeError, r"y has complex"),
    Case("masked y", lambda m: m.regressor.fit(m.x, np.ma.masked_less(m.y, 0)), TypeError,
         r"y is a masked array"),
    Case("ragged y", lambda m: m.regressor.fit(m.x[:2], [[1.0], [1.0, 2.0]]), ValueError, r"y is ragged"),
    Case("labels as strings", lambda m: m.classifier.fit(m.x[:2], ["cat", "dog"]), TypeError,
         r"y has strings.*np\.unique\(y, return_inverse=True\)"),
    Case("label too large", lambda m: m.classifier.fit(m.x, changed(m.labels, 0, 3)), ValueError,
         r"y has labels 0\.\.3, but the last layer has 3 outputs; give it 4"),
    Case("labels from 1", lambda m: m.classifier.fit(m.x, m.labels + 1), ValueError,
         r"labels 1\.\.3.*count from 0 \(y - 1\)"),
    Case("labels far apart", lambda m: m.classifier.fit(m.x, m.labels * 1000), ValueError, r"np\.unique"),
    Case("negative label", lambda m: m.classifier.fit(m.x, changed(m.labels, 7, -1)), ValueError,
         r"label -1 at row 7; labels count from 0 to 2"),
    Case("labels with a fraction", lambda m: m.classifier.fit(m.x, m.labels + 0.5), ValueError,
         r"20 labels that are not a whole number, the first 0\.5 at row 0"),
    Case("nan label", lambda m: m.classifier.fit(m.x, changed(m.labels.astype(float), 2, np.nan)), ValueError,
         r"1 label that is not a whole number, the first nan at row 2"),
    Case("one-hot of the wrong width", lambda m: m.classifier.fit(m.x, np.eye(4)[m.labels]), ValueError,
         r"y has shape \(20, 4\).*labels of shape \(20,\) or probabilities of shape \(20, 3\)"),
    Case("rows that are no distribution", lambda m: m.classifier.fit(m.x, np.ones((20, 3))), ValueError,
         r"y at row 0 has \[1, 1, 1\].*sum to 1.*sigmoid"),
    Case("negative probability", lambda m: m.classifier.fit(m.x, np.tile([1.5, -0.5, 0.0], (20, 1))),
         ValueError, r"0 or more"),
    Case("binary target of 2", lambda m: m.binary.fit(m.x, m.labels), ValueError,
         r"y at row 2 has 2, but loss 'binary_cross_entropy' needs targets from 0 to 1"),
    Case("hinge target of 0", lambda m: m.regressor.fit(m.x, m.labels > 0, loss="hinge"), ValueError,
         r"hinge losses need targets -1 and 1; for 0 and 1 pass 2 \* y - 1"),
    Case("y is None", lambda m: m.regressor.fit(m.x, None), TypeError,
         r"y must be an array of numbers, got None"),
    # sample_weight
    Case("negative weight", lambda m: m.regressor.fit(m.x, m.y, sample_weight=changed(np.ones(20), 3, -1.0)),
         ValueError, r"sample_weight has 1 negative weight, the first -1 at row 3"),
    Case("all weights zero", lambda m: m.regressor.fit(m.x, m.y, sample_weight=np.zeros(20)), ValueError,
         r"sample_weight is zero for all rows"),
    Case("nan weight", lambda m: m.regressor.fit(m.x, m.y, sample_weight=changed(np.ones(20), 3, np.nan)),
         ValueError, r"sample_weight has NaN or infinity in 1 value, nan at position 3"),
    Case("too few weights", lambda m: m.regressor.fit(m.x, m.y, sample_weight=np.ones(19)), ValueError,
         r"sample_weight has shape \(19,\), but needs \(20,\)"),
    Case("column of weights", lambda m: m.regressor.evaluate(m.x, m.y, sample_weight=np.ones((20, 1))),
         ValueError, r"shape \(20, 1\), but needs \(20,\)"),
    Case("scalar weight", lambda m: m.regressor.fit(m.x, m.y, sample_weight=1.0), ValueError, r"shape \(\)"),
    Case("strings as weights", lambda m: m.regressor.fit(m.x, m.y, sample_weight=["a"] * 20), TypeError,
         r"has strings"),
    # layers
    Case("no units", lambda m: dnn.Dense(0), ValueError, r"units must be a whole number, 1 or more, got 0"),
    Case("half a unit", lambda m: dnn.Dense(2.5), TypeError, r"units must be a whole number.*2\.5 \(float\)"),
    Case("units from True", lambda m: dnn.Dense(True), TypeError, r"units must be a whole number"),
    Case("no input", lambda m: dnn.Input(0), ValueError, r"n must be a whole number, 1 or more"),
    Case("misspelt activation", lambda m: dense(activation="rleu"), ValueError,
         r"unknown activation 'rleu'; did you mean .*'relu'"),
    Case("activation in capitals", lambda m: dense(activation="ReLU"), ValueError, r"did you mean 'relu'"),
    Case("step activation", lambda m: dense(activation="step"), ValueError,
         r"derivative is zero almost everywhere.*'sigmoid'.*'tanh'.*'relu'"),
    Case("heaviside activation", lambda m: dense(activation="heaviside"), ValueError,
         r"zero almost everywhere"),
    Case("sign activation", lambda m: dense(activation="sign"), ValueError, r"zero almost everywhere"),
    Case("function as activation", lambda m: dense(activation=np.tanh), TypeError,
         r"activation must be a name"),
    Case("class as activation", lambda m: dense(activation=dnn.LeakyReLU), TypeError,
         r"write|make one of it: LeakyReLU\(\)"),
    Case("slope below 0", lambda m: dnn.LeakyReLU(-0.1), ValueError,
         r"slope must be .* at least 0.*got -0\.1"),
    Case("alpha of 0", lambda m: dnn.ELU(0.0), ValueError, r"alpha must be .* above 0"),
    Case("alpha of celu too small", lambda m: dnn.CELU(1e-9), ValueError, r"alpha must be .* at least 1e-06"),
    Case("heaviside", lambda m: dense(activation="heaviside"), ValueError, r"derivative is zero.*'sigmoid'"),
    Case("sign", lambda m: dense(activation="sign"), ValueError, r"derivative is zero.*'sigmoid'"),
    Case("torch's spelling", lambda m: dense(activation="Hardswish"), ValueError, r"write 'hard_swish'"),
    Case("negative l2", lambda m: dense(l2=-1e-3), ValueError, r"l2 must be .* at least 0, got -0\.001"),
    Case("nan l1", lambda m: dense(l1=float("nan")), ValueError, r"l1 must be a finite number"),
    Case("use_bias as a string", lambda m: dense(use_bias="no"), TypeError,
         r"use_bias must be True or False, got 'no'"),
    Case("misspelt initializer", lambda m: dense(weight_initializer="xavier"), ValueError,
         r"unknown weight_initializer 'xavier'.*glorot_uniform"),
    Case("initializer that needs a value", lambda m: dense(weight_initializer="constant"), ValueError,
         r"write dnn\.Constant\(\.\.\.\)"),
    Case("bias initializer for weights", lambda m: dense(bias_initializer="he_normal"), ValueError,
         r"unknown bias_initializer"),
    Case("number as initializer", lambda m: dense(bias_initializer=0.1), TypeError,
         r"bias_initializer must be a name.*Constant"),
    Case("weights of the wrong width", lambda m: dense(weight_initializer=np.ones((3, 5))), ValueError,
         r"weight_initializer has shape \(3, 5\), but a layer of 4 units needs \(n_in, 4\)"),
    Case("bias of the wrong width", lambda m: dense(bias_initializer=np.ones(3)), ValueError,
         r"needs \(4,\)"),
    Case("weights of the wrong height",
         lambda m: dnn.Sequential([dense(weight_initializer=np.ones((5, 4)))]).fit(m.x, np.ones((20, 4))),
         ValueError, r"weight_initializer of layer 1 has shape \(5, 4\), but needs \(3, 4\)"),
    Case("nan in initial weights",
         lambda m: dnn.Sequential([dnn.Input(3), dense(weight_initializer=np.full((3, 4), np.nan))]),
         ValueError,
         r"weight_initializer of layer 1 has NaN or infinity in 12 values, the first nan at row 0, column 0"),
    Case("empty range", lambda m: dnn.Uniform(low=1.0, high=-1.0), ValueError,
         r"high must be .* above 1, got -1"),
    Case("std of 0", lambda m: dnn.Normal(std=0.0), ValueError, r"std must be .* above 0"),
    # Sequential
    Case("no layers", lambda m: dnn.Sequential([]), ValueError, r"layers has no Dense layer"),
    Case("only an input", lambda m: dnn.Sequential([dnn.Input(3)]), ValueError, r"layers has no Dense layer"),
    Case("layer without a list", lambda m: dnn.Sequential(dnn.Dense(3)), TypeError, r"layers must be a list"),
    Case("layers as a string", lambda m: dnn.Sequential("relu"), TypeError,
         r"layers must be a list, got 'relu'"),
    Case("number as a layer", lambda m: dnn.Sequential([64, 10]), TypeError,
         r"layer 1 must be a layer such as Dense"),
    Case("class as a layer", lambda m: dnn.Sequential([dnn.Dense]), TypeError, r"layer 1 is the class Dense"),
    Case("input in the middle", lambda m: dnn.Sequential([dnn.Dense(3), dnn.Input(3)]), ValueError,
         r"layer 2 is an Input"),
    Case("softmax on a hidden layer", lambda m: dnn.Sequential([dnn.Dense(3, "softmax"), dnn.Dense(1)]),
         ValueError, r"layer 1 has activation 'softmax', which belongs on the last layer"),
    Case("softmax of one unit", lambda m: dnn.Sequential([dnn.Dense(1, "softmax")]), ValueError,
         r"use 'sigmoid'"),
    Case("negative seed", lambda m: dnn.Sequential([dnn.Dense(1)], seed=-1), ValueError,
         r"seed must be a whole number"),
    Case("seed as a string", lambda m: dnn.Sequential([dnn.Dense(1)], seed="7"), TypeError,
         r"seed must be a whole number"),
    Case("unknown dtype", lambda m: dnn.Sequential([dnn.Dense(1)], dtype="float16"), ValueError,
         r"unknown dtype 'float16'; did you mean 'float64'|unknown dtype 'float16'.*known: float32, float64"),
    Case("dtype that is no type", lambda m: dnn.Sequential([dnn.Dense(1)], dtype=32), TypeError,
         r"dtype must be one of"),
    Case("unknown precision", lambda m: dnn.Sequential([dnn.Dense(1)], precision="exact"), ValueError,
         r"unknown precision 'exact'.*highest, medium, strict"),
    Case("unknown instruction set", lambda m: dnn.Sequential([dnn.Dense(1)], isa="avx1024"), ValueError,
         r'no instruction set "avx1024".*scalar'),
    Case("layer too large for memory", lambda m: dnn.Sequential([dnn.Input(2**20), dnn.Dense(2**40)]),
         MemoryError, r"layer 1"),
    Case("later layer too large for memory",
         lambda m: dnn.Sequential([dnn.Dense(2**24), dnn.Dense(2**24), dnn.Dense(1)]).fit(m.x, m.y),
         MemoryError, r"memory|bytes"),
    # loss, optimizer, metrics
    Case("misspelt loss", lambda m: m.regressor.compile(loss="msee"), ValueError,
         r"unknown loss 'msee'; did you mean .*'mse'"),
    Case("loss of another library", lambda m: m.regressor.compile(loss="mean_absolute_error"), ValueError,
         r"write 'mae'"),
    Case("list as loss", lambda m: m.regressor.compile(loss=[max]), TypeError, r"loss must be a name"),
    Case("class as loss", lambda m: m.regressor.compile(loss=dnn.MSE), TypeError, r"make one of it: MSE\(\)"),
    Case("cross entropy without softmax", lambda m: m.regressor.compile(loss="cross_entropy"), ValueError,
         r"needs a softmax output, but the last layer has 'identity'.*loss='mse'"),
    Case("cross entropy on sigmoid", lambda m: m.binary.fit(m.x, m.labels > 0, loss="cross_entropy"),
         ValueError, r"loss='binary_cross_entropy'"),
    Case("binary cross entropy on softmax",
         lambda m: m.classifier.fit(m.x, m.labels, loss="binary_cross_entropy"), ValueError,
         r"needs a sigmoid output.*loss='cross_entropy'"),
    Case("hinge on softmax", lambda m: m.classifier.compile(loss="hinge"), ValueError,
         r"hinge.*both sides of 0"),
    Case("delta below 0", lambda m: dnn.Huber(delta=-1.0), ValueError, r"delta must be .* above 0"),
    Case("misspelt optimizer", lambda m: m.regressor.compile("adm"), ValueError,
         r"unknown optimizer 'adm'; did you mean 'adam'"),
    Case("class as optimizer", lambda m: m.regressor.compile(dnn.SGD), TypeError, r"make one of it: SGD\(\)"),
    Case("number as optimizer", lambda m: m.regressor.compile(0.1), TypeError,
         r"optimizer must be a name such as 'adam'"),
    Case("negative rate", lambda m: dnn.SGD(-0.1), ValueError,
         r"learning_rate must be .* above 0 .*, got -0\.1"),
    Case("infinite rate", lambda m: dnn.Adam(float("inf")), ValueError,
         r"learning_rate must be a finite number"),
    Case("rate as a string", lambda m: dnn.SGD("0.1"), TypeError, r"learning_rate must be .*'0\.1' \(str\)"),
    Case("no rates", lambda m: dnn.SGD([]), ValueError, r"learning_rate is an empty sequence"),
    Case("nan among rates", lambda m: dnn.SGD([0.1, np.nan]), ValueError,
         r"learning_rate\[1\] must be a finite"),
    Case("table of rates", lambda m: dnn.SGD(np.ones((2, 2))), ValueError, r"a sequence of rates is 1-D"),
    Case("momentum of 1", lambda m: dnn.SGD(momentum=1.0), ValueError, r"momentum must be .* below 1, got 1"),
    Case("complex momentum", lambda m: dnn.SGD(momentum=np.complex128(0.5 + 5j)), TypeError,
         r"momentum must be .*, got .*complex128"),
    Case("a string in an array", lambda m: dnn.SGD(np.array("1.5")), TypeError,
         r"learning_rate must be .* got an array of <U3"),
    Case("a signal", lambda m: dnn.SGD(momentum=decimal.Decimal("sNaN")), TypeError,
         r"momentum must be .*Decimal"),
    Case("nesterov without momentum", lambda m: dnn.SGD(nesterov=True), ValueError,
         r"nesterov=True needs momentum"),
    Case("nesterov and dampened", lambda m: dnn.SGD(momentum=0.9, nesterov=True, dampened=True), ValueError,
         r"together"),
    Case("beta of 1", lambda m: dnn.Adam(beta_2=1.0), ValueError, r"beta_2 must be .* below 1"),
    Case("epsilon of 0", lambda m: dnn.Adam(epsilon=0.0), ValueError, r"epsilon must be .* above 0"),
    Case("rate beyond all measure", lambda m: m.regressor.fit(m.x, m.y, optimizer=dnn.SGD(1e16)), ValueError,
         r"learning_rate must be .* at most 1e\+15"),
    Case("epsilon that float32 can't keep", lambda m: m.regressor.compile(dnn.Adam(epsilon=1e-20), "mse"),
         ValueError, r"epsilon must be at least 1e-12 in float32"),
    Case("constant beyond float32", lambda m: dnn.Sequential(
        [dnn.Dense(1, weight_initializer=dnn.Constant(1e300))]).fit(m.x, m.y, loss="mse"),
        ValueError, r"value must be within \+-3.4e38, the largest float32, got 1e300$"),
    Case("spread beyond float32", lambda m: dnn.Sequential(
        [dnn.Dense(1, weight_initializer=dnn.Normal(std=1e39))]).fit(m.x, m.y, loss="mse"),
        ValueError, r"\|mean\| \+ 40 std at most 3.4e38, the largest float32, got mean 0.0 and std 1e39"),
    Case("alpha beyond float32", lambda m: dnn.Sequential(
        [dnn.Dense(1, dnn.ELU(1e300))]).fit(m.x, m.y, loss="mse"),
        ValueError, r"alpha of elu must be above 0 and at most 3.4e38, the largest float32, got 1e300"),
    Case("misspelt metric", lambda m: m.classifier.compile(metrics=["acuracy"]), ValueError,
         r"did you mean 'accuracy'"),
    Case("metrics as a string", lambda m: m.classifier.compile(metrics="accuracy"), TypeError,
         r"metrics must be a list.*\['accuracy'\]"),
    Case("accuracy of a regression", lambda m: m.regressor.fit(m.x, m.y, metrics=["accuracy"]), ValueError,
         r"'accuracy' is for classes, but the last layer's activation is 'identity'"),
    # fit
    Case("batch_size of 0", lambda m: m.regressor.fit(m.x, m.y, batch_size=0), ValueError,
         r"batch_size must be .* 1 or more"),
    Case("unknown batch_size", lambda m: m.regressor.fit(m.x, m.y, batch_size="all"), ValueError,
         r"or 'full', got 'all'"),
    Case("no epochs", lambda m: m.regressor.fit(m.x, m.y, epochs=0), ValueError,
         r"epochs must be .* 1 or more, got 0"),
    Case("epochs as a float", lambda m: m.regressor.fit(m.x, m.y, epochs=3.0), TypeError,
         r"epochs must be a whole number"),
    Case("first epoch after the last", lambda m: m.regressor.fit(m.x, m.y, epochs=5, initial_epoch=5),
         ValueError, r"initial_epoch is 5, but epochs is 5.*10 would train 5 more"),
    Case("all rows for validation", lambda m: m.regressor.fit(m.x, m.y, validation_split=1.0), ValueError,
         r"validation_split must be .* below 1"),
    Case("split of one row", lambda m: m.regressor.fit(m.x[:1], m.y[:1], validation_split=0.5), ValueError,
         r"at least 2 rows"),
    Case("split and data",
         lambda m: m.regressor.fit(m.x, m.y, validation_split=0.1, validation_data=(m.x, m.y)), ValueError,
         r"both given"),
    Case("validation data without y", lambda m: m.regressor.fit(m.x, m.y, validation_data=m.x), TypeError,
         r"validation_data must be \(x, y\)"),
    Case("bad y of validation data", lambda m: m.regressor.fit(m.x, m.y, validation_data=(m.x, m.y[:3])),
         ValueError, r"validation_data\[0\] has 20 rows, but validation_data\[1\] has 3"),
    Case("early stopping without validation", lambda m: m.regressor.fit(m.x, m.y, early_stopping=True),
         ValueError, r"there is no validation; pass validation_split"),
    Case("patience of 0", lambda m: dnn.EarlyStopping(0), ValueError,
         r"patience must be a whole number, 1 or more"),
    Case("negative tol", lambda m: m.regressor.fit(m.x, m.y, tol=-1e-4), ValueError,
         r"tol must be .* at least 0"),
    Case("max_time of 0", lambda m: m.regressor.fit(m.x, m.y, max_time=0), ValueError,
         r"max_time must be .* above 0"),
    Case("shuffle as a string", lambda m: m.regressor.fit(m.x, m.y, shuffle="yes"), TypeError,
         r"shuffle must be True or False"),
    Case("verbose of 3", lambda m: m.regressor.fit(m.x, m.y, verbose=3), ValueError,
         r"verbose must be .* from 0 to 2"),
    Case("unknown verbose", lambda m: m.regressor.fit(m.x, m.y, verbose="loud"), ValueError,
         r"verbose must be 'auto'"),
    Case("callback without a list", lambda m: m.regressor.fit(m.x, m.y, callbacks=print), TypeError,
         r"callbacks=\[\.\.\.\]"),
    Case("class as callback", lambda m: m.regressor.fit(m.x, m.y, callbacks=[dnn.Callback]), TypeError,
         r"callbacks\[0\] is the class Callback"),
    Case("early stopping as callback, without validation",
         lambda m: m.regressor.fit(m.x, m.y, callbacks=[dnn.EarlyStopping()]),
         ValueError, r"there is no validation; pass validation_split"),
    Case("averaging by name", lambda m: m.regressor.fit(m.x, m.y, averaging="ema"), TypeError,
         r"averaging must be EMA"),
    Case("number as callback", lambda m: m.regressor.fit(m.x, m.y, callbacks=[3]), TypeError,
         r"callbacks\[0\] must be"),
    Case("no threads", lambda m: m.regressor.fit(m.x, m.y, n_threads=0), ValueError,
         r"n_threads must be .* from 1 to 1024"),
    Case("threads as a string", lambda m: dnn.set_num_threads("2"), TypeError, r"n must be a whole number"),
    # train_on_batch, evaluate, check_gradients
    Case("bad batch", lambda m: m.fresh.train_on_batch(m.x, m.y[:3]), ValueError,
         r"x has 20 rows, but y has 3"),
    Case("bad y to evaluate", lambda m: m.classifier.evaluate(m.x, m.labels + 1), ValueError,
         r"labels 1\.\.3"),
    Case("gradients in float32", lambda m: m.regressor.check_gradients(m.x, m.y), ValueError,
         r"dtype='float64'"),
    # predict
    Case("predict before the shape is known", lambda m: m.fresh.predict(m.x), RuntimeError,
         r"no weights yet.*Input\(n\)"),
    Case("weights before the shape is known", lambda m: m.fresh.get_weights(), RuntimeError,
         r"no weights yet"),
    Case("save before the shape is known", lambda m: m.fresh.save("never.dnn"), RuntimeError,
         r"no weights yet"),
    Case("classes of a regression", lambda m: m.regressor.predict_classes(m.x), ValueError, r"use predict"),
    Case("out is a list", lambda m: m.regressor.predict(m.x, out=[[0.0]] * 20), TypeError,
         r"out must be a NumPy array"),
    Case("out of the wrong shape", lambda m: m.regressor.predict(m.x, out=np.empty(20, np.float32)),
         ValueError, r"out has shape \(20,\) and dtype float32, but predictions need \(20, 1\)"),
    Case("out of the wrong dtype", lambda m: m.regressor.predict(m.x, out=np.empty((20, 1))), ValueError,
         r"float64, but predictions need \(20, 1\) and float32"),
    Case("out with strides", lambda m: m.pair.predict(m.x, out=np.empty((2, 20), np.float32).T), ValueError,
         r"out isn't C-contiguous"),
    # weights
    Case("one array as weights", lambda m: m.regressor.set_weights(np.ones((3, 4))), TypeError,
         r"list of arrays"),
    Case("too few weights arrays", lambda m: m.regressor.set_weights(m.regressor.get_weights()[:-1]),
         ValueError, r"weights has 3 arrays, but the network has 4: weights of layer 1, bias of layer 1"),
    Case("weights in the wrong order", lambda m: m.regressor.set_weights(m.regressor.get_weights()[::-1]),
         ValueError, r"weights\[0\] \(weights of layer 1\) has shape \(1,\), but needs \(3, 4\)"),
    Case("nan in weights", lambda m: m.pair.set_weights([np.ones((3, 2)), [0.0, np.nan]]), ValueError,
         r"weights\[1\] \(bias of layer 1\) has NaN or infinity in 1 value, nan at position 1"),
    Case("overflow in weights", lambda m: m.pair.set_weights([np.full((3, 2), 1e39), [0.0, 0.0]]), ValueError,
         r"overflows float32 in 6 values"),
    Case("bad weights of an unbuilt model",
         lambda m: m.fresh.set_weights([np.ones((3, 5)), [0.0] * 4, np.ones((4, 1)), [0.0]]), ValueError,
         r"has shape \(3, 5\), but needs \(3, 4\)"),
    Case("flat parameters of the wrong length", lambda m: setattr(m.regressor, "flat_parameters", np.ones(5)),
         ValueError, r"flat_parameters has shape \(5,\), but needs \(21,\)"),
    # files
    Case("path is a number", lambda m: m.regressor.save(3), TypeError, r"path must be a string or path"),
    Case("no such file", lambda m: dnn.load("/nowhere/model.dnn"), FileNotFoundError, r"nowhere"),
    Case("no such folder", lambda m: m.regressor.save("/nowhere/model.dnn"), OSError, r"."),
    Case("not a model file", lambda m: dnn.load(__file__), ValueError,
         r"test_bad_input\.py' can't be loaded"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
def test_bad_input_is_refused_by_name_and_changes_nothing(case: Case, m: SimpleNamespace) -> None:
    models = [m.regressor, m.pair, m.classifier, m.binary, m.fresh]
    before = [state(model) for model in models]
    x = m.x.copy()
    with pytest.raises(case.error, match=case.pattern) as caught:
        case.act(m)
    assert caught.type.__module__ == "builtins", "no exception of Rust's or NumPy's own"
    assert [state(model) for model in models] == before
    assert np.array_equal(m.x, x)


def test_there_are_enough_cases_and_each_has_its_own_name() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


def test_out_that_shares_memory_with_x_is_refused(m: SimpleNamespace) -> None:
    both = np.zeros((20, 3), np.float32)
    square = dnn.Sequential([dnn.Input(3), dnn.Dense(3)], seed=1)
    with pytest.raises(ValueError, match="out shares memory with x"):
        square.predict(both, out=both)


def test_out_that_cannot_be_written_is_refused(m: SimpleNamespace) -> None:
    out = np.zeros((20, 1), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        m.regressor.predict(m.x, out=out)


def test_refused_prediction_leaves_out_alone(m: SimpleNamespace) -> None:
    out = np.full((20, 1), 7.0, np.float32)
    with pytest.raises(ValueError, match="row 19"):
        m.regressor.predict(changed(m.x, (19, 0), np.nan), out=out)
    assert np.all(out == 7.0)


def test_row_numbers_in_messages_are_those_of_the_user_with_a_split(m: SimpleNamespace) -> None:
    for row in (0, 11, 19):
        with pytest.raises(ValueError, match=rf"at row {row}, column 1"):
            m.regressor.fit(changed(m.x, (row, 1), np.nan), m.y, validation_split=0.5)


def test_count_of_bad_values_goes_over_all_blocks(m: SimpleNamespace) -> None:
    x = np.zeros((300_000, 3), np.float32)
    x[[1, 150_000, 299_999], 2] = np.inf
    for call in (lambda: m.regressor.predict(x), lambda: m.regressor.fit(x, x[:, :1])):
        with pytest.raises(ValueError, match=r"3 values, the first inf at row 1, column 2"):
            call()


def test_bad_environment_is_named(m: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DNN_NUM_THREADS", "OMP_NUM_THREADS"):
        with monkeypatch.context() as patch:
            patch.delenv("DNN_NUM_THREADS", raising=False)
            patch.setenv(variable, "many")
            # As for the first call of a process: small predictions ask no more than once.
            patch.setattr(dnn._threads, "environment_is_checked", False)
            with pytest.raises(ValueError, match=f"environment variable {variable} is 'many'"):
                m.regressor.predict(m.x)


def test_numbers_beyond_what_the_machine_counts_are_refused_with_both_bounds(m: SimpleNamespace) -> None:
    need = f"must be a whole number from 1 to {2**63 - 1}, got"
    for huge in (2**63, 10**5000):
        with pytest.raises(ValueError, match=f"units {need}"):
            dnn.Dense(huge)
        with pytest.raises(ValueError, match=f"batch_size {need}"):
            m.regressor.fit(m.x, m.y, batch_size=huge)
        with pytest.raises(ValueError, match=f"seed must be a whole number from 0 to {2**63 - 1}, got"):
            dnn.Sequential([dnn.Dense(1)], seed=huge)
    with pytest.raises(ValueError, match="learning_rate must be a finite number above 0 and at most"):
        dnn.SGD(10**400)
    with pytest.raises(ValueError, match=r"learning_rate\(step=\d+\) must be .* at most 1e\+15, got 1e\+30"):
        m.regressor.fit(m.x, m.y, optimizer=dnn.SGD(lambda step: 1e30))


def test_bad_rate_of_a_callable_is_named(m: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=r"learning_rate\(step=\d+\) must be a finite number"):
        m.regressor.fit(m.x, m.y, optimizer=dnn.SGD(lambda step: float("nan")))


def test_refused_models_still_pickle_and_train(m: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="row"):
        m.regressor.fit(changed(m.x, (0, 0), np.nan), m.y)
    assert pickle.loads(pickle.dumps(m.regressor)).fit(m.x, m.y).epochs == [0]
