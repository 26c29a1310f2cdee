"""Data: the x, y and row weights of one call, checked together and made ready for the extension to read.

Also parts validation rows from training rows, by their numbers. Never writes to users' arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnn import _arrays, _checks, _core, _targets
from dnn._core import Rows
from dnn._targets import Targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dnn._arrays import Map
    from dnn._losses import Task

    Table = Rows | NDArray[Any] | tuple[Rows | NDArray[Any], NDArray[np.uint32]]


class Data(NamedTuple):
    """What the extension reads: the user's arrays as they are, or rows of its own; maybe some rows only."""

    x: Table
    y: Table | NDArray[np.int64]
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

    def ready(self, dtype: str, n_threads: int = 1) -> Data:
        """All rows, for a network of `dtype` to read, every value checked."""
        (data,) = self.parted(dtype, [None], n_threads)
        return data

    def parted(self, dtype: str, parts: Sequence[NDArray[np.int64] | None], n_threads: int = 1) -> list[Data]:
        """The same for each part, which has the rows of these numbers, or all."""
        weights = [self.weights(picked) for picked in parts]
        y = _targets.readable(self.y, dtype, n_threads, self.y_map)
        x = _arrays.readable(self.x, self.names[0], dtype, n_threads=n_threads, map=self.x_map)
        return [
            Data(_picked(x, picked), self._picked_targets(y, picked), weight)
            for picked, weight in zip(parts, weights, strict=True)
        ]

    def weights(self, picked: NDArray[np.int64] | None = None) -> NDArray[np.float64] | None:
        """The weights of all rows, or of those `picked`, checked."""
        if self.sample_weight is None:
            return None
        return _arrays.row_weights(self.sample_weight, self.names[2], len(self.x), picked)

    def _picked_targets(self, y: Rows | NDArray[Any], picked: NDArray[np.int64] | None) -> Any:
        if not self.y.are_labels:
            return _picked(y, picked)
        return y if picked is None else self.y.values[picked]


def _picked(table: Rows | NDArray[Any], rows: NDArray[np.int64] | None) -> Table:
    return table if rows is None else (table, rows.astype(np.uint32))


def as_they_are(x: Any, y: Any, n_inputs: int, dtype: str, task: Task, n_threads: int) -> Data | None:
    """The arrays as they are, if `source` would make the same of them; None where it has to look closer."""
    if type(x) is not np.ndarray or x.ndim != 2 or not _arrays.is_plain(x, dtype):
        return None
    rows = len(x)
    if rows == 0 or x.shape[1] != n_inputs or type(y) is not np.ndarray or y.ndim == 0 or len(y) != rows:
        return None
    if task.takes_labels:
        # A negative label is a large one without a sign.
        is_fit = (
            y.ndim == 1
            and y.dtype == np.int64
            and y.flags.aligned
            and y.view(np.uint64).max() < task.n_outputs
        )
    else:
        y = y.reshape(-1, 1) if y.ndim == 1 else y
        is_fit = (
            task.targets == "any" and y.shape == (rows, task.n_targets) and _arrays.is_plain(y, dtype)
        ) and _arrays.is_finite(y, n_threads)
    return Data(x, y, None) if is_fit and _arrays.is_finite(x, n_threads) else None


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


def with_class_weight(given: Source, class_weight: Any) -> Source:
    """`given` with its rows weighted by their classes as well."""
    _, y_name, weight_name = given.names
    weights = _targets.class_weights(given.y, class_weight, y_name)
    if given.sample_weight is not None:
        of_rows = _arrays.row_weights(given.sample_weight, weight_name, len(given.x))
        with np.errstate(over="ignore", under="ignore"):  # a sum that is not finite is refused
            weights = weights * of_rows
    return given._replace(sample_weight=weights)


def divided(
    given: Source,
    validation_split: Any,
    validation_data: Any,
    *,
    dtype: str,
    seed: int,
    n_threads: int = 1,
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
        return given.ready(dtype, n_threads), validation.ready(dtype, n_threads)
    if not fraction:
        return given.ready(dtype, n_threads), None
    parts = split(len(given.x), fraction, _targets.classes(given.y), seed)
    training, held_out = given.parted(dtype, parts, n_threads)
    return training, held_out


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


def count(data: Data) -> int:
    """How many rows `data` has."""
    if isinstance(data.x, tuple):
        return len(data.x[1])
    return int(data.x.shape[0])
