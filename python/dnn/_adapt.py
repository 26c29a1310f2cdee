"""Adapting a model to its data: how columns are scaled, and what they are called.

Learns from data without training; what is learned is the model's preparation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dnn import _arrays, _data
from dnn._compiling import Compilable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Adaptable(Compilable):
    """A model that may scale its data."""

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The names of the columns of x, if the first `fit` was given a DataFrame with names; else None."""
        return self._preparation.feature_names

    def adapt(
        self, x: ArrayLike, y: ArrayLike | None = None, *, sample_weight: ArrayLike | None = None
    ) -> None:
        """Learn how to scale, from these rows; for a model with `scale` or `scale_target`.

        The first `fit` does so by itself, from its training rows; this is for training by `train_on_batch`,
        or to learn from other rows. What was learned before is replaced.

        Parameters
        ----------
        x : array (rows, n_inputs)
        y : array, optional
            Needed with `scale_target`.
        sample_weight : array (rows,), optional
            A weight of 2 is as good as the row twice.

        Raises
        ------
        TypeError, ValueError
            If an argument is refused, or there is nothing to learn; the model is then as before.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(1)], scale="standard")
        >>> model.adapt([[1.0], [3.0]])
        >>> model.set_weights([[[1.0]], [0.0]])
        >>> model.predict([[1.0], [2.0], [3.0]]).tolist()
        [[-1.0], [0.0], [1.0]]
        """
        preparation = self._preparation.named(x)._replace(x=None, y=None)
        if preparation.is_ready:
            raise ValueError("the model scales nothing; make it with scale='standard' or scale_target=...")
        if y is None and preparation.scale_target is not None:
            raise ValueError("scale_target needs y to learn from: adapt(x, y)")
        table = _arrays.table(x, "x", self.n_inputs)
        # Without y, any targets will do: they are not looked at.
        task = self._task("mse" if y is None else None)
        targets = np.zeros((len(table), task.n_targets)) if y is None else y
        source = _data.source(table, targets, sample_weight, n_inputs=self.n_inputs, task=task)
        self._preparation = preparation.fitted(source, lambda: None)
