"""Sequential: a network from top to bottom, trained, evaluated and asked.

Users' arguments come in and are checked; the extension computes. No formula stands here.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from dnn import (
    _callbacks,
    _data,
    _optimizers,
    _order,
    _prediction,
    _progress,
    _spec,
    _threads,
    _training,
    _warn,
)
from dnn._history import DivergenceWarning, History, history_of, last_of
from dnn._steps import Steppable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from dnn._averaging import Averaging
    from dnn._callbacks import Callback, EarlyStopping
    from dnn._called import LossCallable, MetricCallable
    from dnn._core import Network
    from dnn._loss import Loss
    from dnn._metrics import Metric
    from dnn._optimizer import Optimizer


class Sequential(Steppable):
    """A dense network: layers one after the other.

    Parameters
    ----------
    layers : list of layers such as Dense
        First to last; the last one is the output. An `Input(n)` may stand in front.
    seed : int, optional
        0 or more: the source of all that is random. The same seed gives the same bits, for any number of
        threads. None draws one, which `model.seed` tells.
    dtype : {"float32", "float64"}, default "float32"
        Type of weights, and of all computation.
    precision : {"highest", "high", "medium", "strict"}, default "highest"
        How exact the products of training are. "highest": as exact as `dtype`; on processors with AMX, in
        networks with a layer of four million weights, three numbers of bfloat16 stand for each factor of
        large products in float32, and hold all of it. "medium": factors of float32 may be rounded to bfloat16
        (relative error of a product 2e-3), with sums, weights and all else in float32; 1.5 to 4 times as fast
        where layers are wide, on processors with AVX512-BF16 or AMX. "high": factors may be two numbers of
        bfloat16 each (4e-6), on processors with AMX. Both are as "highest" on others, and with L-BFGS.
        "strict": fused multiply-adds, with the same bits on all instruction sets.
        `predict` and `evaluate` are exact with each, and `History.arithmetic` tells what a `fit` did.
    isa : {"scalar", "avx2", "avx512", "amx", "scalar-amx"}, optional
        Instruction set. None takes DNN_ISA, or the fastest this machine has. "amx" is AVX-512, and tiles for
        every precision but "strict"; "scalar" and "scalar-amx" are plain code with the same results.
    scale : {"standard", "robust"}, optional
        How the columns of x are scaled on their way in: by mean and standard deviation, or by median and
        distance of the quartiles, as scikit-learn's StandardScaler and RobustScaler do. Learned from the
        training rows of the first `fit`, or by `adapt`, and kept in the model and its file.
    scale_target : {"standard", "robust"}, optional
        The same for y, in regression. Losses and metrics are then those of scaled targets; `predict` gives
        numbers as y had them.

    Attributes
    ----------
    history : History or None
        Of the last `fit`.
    stop_training : bool
        A callback sets it to True to stop.

    Raises
    ------
    TypeError, ValueError
        If the layers don't make a network, or an argument is refused.
    MemoryError
        If a layer is too large for memory.

    Examples
    --------
    >>> import dnn
    >>> x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    >>> model = dnn.Sequential([dnn.Dense(8, "tanh"), dnn.Dense(1, "sigmoid")], seed=1)
    >>> history = model.fit(x, y, batch_size="full", epochs=500, optimizer=dnn.Adam(0.05), verbose=0)
    >>> model.predict_classes(x)
    array([0, 1, 1, 0])
    """

    def fit(
        self,
        x: ArrayLike,
        y: ArrayLike,
        batch_size: int | str = 32,
        epochs: int = 1,
        *,
        validation_split: float = 0.0,
        validation_data: tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[int, float] | str | ArrayLike | None = None,
        shuffle: bool = True,
        order: ArrayLike | Callable[[int], ArrayLike] | None = None,
        callbacks: Sequence[Callback | Callable[[int, dict[str, float]], Any]] = (),
        verbose: int | str = "auto",
        tol: float | None = None,
        n_iter_no_change: int = 10,
        stop_at_loss: float | None = None,
        early_stopping: bool | int | EarlyStopping | None = None,
        max_time: float | None = None,
        initial_epoch: int = 0,
        accumulate: int = 1,
        averaging: Averaging | None = None,
        loss: str | Loss | LossCallable | None = None,
        optimizer: str | Optimizer | None = None,
        metrics: Sequence[str | Metric | MetricCallable] | None = None,
        n_threads: int | None = None,
    ) -> History:
        """Train on rows x and their targets y.

        A second fit goes on where the first one ended, with the state of its optimizer. Ctrl-C stops after
        the step at hand, or while validating, and raises KeyboardInterrupt; weights and `history` are there,
        and a fit can go on. So they are after an exception of a callback.

        Parameters
        ----------
        x : array (rows, n_inputs)
            Numbers of any type and layout, also a DataFrame or a memory map. Never written. Where x is
            C-contiguous and of the model's dtype it is read in place, so leave it alone until `fit` returns
            (what a callback changes is trained with); anything else is copied.
        y : array
            (rows, n_outputs), or (rows,) for one output. For cross_entropy integer labels (rows,) from 0, or
            probabilities (rows, classes); for hinge losses -1 and 1.
        batch_size : int or "full", default 32
            Rows for each step; "full" takes all of them (gradient descent), 1 is stochastic gradient descent,
            None is 32, as in Keras.
        epochs : int, default 1
            Passes over the data, counted from 0; with `initial_epoch` the number of the last one, plus one.
        validation_split : float, default 0.0
            Share of the rows kept for validation, at least 0 and below 1. Drawn by seed; in proportion to the
            classes.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Rows for validation instead.
        sample_weight : array (rows,), optional
            Weight of each row in loss and metrics, 0 or more. A weight of 2 is as good as the row twice. A
            batch whose rows all weigh 0 takes no step.
        class_weight : dict, "balanced" or array (classes,), optional
            Weight of each class, 0 or more, for targets that are of one class each: labels, or rows of zeros
            and a one. (Keras takes the most probable class of other rows; here they are refused.) A dict has
            weights by label (-1 and 1 for hinge losses; 1 for labels it leaves out), "balanced" weighs c by
            rows / (classes * rows of c) as scikit-learn does. The same, to the bit, as these weights for
            each row, multiplied with `sample_weight`: they also weigh the metrics, and the rows that
            `validation_split` keeps; `validation_data` has weights of its own.
        shuffle : bool, default True
            Whether rows come in a new order in every epoch.
        order : array (epochs, n) of int, or callable (epoch) -> array (n,), optional
            The numbers of the rows that each epoch takes, in this order, in place of shuffling; epochs are
            counted from 0. A row may come several times, or not at all; n is the same for all epochs, and at
            most the number of rows. Not together with `validation_split` or L-BFGS.
        callbacks : list of Callback or callable, default ()
            A plain function is called as f(epoch, logs) at the end of each epoch.
        verbose : {"auto", 0, 1, 2}, default "auto"
            0 is silent, 1 a bar, 2 a line for each epoch; on standard error. "auto" is a bar on terminals and
            in notebooks and silent elsewhere.
        tol : float, optional
            Stop when the training loss has not become lower than its lowest by more than `tol` for
            `n_iter_no_change` epochs in a row; 0 or more.
        n_iter_no_change : int, default 10
            Epochs that `tol` waits.
        stop_at_loss : float, optional
            Stop after an epoch whose training loss is at most this.
        early_stopping : bool, int or EarlyStopping, optional
            Stop when the validation loss gets no better: after 10 epochs (True), after so many, or as
            `EarlyStopping` says, which may stand among the callbacks instead, also several. With validation
            the best epoch's weights come back in any case, unless this is False.
        max_time : float, optional
            Stop after the epoch at whose end so many seconds are over, above 0: an epoch that has begun is
            finished.
        initial_epoch : int, default 0
            Number of the first epoch, to go on with a training. If it is `model.next_epoch`, also what was
            counted by `tol`, early stopping and callbacks goes on, so that the result has the bits of a
            training that never stopped.
        accumulate : int, default 1
            Batches whose gradients make one step together: as one batch so many times as large, but only
            `batch_size` rows go through the network at a time. The last step of an epoch takes what is left.
            Callbacks and rates count steps. To BatchNormalization each batch stays one of its own.
        averaging : EMA or SWA, optional
            Validate, and leave in the model, a mean of the weights over steps or epochs; `loss` and the
            metrics without val_ are still those of the weights that train.
        loss, optimizer, metrics : optional
            As for `compile`; None keeps what is there. State of the optimizer is kept if only its rate
            changes.
        n_threads : int, optional
            At most so many threads, from 1. None: see `set_num_threads`. Results don't depend on it.

        Returns
        -------
        History
            What each epoch measured, and why training ended.

        Warns
        -----
        DivergenceWarning
            If loss or gradients stopped being finite; the weights are the last finite ones.
        RuntimeWarning
            If the last validation loss is NaN or infinite, and training did not stop for that.

        Raises
        ------
        TypeError, ValueError
            If an argument is refused; the model is then as before.
        MemoryError
            If data or network are too large for memory.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(1)], seed=1)
        >>> x, y = [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]
        >>> history = model.fit(x, y, epochs=500, optimizer=dnn.SGD(0.1), verbose=0)
        >>> model.get_weights()[0].round(3).tolist()
        [[2.0]]
        """
        options = _training.options(
            batch_size=batch_size,
            epochs=epochs,
            initial_epoch=initial_epoch,
            shuffle=shuffle,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            stop_at_loss=stop_at_loss,
            max_time=max_time,
            accumulate=accumulate,
            n_threads=n_threads,
        )
        task = self._task(loss)
        chosen_loss = task.loss
        chosen_optimizer = self._optimizer if optimizer is None else _optimizers.resolve(optimizer)
        wanted = self._metrics if metrics is None else metrics
        chosen_metrics = _training.metrics(wanted, task)
        stoppers: list[EarlyStopping] = []
        listeners, level = _callbacks.checked(callbacks, stoppers), _progress.level(verbose)
        validates = validation_data is not None or bool(validation_split)
        stopping = _training.early_stopping(early_stopping, stoppers, chosen_metrics, validates)
        waits = _training.waiting(stoppers)
        source = _data.source(x, y, sample_weight, n_inputs=self.n_inputs, task=task)
        if class_weight is not None:
            source = _data.with_class_weight(source, class_weight)
        is_split, is_lbfgs = bool(validation_split), chosen_optimizer.name == "lbfgs"
        rows_in_order = _order.asked(order, len(source.x), options, is_split=is_split, is_lbfgs=is_lbfgs)
        average = _training.averaging(averaging, chosen_optimizer)
        preparation = self._preparation.named(x).fitted(
            source, lambda: _data.training_rows(source, validation_split, validation_data, self._seed)
        )
        training, validation = _data.divided(
            preparation.of(source),
            validation_split,
            validation_data,
            dtype=self._dtype,
            seed=self._seed,
            n_threads=options["n_threads"],
        )
        if validation_data is not None:
            preparation.named(validation_data[0], "validation_data[0]")
        _training.check_batches(self._layers, options["batch_size"])
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._turns.training())
            network = self._network or self._new_network(source.n_inputs)
            stack.enter_context(
                self._ready_to_train(network, chosen_loss, chosen_optimizer, training.x, options["n_threads"])
            )
            self._loss, self._optimizer, self._metrics = chosen_loss, chosen_optimizer, chosen_metrics
            self._preparation = preparation
            self.stop_training = False
            hook = _training.Hook(
                self,
                [*waits, *listeners],
                chosen_optimizer.learning_rate,
                level,
                options["initial_epoch"],
                options["epochs"],
                _data.count(training) if rows_in_order is None else rows_in_order.length,
                rows_in_order,
                _training.names_of_logs(chosen_metrics, validates),
            )
            wire = _spec.options(
                {
                    **options,
                    **hook.options,
                    "averaging": average,
                    **stopping,
                    "metrics": list(chosen_metrics),
                },
                chosen_optimizer,
            )
            measured = self._run(network, hook, training, validation, wire)
        measured = _training.told(measured, waits)
        self.history = history_of(measured)
        # Callbacks may raise when asked for it: what was trained is in its place by then.
        self._callback_states = hook.states()
        if measured["raised"] is not None:
            raise measured["raised"]
        if self.history.stopped_because == "interrupted":
            raise KeyboardInterrupt(self.history.message)
        if self.history.stopped_because == "diverged":
            _warn.warn(self.history.message, DivergenceWarning)
        _training.warn_of_validation(self.history)
        _training.warn_if_no_average(average, self.history)
        hook.train_end(last_of(self.history))
        return self.history

    def _run(
        self,
        network: Network,
        hook: _training.Hook,
        training: _data.Data,
        validation: _data.Data | None,
        wire: str,
    ) -> dict[str, Any]:
        """Train, while callbacks look on through `hook`; what the extension measured."""
        first = hook.first_epoch
        goes_on = first > 0 and first == network.next_epoch
        self._hook = hook
        try:
            if hook.train_begin(self._callback_states if goes_on else None):
                return _training.NOT_BEGUN
            functions = _training.functions(self._metrics)
            return network.fit(*training, validation, wire, hook if hook.is_needed else None, functions)
        finally:
            self._hook = None
            hook.close()

    def predict(
        self, x: ArrayLike, *, out: NDArray[Any] | None = None, n_threads: int | None = None
    ) -> NDArray[Any]:
        """The outputs for the rows of x. Those of a row don't depend on the rows beside it.

        Parameters
        ----------
        x : array (rows, n_inputs)
            Of any type and layout. C-contiguous rows of the model's dtype are read as they are and fastest;
            float32 and float64 of any layout are converted on the way, others by NumPy before.
        out : ndarray (rows, n_outputs), optional
            Where to write them: C-contiguous, of the model's dtype, apart from x.
        n_threads : int, optional
            At most so many threads.

        Returns
        -------
        ndarray of shape (rows, n_outputs)
            `out`, if given.

        Raises
        ------
        RuntimeError
            If the model has no weights yet.
        TypeError, ValueError
            If x or out is refused; out is then as before.

        Warns
        -----
        RuntimeWarning
            If outputs are NaN or infinite: too large for the model's dtype.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(1)])
        >>> model.set_weights([[[2.0]], [0.5]])
        >>> model.predict([[1.0], [2.0]])
        array([[2.5],
               [4.5]], dtype=float32)
        """
        network = self._network
        # Arrays that are as they should be take microseconds: not the place for many questions.
        if network is not None:
            scalings = self._scaled_by() if self._scales else None
            if n_threads is None and _threads.environment_is_checked:
                found = network.predict_ready(x, out, scalings, 0)  # `at_once` would take 0.2 us
                if found is None:
                    found = network.predict_ready(x, out, scalings, _threads.default()[0])
            else:
                found = _prediction.at_once(network.predict_ready, x, out, scalings, n_threads=n_threads)
            if found is not None:
                return found
        return _prediction.predicted(self, x, out, n_threads)

    def predict_classes(self, x: ArrayLike, *, n_threads: int | None = None) -> NDArray[np.int64]:
        """The class of each row of x: that of the largest output; of one output, which side it is on.

        Parameters
        ----------
        x, n_threads
            As for `predict`.

        Returns
        -------
        ndarray of int64, shape (rows,)
            The number of the largest output. For one sigmoid output 1 where it is above 0.5, else 0; for one
            output with a hinge loss 1 where it is above 0, else -1.

        Raises
        ------
        ValueError
            If the model has one output that tells no class.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(2, "softmax")])
        >>> model.set_weights([[[1.0, -1.0]], [0.0, 0.0]])
        >>> model.predict_classes([[3.0], [-3.0]])
        array([0, 1])
        """
        if self.n_outputs > 1:
            return _prediction.largest(self, x, n_threads)
        is_hinge = self.loss.name in ("hinge", "squared_hinge")
        if self._output != "sigmoid" and not is_hinge:
            raise ValueError(
                "predict_classes needs several outputs, one sigmoid output, or a hinge loss, but the model "
                f"has one {self._output!r} output and loss {self.loss.name!r}; use predict"
            )
        outputs = self.predict(x, n_threads=n_threads)
        if is_hinge:
            return np.asarray(np.where(outputs[:, 0] > 0, 1, -1), dtype=np.int64)
        return np.asarray(outputs[:, 0] > 0.5, dtype=np.int64)


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a model that `Sequential.save` wrote; the same as `Sequential.load`.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    Sequential

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it is not a model file, or damaged.

    Examples
    --------
    >>> import dnn, os, tempfile
    >>> model = dnn.Sequential([dnn.Input(2), dnn.Dense(1)], seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.dnn")
    ...     model.save(path)
    ...     dnn.load(path)
    <Sequential 2-1, float32, seed 1>
    """
    return Sequential.load(path)
