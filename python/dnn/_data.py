"""Data: the x, y and row weights of one call, checked together and copied into the extension's memory.

Also parts validation rows from training rows. Never writes to users' arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnn import _arrays, _checks, _core, _targets
from dnn._core import Rows
from dnn._targets import Targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dnn._arrays import Map
    from dnn._losses import Task


class Data(NamedTuple):
    """What the extension reads: copies, on which the user has no hold."""

    x: Rows
    y: Rows | NDArray[np.int64]
    sample_weight: NDArray[np.float64] | None


class Source(NamedTuple):
    """The user's arrays, their shapes checked against each other, their values not yet."""

    x: NDArray[Any]
    y: Targets
    sample_weight: Any
    names: tuple[str, str, str]
    # How blocks of x and y are changed on their way into the copies.
    x_map: Map | None = None
    y_map: Map | None = None

    @property
    def n_inputs(self) -> int:
        return int(self.x.shape[1])

    def copy(self, dtype: str, picked: NDArray[np.int64] | None = None) -> Data:
        """All rows, or those `picked`, converted to `dtype` with every value checked."""
        weight = self.weights(picked)
        y = _targets.copy(self.y, dtype, picked, self.y_map)
        return Data(_arrays.rows(self.x, self.names[0], dtype, picked, map=self.x_map), y, weight)

    def weights(self, picked: NDArray[np.int64] | None = None) -> NDArray[np.float64] | None:
        """The weights of all rows, or of those `picked`, checked."""
        if self.sample_weight is None:
            return None
        return _arrays.row_weights(self.sample_weight, self.names[2], len(self.x), picked)


NAMES = ("x", "y", "sample_weight")
_VALIDATION_NAMES = ("validation_data[0]", "validation_data[1]", "validation_data[2]")


def source(
    x: Any,
    y: Any,
    sample_weight: Any,
    *,
    n_inputs: int | None,
    task: Task,
    names: tuple[str, str, str] = NAMES,
) -> Source:
    """The arrays of one call; `n_inputs` None if the network takes any width."""
    table = _arrays.table(x, names[0], n_inputs)
    targets = _targets.read(y, names[1], len(table), task, x_name=names[0])
    return Source(table, targets, sample_weight, names)


def divided(
    given: Source, validation_split: Any, validation_data: Any, *, dtype: str, seed: int
) -> tuple[Data, Data | None]:
    """Training and validation rows of a fit: by `validation_data`, by `validation_split`, or none."""
    fraction = _checks.number(validation_split, "validation_split", at_least=0.0, below=1.0)
    if validation_data is not None:
        if fraction:
            raise ValueError("validation_split and validation_data are both given; pass one of them")
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            what = type(validation_data).__name__
            if isinstance(validation_data, (tuple, list)):
                what += f" of {len(validation_data)}"
            raise TypeError(f"validation_data must be (x, y) or (x, y, sample_weight), got a {what}")
        x, y, *weight = validation_data
        validation = source(
            x,
            y,
            weight[0] if weight else None,
            n_inputs=given.n_inputs,
            task=given.y.task,
            names=_VALIDATION_NAMES,
        )._replace(x_map=given.x_map, y_map=given.y_map)
        return given.copy(dtype), validation.copy(dtype)
    if not fraction:
        return given.copy(dtype), None
    training_rows, validation_rows = split(len(given.x), fraction, _targets.classes(given.y), seed)
    return given.copy(dtype, training_rows), given.copy(dtype, validation_rows)


def training_rows(
    given: Source, validation_split: Any, validation_data: Any, seed: int
) -> NDArray[np.int64] | None:
    """The rows that `divided` trains on; None for all."""
    fraction = _checks.number(validation_split, "validation_split", at_least=0.0, below=1.0)
    if validation_data is not None or not fraction:
        return None
    return split(len(given.x), fraction, _targets.classes(given.y), seed)[0]


def split(
    n_rows: int, fraction: float, classes: NDArray[np.int64] | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers for training and for validation, each in rising order; the same for the same seed.

    With `classes` (rows,) every class is parted in the same proportion, to within one row.
    """
    if n_rows < 2:
        raise ValueError("validation_split needs at least 2 rows, but x has 1; pass validation_data instead")
    n_validation = min(max(1, round(n_rows * fraction)), n_rows - 1)
    order = _core.shuffled(n_rows, seed)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    # Evenly spaced places of the shuffled rows, which lie class by class.
    places = ((np.arange(n_validation) + 0.5) * n_rows / n_validation).astype(np.int64)
    is_validation = np.zeros(n_rows, dtype=bool)
    is_validation[order[places]] = True
    return np.flatnonzero(~is_validation), np.flatnonzero(is_validation)
