"""Compilable: loss, optimizer and metrics of a model, and how it is made ready to train.

Neither trains nor predicts. Whoever asks for what can't be done finds the model as it was.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from dnn import _data, _losses, _optimizers, _spec, _training
from dnn._base import Model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dnn._called import LossCallable, MetricCallable
    from dnn._core import Compiled, Network
    from dnn._data import Data
    from dnn._loss import Loss
    from dnn._metrics import Metric
    from dnn._optimizer import Optimizer


# What a training may change of a model before the extension has agreed to it.
_CHANGED = (
    "_network",
    "_loss",
    "_optimizer",
    "_metrics",
    "_preparation",
    "_compiled",
    "_lent",
    "_awaits_data",
    "_rate_state",
    "_callback_states",
    "_stops",
)


class Compilable(Model):
    """Base of `Sequential`: what it learns by."""

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss | LossCallable | None = None,
        metrics: Sequence[str | Metric | MetricCallable] = (),
    ) -> None:
        """Choose optimizer, loss and metrics. Weights stay; momentum and its like start anew.

        Optional: `fit` takes the same arguments, and there are defaults.

        Parameters
        ----------
        optimizer : str or an optimizer such as SGD(0.1), default "adam"
            sgd, adam, adamw, rmsprop, adagrad, adadelta, adamax, nadam, lion, lamb, radam, rprop, muon or
            lbfgs have the default settings of `SGD`, `Adam` and so on.
        loss : str, a loss such as Huber(delta=1.0), or callable, optional
            A name in docs/losses.md, such as mse, huber, cross_entropy, binary_cross_entropy or poisson. None
            is cross_entropy for a softmax output, binary_cross_entropy for sigmoid and mse otherwise. A
            function f(y_true, y_pred) -> (loss, gradient) is a loss of your own, and slower.
        metrics : list of str, metrics such as TopK(3), or callables, default ()
            What else is measured: names in docs/metrics.md, such as accuracy, f1, auc, mae or r2, or
            functions f(y_true, y_pred) -> float of all rows of an epoch, which may take `sample_weight` as
            well.

        Raises
        ------
        TypeError, ValueError
            If a name is unknown, or the loss does not fit the activation of the last layer.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(16, "relu"), dnn.Dense(3, "softmax")])
        >>> model.compile(dnn.SGD(0.1, momentum=0.9), metrics=["accuracy"])
        >>> model.loss
        CrossEntropy(label_smoothing=0.0)
        """
        task = _losses.task(loss, self._output, self.n_outputs)
        resolved = (task.loss, _optimizers.resolve(optimizer), _training.metrics(metrics, task))
        with self._turns.changing("compile", self._network):
            if self._turns.is_training:
                raise RuntimeError("compile: the model is training")
            if self._network is not None:
                # The same choice again still starts momentum anew; one that is refused changes nothing.
                compiled, self._compiled = self._compiled, None
                try:
                    self._compile_network(self._network, *resolved[:2])
                except BaseException:
                    self._compiled = compiled
                    raise
                self._rate_state = None
            self._loss, self._optimizer, self._metrics = resolved

    def _compile_network(self, network: Network, loss: Loss, optimizer: Optimizer) -> Compiled | None:
        """Compile `network`, unless it already is with these: its optimizer's state would be lost.

        What it was compiled with before comes back, to be put back by `network.undo`.
        """
        told = self._told
        if told is None or told[0] != loss or told[1] is not optimizer:
            # Neither object ever changes.
            self._told = told = loss, optimizer, (_spec.loss(loss), _spec.optimizer(optimizer))
        wire = told[2]
        function = loss.called()
        with self._turns.compiling():
            is_other = function is not None and loss != self._lent
            replaced = None
            is_new = network is not self._network or wire != self._compiled
            if is_new or (is_other and self._lent is not None):
                replaced = network.compile(*wire, function)
                self._compiled = wire
            elif is_other:
                network.lend(function)  # a file has none
            self._lent = loss if function is not None else None
            return replaced

    @contextlib.contextmanager
    def _ready_to_train(
        self, network: Network, loss: Loss, optimizer: Optimizer, x: _data.Table, n_threads: int
    ) -> Iterator[None]:
        """`network` in its place, compiled and with weights scaled by x if they have to be.

        Where the extension refuses what is asked of it in the `with`, all is put back as it was; not where
        it has done it, and Ctrl-C came then.
        """
        trainings = network.trainings
        before = {name: getattr(self, name) for name in _CHANGED}
        replaced, weights = None, None
        try:
            replaced = self._compile_network(network, loss, optimizer)
            self._network = network
            if self._awaits_data:
                weights = network.weights()
                network.unit_variance(x, n_threads)
                self._awaits_data = False
            yield
        except BaseException:
            if network.trainings != trainings:
                raise
            vars(self).update(before)
            if self._network is network:
                if replaced is not None:
                    network.undo(replaced)
                elif self._lent is not None:
                    network.lend(self._lent.called())
                if weights is not None:
                    network.set_weights(weights)
            raise

    def _measurable(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
    ) -> tuple[Network, Data]:
        """The network, compiled, and the data of a call that needs a loss but doesn't train."""
        network, loss = self._built(), loss or self.loss
        source = _data.source(x, y, sample_weight, n_inputs=network.n_inputs, task=self._task(loss))
        data = self._preparation.named(x).of(source).ready(self._dtype)
        with self._turns.compiling():
            # What a `fit` of another thread has compiled is what it trains with.
            if not (self._turns.is_training and self._compiled is not None):
                self._compile_network(network, loss, optimizer or self._optimizer)
        return network, data
