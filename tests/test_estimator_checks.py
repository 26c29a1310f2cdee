"""check_estimator, scikit-learn's own examination of an estimator, with no expected failure."""

from __future__ import annotations

import functools
from typing import Any

import dnn
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from sklearn.utils import estimator_checks

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
    # Checks that pass what is not quite an array, on purpose.
    pytest.mark.filterwarnings("ignore:A column-vector y was passed"),
]


@estimator_checks.parametrize_with_checks(
    [
        dnn.MLPClassifier(max_iter=100),
        dnn.MLPRegressor(max_iter=100),
        dnn.MLPClassifier(max_iter=100, dtype="float32"),
        dnn.MLPRegressor(max_iter=100, dtype="float32"),
        dnn.MLPClassifier(max_iter=100, solver="lbfgs", class_weight="balanced"),
        dnn.MLPRegressor(max_iter=10, solver="sgd", activation=["tanh"], n_threads=2),
    ]
)
def test_an_estimator_does_what_scikit_learn_expects(
    estimator: Any, check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if estimator.dtype == "float32":
        # One check compares training on weighted rows with training on repeated ones to 1e-7, the rounding of
        # a single float32. A hundred steps of it add up to some 1e-5.
        monkeypatch.setattr(
            estimator_checks,
            "assert_allclose_dense_sparse",
            functools.partial(estimator_checks.assert_allclose_dense_sparse, rtol=1e-4, atol=1e-6),
        )
    check(estimator)
