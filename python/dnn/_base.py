"""Model: layers, seed and weights, and how they are built, read, set, copied and saved.

Neither trains nor predicts. Everything is checked before anything changes, so that a refused call leaves the
model as it was.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dnn import (
    _checks,
    _core,
    _layers,
    _losses,
    _optimizers,
    _preparation,
    _spec,
    _training,
    _weights,
)
from dnn._core import Network, Scalings
from dnn._layers import Dense
from dnn._schedule import Schedule
from dnn._summary import Summary
from dnn._turns import Turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from dnn._called import MetricCallable
    from dnn._history import History
    from dnn._layers import Input, Layer
    from dnn._loss import Loss
    from dnn._metrics import Metric
    from dnn._optimizer import Optimizer, Rate
    from dnn._preparation import Preparation
    from dnn._schedule import State
    from dnn._steps import Known

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_core.forked)

DTYPES = ("float32", "float64")
PRECISIONS = ("highest", "high", "medium", "strict")


class Model:
    """Base of `Sequential`: what it is made of, and its weights."""

    # What was put on the wire last, and how; what the last step or measurement found out; and what the
    # extension scales by, and what that was made of. Found anew where it is not there, as after a pickle.
    _told: tuple[Loss, Optimizer, tuple[str, str]] | None = None
    _known: Known | None = None
    _scalings: tuple[Preparation, Loss | None, Scalings] | None = None

    def __init__(
        self,
        layers: Sequence[Input | Layer],
        *,
        seed: int | None = None,
        dtype: str = "float32",
        precision: str = "highest",
        isa: str | None = None,
        scale: str | None = None,
        scale_target: str | None = None,
    ) -> None:
        n_inputs, self._layers = _layers.checked(layers)
        # 63 bits, so that a seed is an integer in every file format.
        drawn = int.from_bytes(os.urandom(8), "little") >> 1
        self._seed = drawn if seed is None else _checks.integer(seed, "seed", 0)
        self._dtype = _dtype(dtype)
        self._precision = _choice(precision, "precision", PRECISIONS)
        self._isa = None if isa is None else _instruction_set(isa)
        self._preparation = _preparation.asked(scale, scale_target)
        self._scales = scale is not None or scale_target is not None
        self._optimizer = _optimizers.resolve("adam")
        # The schedule that reacts to what epochs measure, and its state; see `_state_of_rate`.
        self._rate_state: tuple[Rate, State] | None = None
        self._loss: Loss | None = None
        self._metrics: tuple[Any, ...] = ()
        # The loss and optimizer that the network was compiled with, on the wire, and the function it was
        # lent.
        self._compiled: tuple[str, str] | None = None
        self._lent: Loss | None = None
        self._network = None if n_inputs is None else self._new_network(n_inputs)
        # Whether the first training still has to scale weights by its data.
        self._awaits_data = _weights.scale_by_data(self._layers)
        # What callbacks have counted in the last fit, and the hook of the one that is running.
        self._callback_states: list[tuple[str, dict[str, Any]]] = []
        self._hook: _training.Hook | None = None
        self.history: History | None = None
        self._stops = False
        self._turns = Turns()

    # What was said

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, first to last."""
        return self._layers

    @property
    def seed(self) -> int:
        """The seed of initial weights, shuffling and splits; drawn afresh if none was given."""
        return self._seed

    @property
    def dtype(self) -> str:
        """float32 or float64: the type of weights and predictions."""
        return self._dtype

    @property
    def precision(self) -> str:
        """How exact training is: highest, high, medium or strict."""
        return self._precision

    @property
    def isa(self) -> str:
        """The instruction set in use: scalar, avx2, avx512, amx or scalar-amx."""
        if self._network is not None:
            return self._network.isa
        return self._isa or _core.default_isa()

    @property
    def n_inputs(self) -> int | None:
        """Columns of x; None until the first `fit` or `set_weights`, without `Input(n)`."""
        return None if self._network is None else self._network.n_inputs

    @property
    def n_outputs(self) -> int:
        """Units of the last layer."""
        return _layers.n_outputs(self._layers)

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases. RuntimeError while the number of inputs isn't known."""
        return self._built().n_parameters

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of the last `compile` or `fit`; Adam at first."""
        return self._optimizer

    @property
    def stop_training(self) -> bool:
        """Whether training ends with the epoch that it is in; a callback or any other thread may set it."""
        return self._stops

    @stop_training.setter
    def stop_training(self, stops: bool) -> None:
        self._stops = bool(stops)
        if self._network is not None:
            self._network.stop(self._stops)

    @property
    def learning_rate(self) -> Rate:
        """The rate of the optimizer: a number, or what gives one. Setting it keeps the optimizer's state.

        While the model trains, the next epoch is the first with a new rate.

        Raises
        ------
        RuntimeError
            If it is set while another thread trains the model; a callback may set it.
        TypeError, ValueError
            If it is set to something that is no rate, or the optimizer is `LBFGS`, which has none.
        """
        return self._optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: Rate) -> None:
        if any(field.name == "learning_rate" and not field.init for field in fields(self._optimizer)):
            name = type(self._optimizer).__name__
            raise ValueError(f"{name} finds its step by itself and has no learning rate to set")
        with self._turns.changing("learning_rate", self._network):
            self._optimizer = replace(self._optimizer, learning_rate=rate)

    def _state_of_rate(self) -> State:
        """The state of a schedule that reacts, as it was left; as at the beginning for another schedule."""
        rate = self._optimizer.learning_rate
        if not isinstance(rate, Schedule):
            return {}
        if self._rate_state is None or self._rate_state[0] != rate:
            self._rate_state = (rate, rate.begin())
        return self._rate_state[1]

    @property
    def next_epoch(self) -> int:
        """The number of the epoch with which training goes on: `fit(..., initial_epoch=model.next_epoch)`.

        That of the last finished epoch of the last `fit`, plus one; 0 before the first and after `compile`.
        """
        return 0 if self._network is None else self._network.next_epoch

    @property
    def loss(self) -> Loss:
        """The loss of the last `compile` or `fit`; at first what fits the output."""
        return self._loss or _losses.resolve(None, self._output)

    @property
    def metrics(self) -> tuple[str | Metric | MetricCallable, ...]:
        """The metrics of the last `compile` or `fit`, as they were given."""
        return self._metrics

    @property
    def _output(self) -> str:
        return self._layers[-1].output

    def _scaled_by(self) -> Scalings | None:
        """What predictions are scaled by; None if by nothing. RuntimeError if it is not known yet."""
        if not self._scales:
            return None
        # Those of the moment: another thread may put others in their place.
        made, preparation, loss = self._scalings, self._preparation, self._loss
        if made is None or made[0] is not preparation or made[1] is not loss:
            preparation.must_be_ready()
            outputs = None if preparation.y is None else preparation.outputs(self._task(loss))
            self._scalings = made = preparation, loss, Scalings(preparation.x, outputs)
        return made[2]

    def _task(self, loss: object = None) -> _losses.Task:
        """What `loss`, or by default the one there is, asks of targets."""
        return _losses.task(self.loss if loss is None else loss, self._output, self.n_outputs)

    def summary(self) -> Summary:
        """A table of the layers, with the number of parameters.

        Returns
        -------
        Summary
            Its `str` and `repr` are the table; a notebook shows it as one.

        Examples
        --------
        >>> import dnn
        >>> dnn.Sequential([dnn.Input(2), dnn.Dense(16, "relu"), dnn.Dense(1)]).summary()
        layer    output shape  activation  parameters  trainable
        --------------------------------------------------------
        Input    (rows, 2)                          0
        Dense 1  (rows, 16)    relu                48  yes
        Dense 2  (rows, 1)     identity            17  yes
        --------------------------------------------------------
        65 parameters, 65 of them trainable
        """
        return Summary(self._layers, self.n_inputs)

    def __repr__(self) -> str:
        dense = [layer for _, layer, _ in _layers.placed(self._layers, None) if isinstance(layer, Dense)]
        widths = "-".join(str(layer.units) for layer in dense)
        inputs = "?" if self.n_inputs is None else self.n_inputs
        precision = "" if self._precision == "highest" else f"precision {self._precision!r}, "
        return f"<{type(self).__name__} {inputs}-{widths}, {self._dtype}, {precision}seed {self._seed}>"

    # Weights

    def _new_network(self, n_inputs: int) -> Network:
        """A network of these layers with initial weights; the model itself is left alone."""
        spec = _spec.network(
            self._layers, seed=self._seed, dtype=self._dtype, precision=self._precision, isa=self._isa
        )
        network = Network(spec, n_inputs)
        if _weights.has_arrays(self._layers):
            network.set_weights(_weights.initial(self._layers, n_inputs, network.weights(), self._dtype))
        return network

    def _built(self) -> Network:
        """The network. RuntimeError if there is none yet."""
        if self._network is None:
            raise RuntimeError(
                "the model has no weights yet, since the number of inputs isn't known: fit it, call "
                "set_weights, or put Input(n) in front of its layers"
            )
        return self._network

    def get_weights(self) -> list[NDArray[Any]]:
        """Copies of all weights, layer by layer: W (n_in, units), then b (units,) where there is a bias.

        Slopes of prelu follow those of their layer. A normalisation has gamma and beta (units,);
        `BatchNormalization` also the running mean and variance: Keras's order. What is within a `Residual`
        comes in its place.

        Returns
        -------
        list of ndarray

        Raises
        ------
        RuntimeError
            If the number of inputs is not known yet.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Input(2), dnn.Dense(3)])
        >>> [array.shape for array in model.get_weights()]
        [(2, 3), (3,)]
        """
        return self._built().weights()

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Set all weights; all or, if one is refused, none. State of the optimizer stays.

        Parameters
        ----------
        weights : list of arrays
            In the order and shapes of `get_weights`. Before the first fit the first one tells the number of
            inputs.

        Raises
        ------
        TypeError, ValueError
            If an array is missing, has the wrong shape, or has values that are not finite.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(1)])
        >>> model.set_weights([[[2.0], [3.0]], [0.5]])
        >>> model.predict([[1.0, 1.0]])
        array([[5.5]], dtype=float32)
        """
        with self._turns.changing("set_weights", self._network):
            arrays = _weights.checked(weights, self._layers, self.n_inputs, self._dtype)
            network = self._network or self._new_network(len(arrays[0]))
            network.set_weights(arrays)
            self._network, self._awaits_data = network, False

    @property
    def flat_parameters(self) -> NDArray[Any]:
        """All parameters as one vector: the arrays of `get_weights`, row by row; set it to change them.

        Running means and variances of `BatchNormalization` are not among them.
        """
        network = self._built()
        slots = _weights.slots(self._layers, network.n_inputs)
        pairs = zip(slots, network.weights(), strict=True)
        return np.concatenate([array.reshape(-1) for slot, array in pairs if slot.is_parameter])

    @flat_parameters.setter
    def flat_parameters(self, values: ArrayLike) -> None:
        network = self._built()
        slots = _weights.slots(self._layers, network.n_inputs)
        given = _weights.unflattened(values, [slot for slot in slots if slot.is_parameter], self._dtype)
        parameters = iter(given)
        with self._turns.changing("flat_parameters", self._network):
            pairs = zip(slots, network.weights(), strict=True)
            network.set_weights([next(parameters) if slot.is_parameter else array for slot, array in pairs])
            self._awaits_data = False

    # Copies and files

    def save(self, path: str | os.PathLike[str], optimizer: bool = True) -> None:
        """Write the model to a file: layers, weights, loss, optimizer and how far training has come.

        The file is complete or not there at all: it is written beside its place, flushed to disk, then moved.
        If that fails, the old file stays. Arrays given as initializers are not kept, as the weights are.

        Parameters
        ----------
        path : str or path
            Where to. A file that is there is replaced.
        optimizer : bool, default True
            Whether state that only training needs is written: that of the optimizer, of shuffling, and what
            early stopping and callbacks have counted. With it, going on equals never having stopped; without,
            the file is smaller.

        Raises
        ------
        RuntimeError
            If the model has no weights yet, or another thread trains it and its optimizer is to be saved.
        OSError
            If the file can't be written.

        Examples
        --------
        >>> import dnn, os, tempfile
        >>> model = dnn.Sequential([dnn.Input(2), dnn.Dense(1)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.dnn")
        ...     model.save(path)
        ...     same = dnn.load(path)
        >>> bool((same.flat_parameters == model.flat_parameters).all())
        True
        """
        keeps_state = _checks.boolean(optimizer, "optimizer")
        self._built().save(_path(path), self._description(keeps_state=keeps_state), keeps_state)

    def _description(self, *, keeps_state: bool = True) -> str:
        """What a file says about the model beside its network."""
        network = self._built()
        states = self._callback_states if self._hook is None else self._hook.states()
        described = _spec.Described(
            layers=self._layers,
            seed=self._seed,
            dtype=self._dtype,
            precision=self._precision,
            isa=self._isa,
            loss=self._loss,
            optimizer=self._optimizer,
            metrics=self._metrics,
            is_compiled=keeps_state and self._compiled is not None,
            callbacks=states if keeps_state else [],
            rate_state=self._state_of_rate() if keeps_state else {},
            preparation=self._preparation,
        )
        steps = network.steps if callable(self._optimizer.learning_rate) else 0
        return _spec.to_file(described, steps)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model that `save` wrote.

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
        """
        data = _spec.content(_path(path))
        try:
            network, extra = Network.from_bytes(data)
            return cls._revived(network, _spec.from_file(extra))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{os.fspath(path)!r} can't be loaded: {error}") from error

    @classmethod
    def _revived(cls, network: Network, said: _spec.Described) -> Self:
        """The model that a file describes, around its network; ValueError where the two don't agree."""
        model = cls.__new__(cls)
        Model.__init__(
            model,
            said.layers,
            seed=said.seed,
            dtype=said.dtype,
            precision=said.precision,
            isa=said.isa,
            scale=said.preparation.scale,
            scale_target=said.preparation.scale_target,
        )
        n_parameters = sum(
            slot.size for slot in _weights.slots(said.layers, network.n_inputs) if slot.is_parameter
        )
        described = (model.dtype, model.n_outputs, n_parameters)
        if (network.dtype, network.n_outputs, network.n_parameters) != described:
            raise ValueError("its description does not fit its weights")
        if not said.preparation.fits(network.n_inputs, network.n_outputs):
            raise ValueError("its scaling does not fit its weights")
        model._preparation = said.preparation
        task = _losses.task(said.loss, model._output, model.n_outputs)
        loss = task.loss
        model._loss = None if said.loss is None else loss
        model._optimizer = said.optimizer
        model._rate_state = (said.optimizer.learning_rate, said.rate_state) if said.rate_state else None
        model._metrics = _training.metrics(said.metrics, task)
        model._compiled = (_spec.loss(loss), _spec.optimizer(said.optimizer)) if said.is_compiled else None
        model._callback_states = said.callbacks
        model._network, model._awaits_data = network, False
        return model

    def __getstate__(self) -> dict[str, Any]:
        network = None if self._network is None else self._network.to_bytes("")
        states = self._callback_states if self._hook is None else self._hook.states()
        state = {**self.__dict__, "_network": network, "_hook": None, "_callback_states": states}
        state["_told"] = state["_known"] = state["_scalings"] = None
        del state["_turns"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._turns = Turns()
        if state["_network"] is not None:
            self._network, _ = Network.from_bytes(state["_network"])
            if self._lent is not None:  # a function, which the bytes of a network do not hold
                self._network.lend(self._lent.called())


def _path(path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a string or path, got {_checks.shown(path)} ({type(path).__name__})")
    return os.fsdecode(path)


def _dtype(dtype: Any) -> str:
    if isinstance(dtype, (type, np.dtype)):
        with contextlib.suppress(TypeError):  # a class that is no dtype is shown as it was given
            dtype = np.dtype(dtype).name
    return _choice(dtype, "dtype", DTYPES)


def _instruction_set(isa: Any) -> str:
    if not isinstance(isa, str):
        raise TypeError(f"isa must be the name of an instruction set or None, got {_checks.shown(isa)}")
    _core.check_isa(isa)
    return isa


def _choice(value: Any, name: str, known: Sequence[str]) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(map(repr, known))}, got {_checks.shown(value)}")
    return _checks.name_in(value, name, known)
