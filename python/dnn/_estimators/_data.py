"""Data of a fit: what is minimised, targets as the network takes them, rows that tell when to stop.

Arrays come in that are checked; nothing is trained here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from dnn import _arrays, _checks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dnn._core import Rows
    from dnn._estimators._settings import Settings
    from dnn._loss import Loss


class Goal(NamedTuple):
    """What is minimised: a loss of ours, and by which factors it becomes scikit-learn's."""

    output: str
    loss: Loss
    gradient_factor: float = 1.0
    loss_factor: float = 1.0
    told_besides: float = 0.0


class Targets(NamedTuple):
    """y as the network takes it: `values` are labels (rows,) of int64, or (rows, outputs).

    `truth` is what a score compares with: numbers of classes (rows,), or (rows, outputs).
    """

    values: NDArray[Any]
    n_outputs: int
    truth: NDArray[Any]

    def copy(self, dtype: str, picked: NDArray[np.int64] | None) -> Rows | NDArray[Any]:
        """All rows, or those `picked`, for the extension to read."""
        if self.values.ndim == 1:
            return self.values if picked is None else self.values[picked]
        return _arrays.readable(self.values if picked is None else self.values[picked], "y", dtype)


class Validation(NamedTuple):
    """Rows that tell when to stop: as a scorer takes them, and as the network does."""

    X: Any
    y: Any
    sample_weight: NDArray[np.float64] | None
    inputs: NDArray[Any]
    truth: NDArray[Any]


def row_weights(given: Any, n_rows: int, name: str) -> NDArray[np.float64] | None:
    """The weight of each row, where some are given; one number is that of every row."""
    if given is None:
        return None
    if np.isscalar(given):
        given = np.full(n_rows, given)
    return _arrays.row_weights(given, name, n_rows)


def of_classes(given: Mapping[Any, float], classes: NDArray[Any]) -> NDArray[np.float64]:
    """The weight of each class, 1 for those that `given` leaves out: as compute_class_weight has it."""
    known = set(classes)
    left_out = [name for name, label in zip(classes.tolist(), classes, strict=True) if label not in given]
    unknown = [label for label in given if label not in known]
    if left_out and unknown:
        raise ValueError(
            f"class_weight has the labels {_checks.shown(unknown)}, which are no classes, and leaves out the "
            f"classes {_checks.shown(left_out)}; give these a weight, or take the others out"
        )
    return np.fromiter((given.get(label, 1.0) for label in classes), np.float64)


def split(
    settings: Settings,
    targets: Targets,
    stratify: NDArray[Any] | None,
    n_rows: int,
    rng: np.random.RandomState,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers for training and for validation: scikit-learn's for the same random state."""
    training, held = train_test_split(
        np.arange(n_rows), random_state=rng, test_size=settings.validation_fraction, stratify=stratify
    )
    if len(held) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
        )
    return training, held
