"""Scores of an epoch: what scikit-learn's accuracy_score and r2_score give, without their checks.

Targets and predictions come in as arrays that are known to fit; they are asked for after every epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def accuracy(truth: NDArray[Any], predicted: NDArray[Any], weights: NDArray[np.float64] | None) -> float:
    """Share of the rows that are right in every column; truth and predicted are (rows,) or (rows, labels)."""
    right = truth == predicted
    if right.ndim == 2:
        right = right.all(axis=1)
    return float(np.average(right, weights=weights))


def r2(truth: NDArray[Any], predicted: NDArray[Any], weights: NDArray[np.float64] | None) -> float:
    """1 - sum of (t - y)^2 / sum of (t - mean of t)^2, mean over the columns; both are (rows, outputs).

    A constant target counts 1 where it is met and 0 elsewhere. NaN if an output is not finite.
    """
    if not np.isfinite(predicted).all():
        return float("nan")
    truth = truth.astype(np.float64, copy=False)
    weight = np.ones(len(truth)) if weights is None else weights
    mean = np.average(truth, axis=0, weights=weight)
    off = weight @ (truth - predicted) ** 2
    spread = weight @ (truth - mean) ** 2
    scores = np.where(off == 0, 1.0, 0.0)
    varies = (off != 0) & (spread != 0)
    scores[varies] = 1.0 - off[varies] / spread[varies]
    return float(scores.mean())
