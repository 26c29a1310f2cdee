"""check_estimator, scikit-learn's own examination of an estimator, with no expected failure and no skip.

A few checks skip themselves, for want of a method or of a setting. They have to do so for scikit-learn's own
MLP, for the same reason; then there is nothing that these estimators lack.
"""

from __future__ import annotations

import functools
import unittest
from typing import Any

import dnn
import pytest

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils import estimator_checks

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
    # Checks that pass what is not quite an array, on purpose.
    pytest.mark.filterwarnings("ignore:A column-vector y was passed"),
]


CHECKS = estimator_checks.parametrize_with_checks(
    [
        dnn.MLPClassifier(max_iter=100),
        dnn.MLPRegressor(max_iter=100),
        dnn.MLPClassifier(max_iter=100, dtype="float32"),
        dnn.MLPRegressor(max_iter=100, dtype="float32"),
        dnn.MLPClassifier(max_iter=100, solver="lbfgs", class_weight="balanced"),
        dnn.MLPRegressor(max_iter=10, solver="sgd", activation=["tanh"], n_threads=2),
    ]
).mark


# Before scikit-learn 1.9 the checks come from a generator, which pytest will not take for ever.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
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
    why = _skips_itself(check, estimator)
    if why is not None:
        theirs = MLPClassifier() if isinstance(estimator, dnn.MLPClassifier) else MLPRegressor()
        assert _skips_itself(check, theirs) == why


def _skips_itself(check: Any, estimator: Any) -> str | None:
    """Why the check of an estimator skips itself; None where it does not."""
    try:
        check(estimator)
    except unittest.SkipTest as skipped:
        return str(skipped)
    return None
