"""Class weights are row weights, to the bit; "balanced" is scikit-learn's."""

from __future__ import annotations

from typing import Any

import dnn
import numpy as np
import pytest

RNG = np.random.default_rng(7)
X = RNG.normal(size=(90, 4))
LABELS = np.repeat([0, 1, 2], [60, 20, 10])
WEIGHTS = {0: 0.5, 1: 2.0, 2: 3.25}
OF_ROW = np.array([WEIGHTS[label] for label in LABELS])


def trained(output: str, units: int, y: Any, loss: str | None = None, **options: Any) -> Any:
    model = dnn.Sequential([dnn.Dense(6, "tanh"), dnn.Dense(units, output)], seed=3)
    history = model.fit(X, y, epochs=4, batch_size=8, loss=loss, metrics=["accuracy"], verbose=0, **options)
    curves = {name: values for name, values in history.history.items() if name != "seconds"}
    return model.flat_parameters.tobytes(), curves


TASKS = [
    ("softmax", 3, LABELS, None),
    ("softmax", 3, np.eye(3)[LABELS], None),
    ("softmax", 3, LABELS, "focal"),
    ("sigmoid", 1, LABELS > 0, None),
    ("tanh", 1, np.where(LABELS > 0, 1.0, -1.0), "hinge"),
]


@pytest.mark.parametrize("split", [0.0, 0.3])
@pytest.mark.parametrize(("output", "units", "y", "loss"), TASKS, ids=lambda v: str(v)[:12])
def test_class_weights_are_row_weights_to_the_bit(
    output: str, units: int, y: Any, loss: str | None, split: float
) -> None:
    two, signs = units == 1, loss == "hinge"
    by_class = {-1: 0.5, 1: 2.0} if signs else {0: 0.5, 1: 2.0} if two else WEIGHTS
    rows = np.where(LABELS > 0, 2.0, 0.5) if two else OF_ROW
    options = {"validation_split": split}
    expected = trained(output, units, y, loss, sample_weight=rows, **options)
    assert trained(output, units, y, loss, class_weight=by_class, **options) == expected
    assert trained(output, units, y, loss, class_weight=list(by_class.values()), **options) == expected


def test_they_multiply_the_weights_of_the_rows() -> None:
    sample_weight = RNG.uniform(0.1, 1, 90)
    both = trained("softmax", 3, LABELS, class_weight=WEIGHTS, sample_weight=sample_weight)
    assert both == trained("softmax", 3, LABELS, sample_weight=OF_ROW * sample_weight)


def test_a_whole_class_weight_is_the_class_as_often_in_a_full_batch() -> None:
    index = np.repeat(np.arange(90), np.where(LABELS == 2, 3, 1))

    def first_loss(x: Any, y: Any, **options: Any) -> dict[str, float]:
        model = dnn.Sequential([dnn.Dense(6, "tanh"), dnn.Dense(3, "softmax")], seed=3, dtype="float64")
        history = model.fit(x, y, batch_size="full", metrics=["accuracy"], verbose=0, **options).history
        return {name: history[name][0] for name in ("loss", "accuracy", "grad_norm")}

    weighted = first_loss(X, LABELS, class_weight={2: 3})
    # The same sums in another order.
    assert weighted == pytest.approx(first_loss(X[index], LABELS[index]), rel=1e-13)


def test_balanced_is_that_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_sample_weight

    rows = compute_sample_weight("balanced", LABELS)
    assert trained("softmax", 3, LABELS, class_weight="balanced") == trained(
        "softmax", 3, LABELS, sample_weight=rows
    )
    # Of four classes one is not there: it has no say.
    assert trained("softmax", 4, LABELS, class_weight="balanced") == trained(
        "softmax", 4, LABELS, sample_weight=rows
    )


def test_labels_that_a_dict_leaves_out_weigh_1() -> None:
    ones = trained("softmax", 3, LABELS, class_weight={1: 2.0})
    assert ones == trained("softmax", 3, LABELS, sample_weight=np.where(LABELS == 1, 2.0, 1.0))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({3: 1.0}, ValueError, r"label 3, but labels are 0\.\.2"),
        ({"a": 1.0}, ValueError, r"label 'a', but labels are 0\.\.2"),
        ({0: -1.0}, ValueError, r"class_weight\[0\] must be .* at least 0, got -1"),
        ({0: "big"}, TypeError, r"class_weight\[0\] must be"),
        ({0: 0, 1: 0, 2: 0}, ValueError, "zero for all classes"),
        ("even", ValueError, "a dict, an array or 'balanced', got 'even'"),
        ([1.0, 2.0], ValueError, r"class_weight has shape \(2,\), but needs \(3,\)"),
        ([1.0, 2.0, -3.0], ValueError, "class_weight has -3 for class 2"),
        ([1.0, 2.0, np.nan], ValueError, "class_weight has NaN"),
    ],
)
def test_what_is_no_class_weight_is_refused(given: Any, error: type[Exception], message: str) -> None:
    model = dnn.Sequential([dnn.Dense(3, "softmax")])
    with pytest.raises(error, match=message):
        model.fit(X, LABELS, class_weight=given, verbose=0)
    assert model.n_inputs is None


@pytest.mark.parametrize(
    ("output", "units", "row", "shown"),
    [
        ("softmax", 3, [0.2, 0.8, 0.0], r"\[0\.2, 0\.8, 0\] at row 4.*label_smoothing"),
        ("softmax", 3, [0.0, 0.9995, 0.0], r"\[0, 0\.9995, 0\] at row 4"),
        ("sigmoid", 1, [0.7], r"\[0\.7\] at row 4.*sample_weight"),
    ],
)
def test_rows_that_are_several_classes_at_once_have_no_class_weight(
    output: str, units: int, row: list[float], shown: str
) -> None:
    y = np.zeros((90, units))
    y[:, 0] = 1.0
    y[4] = row
    model = dnn.Sequential([dnn.Dense(units, output)])
    with pytest.raises(ValueError, match=f"class_weight needs one class for each row, but y has {shown}"):
        model.fit(X, y, class_weight="balanced", verbose=0)
    assert model.n_inputs is None
    # Without class weights such targets are what the loss takes.
    model.fit(X, y, verbose=0)


@pytest.mark.parametrize(("output", "units"), [("identity", 1), ("sigmoid", 2)])
def test_rows_that_are_of_no_one_class_have_no_class_weight(output: str, units: int) -> None:
    model = dnn.Sequential([dnn.Dense(units, output)])
    with pytest.raises(ValueError, match=r"class_weight needs one class for each row.*use sample_weight"):
        model.fit(X, np.zeros((90, units)), class_weight={0: 2.0}, verbose=0)
