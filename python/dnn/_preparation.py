"""Preparation: how columns are scaled on their way into a network, and predictions on their way out.

Users' tables come in, means and scales go out; the model keeps them and its file holds them. They come from
training rows alone, in float64, block by block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnn import _arrays, _checks
from dnn._checks import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dnn._data import Source
    from dnn._losses import Task

    Float = NDArray[np.float64]
    Picked = NDArray[np.int64] | None

KINDS = ("standard", "robust")


class Scaling(NamedTuple):
    """(x - center) / scale, for each column."""

    center: Float
    scale: Float

    def apply(self, block: NDArray[Any]) -> NDArray[Any]:
        """`block` (rows, columns) scaled, as float64."""
        scaled = block.astype(np.float64)
        with np.errstate(under="ignore"):
            scaled -= self.center
            scaled /= self.scale
        return scaled

    def undo(self, block: NDArray[Any]) -> None:
        """Turn `block`, of scaled numbers, into what they were; in place."""
        with np.errstate(over="ignore", under="ignore"):  # who asked is told, see Sequential.predict
            block[:] = block.astype(np.float64) * self.scale + self.center


class Preparation(NamedTuple):
    """What was asked for, and what is known by now."""

    scale: str | None = None
    scale_target: str | None = None
    x: Scaling | None = None
    y: Scaling | None = None
    feature_names: tuple[str, ...] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether everything that was asked for is known."""
        return not self.lacks_x and not self.lacks_y

    @property
    def lacks_x(self) -> bool:
        return self.scale is not None and self.x is None

    @property
    def lacks_y(self) -> bool:
        return self.scale_target is not None and self.y is None

    def named(self, x: Any, name: str = "x") -> Preparation:
        """With the names of the columns of `x`, if it has some; refused if they are not those known."""
        names = _arrays.column_names(x)
        if names is None or names == self.feature_names:
            return self
        if self.feature_names is None:
            return self._replace(feature_names=names)
        missing = [name for name in self.feature_names if name not in names]
        unknown = [name for name in names if name not in self.feature_names]
        if not missing and not unknown:
            raise ValueError(
                f"{name} has the columns of the training data in another order; "
                f"pass {name}[list(model.feature_names)]"
            )
        told = [f"lacks {_few(missing)}"] if missing else []
        told += [f"has {_few(unknown)}, which the training data had not"] if unknown else []
        raise ValueError(f"{name} {' and '.join(told)}; its columns must be those of model.feature_names")

    def fitted(self, source: Source, rows: Callable[[], Picked]) -> Preparation:
        """With what is lacking learned from the rows `rows()` (None: all) of `source`."""
        if self.is_ready:
            return self
        picked = rows()
        weight = source.weights(picked)
        found = self
        if self.scale is not None and self.x is None:
            found = found._replace(x=_SCALERS[self.scale](source.x, source.names[0], picked, weight))
        if self.scale_target is not None and self.y is None:
            if not source.y.are_any_numbers:
                loss = source.y.task.loss.name
                raise ValueError(
                    f"scale_target is for regression, but the loss is {loss!r}, whose targets can't be "
                    "scaled; leave it out, or pass loss='mse'"
                )
            scaler = _SCALERS[self.scale_target]
            found = found._replace(y=scaler(source.y.values, source.names[1], picked, weight))
        return found

    def of(self, source: Source) -> Source:
        """`source`, whose copies will be scaled. RuntimeError if it is not known how."""
        self.must_be_ready()
        self._must_be_for(source.y.task)
        return source._replace(
            x_map=None if self.x is None else self.x.apply, y_map=None if self.y is None else self.y.apply
        )

    def outputs(self, task: Task) -> Scaling:
        """How outputs come from what a network predicts, where targets are scaled."""
        assert self.y is not None, "the caller has looked"
        self._must_be_for(task)
        center, scale = self.y
        if task.loss.name == "gaussian_nll":
            # The means, then the logarithms of the variances.
            return Scaling(
                np.concatenate([center, 2.0 * np.log(scale)]), np.concatenate([scale, np.ones(len(scale))])
            )
        heads = task.n_outputs // len(center)  # several quantiles of each target
        return Scaling(np.tile(center, heads), np.tile(scale, heads))

    def _must_be_for(self, task: Task) -> None:
        """ValueError if targets were scaled for a loss with another number of them."""
        if self.y is not None and len(self.y.center) != task.n_targets:
            known, here = (counted(n, "target") for n in (len(self.y.center), task.n_targets))
            raise ValueError(
                f"scale_target has learned the scale of {known}, but the loss {task.loss.name!r} on "
                f"{counted(task.n_outputs, 'output')} has {here}; call adapt(x, y) to learn it anew"
            )

    def must_be_ready(self) -> None:
        """RuntimeError if something that was asked for is not known yet."""
        if not self.is_ready:
            raise RuntimeError(
                "the model scales its data, and does not know yet by how much: fit it, or call adapt(x, y)"
            )

    def fits(self, n_inputs: int, n_outputs: int) -> bool:
        """Whether it belongs to a network of this size; for what comes from a file."""
        n_targets = n_outputs if self.y is None else len(self.y.center)
        pairs = [(self.x, n_inputs), (self.y, n_targets)]
        return (n_targets > 0 and n_outputs % n_targets == 0) and all(
            scaling is None
            or (
                scaling.center.shape == scaling.scale.shape == (n,)
                and bool(np.isfinite(scaling.center).all())
                and bool((np.isfinite(scaling.scale) & (scaling.scale > 0)).all())
            )
            for scaling, n in pairs
        )


def asked(scale: Any, scale_target: Any) -> Preparation:
    """The arguments of a model, checked."""
    for name, kind in (("scale", scale), ("scale_target", scale_target)):
        if kind is not None and (not isinstance(kind, str) or kind not in KINDS):
            error = ValueError if isinstance(kind, str) else TypeError
            raise error(f"{name} must be 'standard', 'robust' or None, got {_checks.shown(kind)}")
    return Preparation(scale, scale_target)


def _standard(array: NDArray[Any], name: str, picked: Picked, weight: Float | None) -> Scaling:
    """Mean and standard deviation: those of scikit-learn's StandardScaler, constant columns included."""
    n_columns = array.shape[1]
    total = float(_count(array, picked)) if weight is None else float(weight.sum())

    def weighed(center: Float, power: int) -> Float:
        result = np.zeros(n_columns)
        for start, block in _arrays.finite_blocks(array, name, "float64", picked):
            terms = (block - center) ** power
            if weight is not None:
                terms *= weight[start : start + len(block), None]
            result += terms.sum(axis=0)
        return result

    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mean = weighed(np.zeros(n_columns), 1) / total
        # The second pass takes the rounding of the first out of the mean.
        rest = weighed(mean, 1) / total
        mean = mean + rest
        variance = weighed(mean, 2) / total
        # A column whose variance is rounding is constant; the bound is scikit-learn's.
        eps = np.finfo(np.float64).eps
        is_constant = np.isfinite(variance) & (variance <= total * eps * variance + (total * mean * eps) ** 2)
    return _checked(mean, np.where(is_constant, 1.0, np.sqrt(variance)), name)


def _robust(array: NDArray[Any], name: str, picked: Picked, weight: Float | None) -> Scaling:
    """Median and distance of the quartiles: those of scikit-learn's RobustScaler."""
    _arrays.refuse_non_finite(array, name, "float64", picked)
    n_columns, n_rows = array.shape[1], _count(array, picked)
    if weight is not None:
        keeps = weight > 0
        same_weight = bool(np.all(weight[keeps] == weight[keeps][0]))
    center, scale = np.zeros(n_columns), np.zeros(n_columns)
    step = max(1, _arrays.BLOCK_BYTES // (8 * n_rows))
    for first in range(0, n_columns, step):
        columns = slice(first, first + step)
        part = array[:, columns] if picked is None else array[picked, columns]
        values = part.astype(np.float64)
        if weight is None or same_weight:
            values = values if weight is None else values[keeps]
            center[columns] = np.median(values, axis=0)
            low, high = np.percentile(values, (25.0, 75.0), axis=0)
        else:
            low, center[columns], high = _weighted_quantiles(values[keeps], weight[keeps])
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            scale[columns] = high - low
    return _checked(center, np.where(scale < 10 * np.finfo(np.float64).eps, 1.0, scale), name)


def _weighted_quantiles(values: Float, weight: Float) -> tuple[Float, Float, Float]:
    """The quartiles of columns whose rows weigh differently.

    The smallest value with at least that share of the weight at or below it, or the middle between it and the
    next where it has exactly that share: so a row of weight 2 counts as two rows.
    """
    order = np.argsort(values, axis=0, kind="stable")
    values = np.take_along_axis(values, order, axis=0)
    shares = np.cumsum(weight[order], axis=0)
    found = []
    for share in (0.25, 0.5, 0.75):
        # Cumulated weights are sums that round.
        wanted = share * shares[-1] * (1.0 - 8 * np.finfo(np.float64).eps)
        at = np.minimum((shares < wanted).sum(axis=0), len(values) - 1)
        columns = np.arange(values.shape[1])
        here = values[at, columns]
        exact = shares[at, columns] <= share * shares[-1] * (1.0 + 8 * np.finfo(np.float64).eps)
        after = values[np.minimum(at + 1, len(values) - 1), columns]
        found.append(np.where(exact, here + (after - here) / 2, here))
    return found[0], found[1], found[2]


def _count(array: NDArray[Any], picked: Picked) -> int:
    return len(array) if picked is None else len(picked)


def _checked(center: Float, scale: Float, name: str) -> Scaling:
    bad = np.flatnonzero(~(np.isfinite(center) & np.isfinite(scale)))
    if len(bad):
        raise ValueError(
            f"{name} has numbers in column {bad[0]} that are too large to be scaled: their mean or their "
            "spread overflows; divide them first"
        )
    return Scaling(center, scale)


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:4])) + (", ..." if len(names) > 4 else "")


_SCALERS: dict[str, Callable[[NDArray[Any], str, Picked, Any], Scaling]] = {
    "standard": _standard,
    "robust": _robust,
}
