"""The estimators MLPClassifier and MLPRegressor, which take the place of scikit-learn's.

The only part of the package that imports scikit-learn; it is imported itself when an estimator is asked for.
"""

from dnn._estimators._classifier import MLPClassifier
from dnn._estimators._regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
