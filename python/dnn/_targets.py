"""Targets: what y may look like for each loss. A user's y comes in, labels or rows for the extension go out.

Nothing is ever broadcast: y has one row for each row of x, and one column for each output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnn import _arrays, _checks
from dnn._checks import counted
from dnn._core import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dnn._arrays import Map
    from dnn._losses import Task

# How far the probabilities of a row may be from 1 in sum: room for float16 and for rounded tables.
_SUM_TOLERANCE = 1e-3


class Targets(NamedTuple):
    """y with its shape checked: `values` is (rows,) int64 labels, or (rows, outputs) of the user's type."""

    values: NDArray[Any]
    task: Task
    name: str

    @property
    def are_labels(self) -> bool:
        return self.values.ndim == 1

    @property
    def are_any_numbers(self) -> bool:
        """Whether the loss takes any numbers, so that they may be scaled."""
        return not self.are_labels and self.task.targets not in _CHECKS


def read(value: Any, name: str, n_rows: int, task: Task, x_name: str = "x") -> Targets:
    """`value` as the targets of `n_rows` rows."""
    n_targets = task.n_targets
    if _has_strings(value):
        raise TypeError(
            f"{name} has strings; labels are numbers 0, 1, ...: classes, {name} = np.unique({name}, "
            "return_inverse=True)"
        )
    array = _arrays.numeric(value, name)
    if array.ndim not in (1, 2):
        raise ValueError(
            f"{name} is {array.ndim}-D with shape {array.shape}, but needs (rows,) or (rows, outputs)"
        )
    if len(array) != n_rows:
        raise ValueError(
            f"{x_name} has {counted(n_rows, 'row')}, but {name} has {len(array)}; they must be the same rows"
        )
    if task.takes_labels and (array.ndim == 1 or array.shape[1] == 1):
        return Targets(_labels(array.reshape(-1), name, n_targets), task, name)
    if array.ndim == 1 and n_targets == 1:
        array = array.reshape(-1, 1)
    if array.shape != (n_rows, n_targets):
        _refuse_shape(array, name, task)
    return Targets(array, task, name)


def readable(targets: Targets, dtype: str, n_threads: int = 1, map: Map | None = None) -> Rows | NDArray[Any]:
    """The targets for the extension to read, every value checked."""
    if targets.are_labels:
        return _arrays.apart(targets.values)
    loss = targets.task.loss.name
    check = _CHECKS.get(targets.task.targets)
    if check is None:
        return _arrays.readable(targets.values, targets.name, dtype, n_threads=n_threads, map=map)

    def check_block(block: NDArray[Any], start: int) -> None:
        found = check(block, loss)
        if found is not None:
            raise ValueError(f"{targets.name} at row {start + found[0]} {found[1]}")

    return _arrays.readable(targets.values, targets.name, dtype, check_block, n_threads, map)


def classes(targets: Targets) -> NDArray[np.int64] | None:
    """The class of each row where the loss is one of classes, to split the rows evenly; None otherwise."""
    values = targets.values
    if targets.are_labels:
        return values
    if targets.task.takes_labels:
        return np.asarray(np.argmax(values, axis=1), dtype=np.int64)
    if targets.task.targets in ("unit", "signs") and values.shape[1] == 1:
        middle = 0.5 if targets.task.targets == "unit" else 0.0
        return np.asarray(values[:, 0] > middle, dtype=np.int64)
    return None


def class_weights(targets: Targets, class_weight: Any, name: str) -> NDArray[np.float64]:
    """The weight of each row by its class: `class_weight` is a dict of labels, "balanced" or an array."""
    of_row = classes(targets)
    if of_row is None:
        raise ValueError(
            f"class_weight needs one class for each row, but {name} has other targets for loss "
            f"{targets.task.loss.name!r} with {counted(targets.task.n_outputs, 'output')}; use sample_weight"
        )
    _refuse_soft(targets, name)
    n_classes = targets.task.n_outputs if targets.task.takes_labels else 2
    labels = [-1, 1] if targets.task.targets == "signs" else list(range(n_classes))
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight must be a dict, an array or 'balanced', got {class_weight!r}")
        counts = np.bincount(of_row, minlength=n_classes)
        present = counts > 0
        weights = np.where(present, len(of_row) / (present.sum() * np.maximum(counts, 1)), 1.0)
    elif isinstance(class_weight, Mapping):
        weights = np.ones(n_classes)
        for label, weight in class_weight.items():
            if isinstance(label, (bool, str)) or label not in labels:
                raise ValueError(
                    f"class_weight has the label {label!r}, but labels are {labels[0]}..{labels[-1]}"
                    if n_classes > 2
                    else f"class_weight has the label {label!r}, but labels are {labels[0]} and {labels[1]}"
                )
            title = f"class_weight[{label!r}]"
            weights[labels.index(label)] = _checks.number(weight, title, at_least=0.0)
    else:
        weights = _arrays.exact(class_weight, "class_weight", (n_classes,), "float64")
        if (weights < 0).any():
            at = int(np.flatnonzero(weights < 0)[0])
            raise ValueError(
                f"class_weight has {weights[at]:g} for class {labels[at]}; weights are 0 or more"
            )
    rows: NDArray[np.float64] = weights[of_row]
    if not rows.any():
        raise ValueError("class_weight is zero for all classes that are there; give one of them a weight")
    return rows


def _refuse_soft(targets: Targets, name: str) -> None:
    """ValueError for rows that are several classes at once: those have no weight of one of them."""
    values = targets.values
    if targets.are_labels or targets.task.targets == "signs":
        return
    soft = np.flatnonzero(((values != 0) & (values != 1)).any(axis=1))
    if len(soft):
        row = values[soft[0]]
        raise ValueError(
            f"class_weight needs one class for each row, but {name} has {_row(row)} at row {soft[0]}, which "
            "is a share of several; weigh the rows with sample_weight, or round them to labels"
            + (", and smooth these with CrossEntropy(label_smoothing=0.1)" if len(row) > 1 else "")
        )


def _has_strings(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(isinstance(item, str) for item in value)
    dtype = getattr(value, "dtype", None)
    if getattr(dtype, "kind", None) == "O":
        flat = np.asarray(value).reshape(-1)
        return len(flat) > 0 and isinstance(flat[0], str)
    return getattr(dtype, "kind", None) in ("U", "S", "T")


def _labels(array: NDArray[Any], name: str, n_classes: int) -> NDArray[np.int64]:
    """`array` (rows,) as labels 0 to n_classes - 1, in memory of our own."""
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.floor(array))
        if not np.all(whole):
            bad = np.flatnonzero(~whole)
            raise ValueError(
                f"{name} has {counted(len(bad), 'label')} that "
                f"{'are' if len(bad) > 1 else 'is'} not a whole number, the first {array[bad[0]]!s} at row "
                f"{bad[0]}; labels are 0, 1, ...; for numbers to approximate use another output than "
                "softmax, with loss='mse'"
            )
    low, high = int(array.min()), int(array.max())
    if low < 0:
        at = int(np.flatnonzero(array < 0)[0])
        raise ValueError(
            f"{name} has label {int(array[at])} at row {at}; labels count from 0 to {n_classes - 1}: "
            f"classes, {name} = np.unique({name}, return_inverse=True)"
        )
    if high >= n_classes:
        cure = (
            f"give it {high + 1}"
            if high - low >= n_classes
            else f"give it {high + 1}, or count from 0 ({name} - {low})"
        )
        if high - low > 10 * n_classes:
            cure = f"number the classes from 0: classes, {name} = np.unique({name}, return_inverse=True)"
        raise ValueError(
            f"{name} has labels {low}..{high}, but the last layer has {counted(n_classes, 'output')}; "
            f"{cure}; if these are numbers to approximate, use an output without softmax and loss='mse'"
        )
    return array.astype(np.int64)


def _refuse_shape(array: NDArray[Any], name: str, task: Task) -> None:
    loss, n_outputs = task.loss, task.n_outputs
    given = f"{name} has shape {array.shape}, but the last layer has {counted(n_outputs, 'output')}"
    need = f"({len(array)}, {task.n_targets})"
    if loss.heads > 1:
        raise ValueError(
            f"{given}, {loss.heads} for each target, as loss {loss.name!r} needs; pass {name} as {need}, or "
            f"give the last layer {loss.heads} units for each column of {name}"
        )
    if task.takes_labels:
        raise ValueError(f"{given}; pass labels of shape ({len(array)},) or probabilities of shape {need}")
    if array.ndim == 1 and array.dtype.kind in "iub":
        raise ValueError(
            f"{given}, and loss {loss.name!r} needs {need}; for class labels give the last layer "
            f"activation='softmax' and {counted(int(array.max()) + 1, 'unit')}, with loss='cross_entropy'"
        )
    width = 1 if array.ndim == 1 else array.shape[1]
    raise ValueError(f"{given}; give the last layer {counted(width, 'unit')}, or pass {name} as {need}")


def _probabilities(block: NDArray[Any], loss: str) -> tuple[int, str] | None:
    sums = block.sum(axis=1, dtype=np.float64)
    bad = np.flatnonzero((np.abs(sums - 1.0) > _SUM_TOLERANCE) | (block.min(axis=1) < 0))
    if not len(bad):
        return None
    row = int(bad[0])
    return row, (
        f"has {_row(block[row])}, which isn't a distribution: loss {loss!r} needs probabilities, 0 "
        "or more, that sum to 1; for several yes-or-no answers per row use activation='sigmoid' and "
        "loss='binary_cross_entropy'"
    )


def _zero_to_one(block: NDArray[Any], loss: str) -> tuple[int, str] | None:
    bad = np.argwhere((block < 0) | (block > 1))
    if not len(bad):
        return None
    value = block[tuple(bad[0])]
    return int(bad[0, 0]), (
        f"has {value:g}, but loss {loss!r} needs targets from 0 to 1; for targets -1 and 1 "
        "use (y + 1) / 2, for numbers to approximate an identity output with loss='mse'"
    )


def _plus_or_minus_one(block: NDArray[Any], loss: str) -> tuple[int, str] | None:
    bad = np.argwhere(np.abs(block) != 1)
    if not len(bad):
        return None
    value = block[tuple(bad[0])]
    return int(
        bad[0, 0]
    ), f"has {value:g}, but hinge losses need targets -1 and 1; for 0 and 1 pass 2 * y - 1"


def _refuse_where(bad: NDArray[Any], block: NDArray[Any], need: str) -> tuple[int, str] | None:
    places = np.argwhere(bad)
    if not len(places):
        return None
    return int(places[0, 0]), f"has {block[tuple(places[0])]:g}, but {need}"


def _not_negative(block: NDArray[Any], loss: str) -> tuple[int, str] | None:
    return _refuse_where(
        block < 0, block, f"loss {loss!r} needs targets of 0 or more; use loss='mse' or 'huber'"
    )


def _positive(block: NDArray[Any], loss: str) -> tuple[int, str] | None:
    need = f"loss {loss!r} needs targets above 0; with zeros among them use Tweedie(1.5)"
    return _refuse_where(block <= 0, block, need)


def _not_zero(block: NDArray[Any], loss: str) -> tuple[int, str] | None:
    need = f"loss {loss!r} divides by the target, which must not be 0; use loss='mae'"
    return _refuse_where(block == 0, block, need)


def _row(values: NDArray[Any]) -> str:
    text = ", ".join(f"{value:g}" for value in values[:4])
    return f"[{text}{', ...' if len(values) > 4 else ''}]"


# By `Task.targets`.
_CHECKS: dict[str, Callable[[NDArray[Any], str], tuple[int, str] | None]] = {
    "distribution": _probabilities,
    "unit": _zero_to_one,
    "signs": _plus_or_minus_one,
    "not_negative": _not_negative,
    "positive": _positive,
    "not_zero": _not_zero,
}
