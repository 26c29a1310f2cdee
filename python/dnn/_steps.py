"""Steps: one batch at a time, and measuring. Calls that may come every few microseconds.

What a call has to find out is kept for the next one, and arrays are read as they are where they can be.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from dnn import _data, _optimizer, _spec, _threads, _training, _warn
from dnn._inspection import Inspectable
from dnn._schedule import Span

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from dnn._core import Network
    from dnn._data import Data
    from dnn._loss import Loss
    from dnn._losses import Task
    from dnn._optimizer import Optimizer


class Known(NamedTuple):
    """What a step or a measurement had to find out, for the next one: it holds for the same objects."""

    loss: Loss
    optimizer: Optimizer
    metrics: tuple[Any, ...]
    compiled: tuple[str, str] | None
    task: Task
    # On the wire: the step, if its rate is a number, and the metrics.
    step: str | None
    measured: str


def _warned(found: dict[str, float]) -> dict[str, float]:
    """What was measured, with a warning where the loss is no number."""
    if not math.isfinite(found["loss"]):
        _warn.warn(
            f"evaluate gives a loss of {found['loss']}, and metrics that mean nothing: outputs or losses are "
            "too large for the type of the model. Train with a smaller learning rate, scale x and y, or use "
            "dtype='float64'",
            RuntimeWarning,
        )
    return found


class Steppable(Inspectable):
    """Base of `Sequential`: single steps, and measurements."""

    def train_on_batch(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> dict[str, float]:
        """One step on these rows as one batch.

        Parameters
        ----------
        x, y, sample_weight, n_threads
            As for `fit`.

        Returns
        -------
        dict of str to float
            "loss" and the metrics, before the update.

        Raises
        ------
        TypeError, ValueError
            If an argument is refused, or loss or gradients are not finite; the model is then as before.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(1)])
        >>> model.set_weights([[[2.0]], [0.0]])
        >>> model.compile(dnn.SGD(0.5))
        >>> model.train_on_batch([[1.0]], [5.0])
        {'loss': 9.0}
        >>> model.predict([[1.0]])
        array([[8.]], dtype=float32)
        """
        threads = _threads.count(n_threads)
        ready = None if sample_weight is not None else self._short_way(x, y, threads)
        if ready is not None:
            known, network, data = ready
            if known.step is not None and not self._turns.is_training:
                return network.train_on_batch(*data, known.step, known.measured, threads)
        # Those of the moment: another thread may compile the model with others.
        asked = loss, optimizer, metrics = self.loss, self._optimizer, self._metrics
        source = _data.source(x, y, sample_weight, n_inputs=self.n_inputs, task=self._task(loss))
        data = self._preparation.named(x).of(source).ready(self._dtype)
        with self._turns.changing("train_on_batch", self._network):
            network = self._network or self._new_network(source.n_inputs)
            with self._ready_to_train(network, loss, optimizer, data.x, threads):
                rate = optimizer.learning_rate
                if not isinstance(rate, float):
                    (rate,) = _optimizer.rates_of(rate, Span(network.steps, 1), self._state_of_rate())
                step, functions = _spec.step(rate, optimizer), _training.functions(metrics)
                found = network.train_on_batch(*data, step, _spec.metrics(metrics), threads, functions)
        self._find_out(*asked)
        return found

    def evaluate(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> dict[str, float]:
        """Loss and metrics on these rows, without training.

        Parameters
        ----------
        x, y, sample_weight, n_threads
            As for `fit`.

        Returns
        -------
        dict of str to float
            "loss" and the metrics.

        Raises
        ------
        RuntimeError
            If the model has no weights yet.
        TypeError, ValueError
            If an argument is refused.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(1)])
        >>> model.set_weights([[[2.0]], [0.0]])
        >>> model.evaluate([[1.0], [2.0]], [2.0, 5.0])
        {'loss': 0.5}
        """
        threads = _threads.count(n_threads)
        ready = None if sample_weight is not None else self._short_way(x, y, threads)
        if ready is not None:
            known, network, data = ready
            return _warned(network.evaluate(*data, known.measured, threads))
        asked = loss, optimizer, metrics = self.loss, self._optimizer, self._metrics
        network, data = self._measurable(x, y, sample_weight, loss, optimizer)
        wire, functions = _spec.metrics(metrics), _training.functions(metrics)
        found = network.evaluate(*data, wire, threads, functions)
        self._find_out(*asked)
        return _warned(found)

    def _find_out(self, loss: Loss, optimizer: Optimizer, metrics: tuple[Any, ...]) -> None:
        """Remember what the call that has just ended had to find out for these."""
        if self._scales or loss.is_function or self._is_of_now(self._known):
            return
        if _training.functions(metrics) is not None:
            return
        compiled = self._compiled
        if compiled != (_spec.loss(loss), _spec.optimizer(optimizer)):
            return  # another thread has compiled the model
        rate = optimizer.learning_rate
        step = _spec.step(rate, optimizer) if isinstance(rate, float) else None
        self._known = Known(
            loss, optimizer, metrics, compiled, self._task(loss), step, _spec.metrics(metrics)
        )

    def _is_of_now(self, known: Known | None) -> bool:
        return (
            known is not None
            and (known.loss is self._loss or (self._loss is None and known.loss == self.loss))
            and known.optimizer is self._optimizer
            and known.metrics is self._metrics
            and known.compiled is self._compiled
        )

    def _short_way(self, x: Any, y: Any, n_threads: int) -> tuple[Known, Network, Data] | None:
        """What a call needs whose arrays are as they should be, and whose questions were asked before."""
        known, network = self._known, self._network
        if known is None or network is None or self._awaits_data or not self._is_of_now(known):
            return None
        data = _data.as_they_are(x, y, network.n_inputs, self._dtype, known.task, n_threads)
        return None if data is None else (known, network, data)
