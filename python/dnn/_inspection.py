"""Inspection: what happens inside a model, layer by layer: z and a, deltas, gradients and their check.

Reads the model; never changes its weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnn import _arrays, _checks, _threads, _weights
from dnn._adapt import Adaptable
from dnn._core import Network

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Trace(NamedTuple):
    """One layer at work: `z` = x W + b and `a` = f(z), each (rows, units)."""

    z: NDArray[Any]
    a: NDArray[Any]


class GradientCheck(NamedTuple):
    """How far the gradients are from central differences of the loss.

    `largest` is the worst of `differences`, which has a title and a relative difference for each array of
    weights: the largest difference over the largest gradient of that array (or a thousandth of the largest of
    all, if that is more, so that arrays whose gradients vanish don't report rounding).
    """

    largest: float
    differences: list[tuple[str, float]]
    step: float

    def __str__(self) -> str:
        lines = [f"largest relative difference {self.largest:.1e} (central differences, step {self.step:g})"]
        width = max(len(title) for title, _ in self.differences)
        return "\n".join(
            [*lines, *(f"  {title.ljust(width)}  {worst:.1e}" for title, worst in self.differences)]
        )

    def __repr__(self) -> str:
        return str(self)


class Inspectable(Adaptable):
    """A model that can be looked into."""

    def forward(self, x: ArrayLike, *, n_threads: int | None = None) -> list[Trace]:
        """Every layer's z and a for the rows of x.

        Parameters
        ----------
        x : array (rows, n_inputs)
        n_threads : int, optional

        Returns
        -------
        list of (z, a)
            Named tuples of arrays (rows, units), first layer first; the last `a` is the prediction.

        Raises
        ------
        RuntimeError
            If the model has no weights yet.
        TypeError, ValueError
            If x is refused.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(1, "relu")])
        >>> model.set_weights([[[2.0], [-3.0]], [0.5]])
        >>> (layer,) = model.forward([[1.0, 1.0]])
        >>> float(layer.z[0, 0]), float(layer.a[0, 0])
        (-0.5, 0.0)
        """
        network = self._built()
        preparation = self._preparation.named(x)
        preparation.must_be_ready()
        map = None if preparation.x is None else preparation.x.apply
        rows = _arrays.rows(_arrays.table(x, "x", network.n_inputs), "x", self._dtype, map=map)
        return [Trace(z, a) for z, a in network.trace(rows, _threads.count(n_threads))]

    def loss_and_gradients(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> tuple[float, list[NDArray[Any]]]:
        """The loss of these rows as one batch, and its derivative for every weight; both with l1 and l2.

        Parameters
        ----------
        x : array (rows, n_inputs)
        y : array
            As for `fit`.
        sample_weight : array (rows,), optional
        n_threads : int, optional

        Returns
        -------
        loss : float
        gradients : list of ndarray
            In the order and shapes of `get_weights`.

        Raises
        ------
        RuntimeError
            If the model has no weights yet.
        TypeError, ValueError
            If x, y or the weights are refused.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(1)])
        >>> model.set_weights([[[2.0]], [0.0]])
        >>> loss, gradients = model.loss_and_gradients([[3.0]], [5.0])
        >>> loss, [array.tolist() for array in gradients]
        (1.0, [[[6.0]], [2.0]])
        """
        network, data = self._measurable(x, y, sample_weight)
        return network.loss_and_gradients(*data, _threads.count(n_threads))

    def deltas(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> list[NDArray[Any]]:
        """dL/dz of every layer, (rows, units) each, first layer first.

        Arguments and errors are those of `loss_and_gradients`.

        Deltas that shrink from the last layer to the first by orders of magnitude are the vanishing gradient;
        deltas that grow are the exploding one.

        Returns
        -------
        list of ndarray

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(1)])
        >>> model.set_weights([[[2.0]], [0.0]])
        >>> model.deltas([[3.0]], [5.0])[0].tolist()
        [[2.0]]
        """
        network, data = self._measurable(x, y, sample_weight)
        return network.deltas(*data, _threads.count(n_threads))

    def input_gradients(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any]:
        """dL/dx, of the shape of x. Arguments and errors are those of `loss_and_gradients`.

        Returns
        -------
        ndarray of shape (rows, n_inputs)

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(1)])
        >>> model.set_weights([[[2.0]], [0.0]])
        >>> model.input_gradients([[3.0]], [5.0]).tolist()
        [[4.0]]
        """
        network, data = self._measurable(x, y, sample_weight)
        return network.input_gradients(*data, _threads.count(n_threads))

    def check_gradients(
        self, x: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, step: float = 1e-6
    ) -> GradientCheck:
        """Compare gradients with central differences: (L(p + step) - L(p - step)) / (2 step) for each p.

        Takes two losses for every parameter, so use a small network and few rows. Expect less than 1e-6; near
        the kink of relu and its like more, since the difference reaches across it.

        Parameters
        ----------
        x, y, sample_weight
            As for `loss_and_gradients`.
        step : float, default 1e-6
            From 1e-10 to 0.01.

        Returns
        -------
        GradientCheck
            `largest`, and `differences` for each array of weights; reads well when printed.

        Raises
        ------
        RuntimeError
            If the model has no weights yet.
        TypeError, ValueError
            If the model is float32, whose differences are mostly rounding, or an argument is refused.

        Examples
        --------
        >>> import dnn
        >>> layers = [dnn.Input(2), dnn.Dense(3, "tanh"), dnn.Dense(1)]
        >>> model = dnn.Sequential(layers, seed=1, dtype="float64")
        >>> model.check_gradients([[0.1, 0.2], [0.3, -0.4]], [1.0, -1.0]).largest < 1e-6
        True
        """
        if self._dtype != "float64":
            raise ValueError(
                "check_gradients needs a model of dtype float64, as differences in float32 are mostly "
                "rounding; make it with Sequential(..., dtype='float64')"
            )
        step = _checks.number(step, "step", at_least=1e-10, at_most=0.01)
        network, data = self._measurable(x, y, sample_weight)
        _, gradients = network.loss_and_gradients(*data, 1)
        numeric = network.numeric_gradients(*data, step)
        return self._compared(network, gradients, numeric, step)

    def _compared(
        self, network: Network, gradients: list[NDArray[Any]], numeric: list[NDArray[Any]], step: float
    ) -> GradientCheck:
        sizes = [max(np.abs(g).max(), np.abs(n).max()) for g, n in zip(gradients, numeric, strict=True)]
        # An exact zero everywhere, as of a network that is all dead, agrees with itself.
        floor = max(1e-3 * max(sizes), np.finfo(np.float64).tiny)
        differences = []
        for slot, g, n, size in zip(
            _weights.slots(self._layers, network.n_inputs), gradients, numeric, sizes, strict=True
        ):
            if not slot.is_parameter:
                continue
            differences.append((slot.title, float(np.abs(g - n).max() / max(size, floor))))
        return GradientCheck(max(worst for _, worst in differences), differences, step)
