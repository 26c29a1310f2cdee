"""Settings: the parameters of an estimator, checked and made into layers and an optimizer of the package.

An estimator comes in, which may hold anything; out goes what training needs. Nothing is computed here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn import metrics
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import InvalidParameterError

from dnn import _activations, _callbacks, _checks, _optimizers, _threads, _training, _warn
from dnn._activations import Activation
from dnn._adam_family import Adam
from dnn._averaging import Averaging
from dnn._base import PRECISIONS
from dnn._callbacks import Callback
from dnn._checks import counted
from dnn._dataclass import dataclass
from dnn._layers import Dense, Input, Layer
from dnn._lbfgs import LBFGS
from dnn._noise import Dropout
from dnn._optimizer import LARGEST_RATE, Optimizer

# scikit-learn's names of what comes out of the last layer, and ours.
OUTPUTS = {"identity": "identity", "logistic": "sigmoid", "softmax": "softmax", "exp": "exponential"}

# More hidden layers than this are a slip of the finger, and only to count them up would take the memory.
MOST_LAYERS = 10_000

SCHEDULES = ("constant", "invscaling", "adaptive")


@dataclass(frozen=True)
class Settings:
    """The parameters of one call of `fit`."""

    hidden: tuple[int, ...]
    activations: tuple[str | Activation, ...]
    dropout: tuple[float, ...]
    optimizer: Optimizer
    schedule: str
    alpha: float
    batch_size: int | None
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    tol: float
    verbose: bool
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: float
    max_time: float | None
    n_threads: int
    precision: str
    dtype: str
    callbacks: list[Callback]
    averaging: Averaging | None

    def glorot_factor(self, layer: int) -> float:
        """6, or 2 for sigmoids (Glorot and Bengio 2010); the last layer goes by the one below it."""
        if not self.activations:
            return 6.0
        activation = self.activations[min(layer, len(self.activations) - 1)]
        return 2.0 if activation == "sigmoid" else 6.0

    def layers(self, n_inputs: int, n_outputs: int, output: str) -> tuple[Input | Layer, ...]:
        """The network, its weights zero at first: the estimator draws them."""
        hidden = tuple(zip(self.hidden, self.activations, self.dropout, strict=True))
        return _layers(n_inputs, hidden, n_outputs, output, self.alpha / 2)


# A partial fit of a few rows takes less time than making layers anew.
@functools.lru_cache(maxsize=64, typed=True)
def _layers(
    n_inputs: int, hidden: tuple[tuple[int, Any, float], ...], n_outputs: int, output: str, l2: float
) -> tuple[Input | Layer, ...]:
    layers: list[Input | Layer] = [Input(n_inputs)]
    for units, activation, rate in hidden:
        layers.append(Dense(units, activation, weight_initializer="zeros", l2=l2))
        if rate > 0:
            layers.append(Dropout(rate))
    return *layers, Dense(n_outputs, OUTPUTS[output], weight_initializer="zeros", l2=l2)


def checked(estimator: Any) -> Settings:
    """The settings of `estimator`; if one is wrong, an error that is a TypeError and a ValueError."""
    kind: Any = type(estimator)
    given = tuple(getattr(estimator, name) for name in _names(kind))
    # What was given before, if all of it can't change, and the settings that came of it.
    before: tuple[tuple[Any, ...], Settings] | None = estimator._checked
    if (
        before is not None
        and all(one is other for one, other in zip(before[0], given, strict=True))
        and before[1].n_threads == _threads.count(estimator.n_threads)
    ):
        return before[1]
    try:
        settings = _settings(estimator)
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(f"{type(estimator).__name__}: {error}") from error
    estimator._checked = (given, settings) if all(_never_changes(value) for value in given) else None
    return settings


@functools.cache
def _names(of: type[Any]) -> tuple[str, ...]:
    return tuple(of._get_param_names())


def _never_changes(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_never_changes(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str, np.random.RandomState))


def random_state(estimator: Any) -> np.random.RandomState:
    """The source of all that is random."""
    given = estimator.random_state
    try:
        rng: np.random.RandomState = check_random_state(given)
    except ValueError as error:
        raise InvalidParameterError(
            f"{type(estimator).__name__}: random_state must be an integer from 0 to 2^32 - 1, a "
            f"numpy.random.RandomState or None, got {_checks.shown(given)}"
        ) from error
    return rng


def check_scoring(estimator: Any, settings: Settings, *, has_rows: bool) -> None:
    """Refuse a score that there isn't, also where it would not be asked for, of which this warns."""
    if estimator.scoring is None:
        return
    if isinstance(estimator.scoring, (list, tuple, set, Mapping)):
        raise InvalidParameterError(
            f"scoring must be one score, which tells the best epoch, got {_checks.shown(estimator.scoring)}"
        )
    metrics.check_scoring(estimator, estimator.scoring)
    if not (settings.early_stopping or has_rows):
        _warn.warn(
            f"scoring={estimator.scoring!r} is not used, for no rows are validated; pass X_val and y_val to "
            "fit, or set early_stopping=True"
            + (", with another solver than L-BFGS" if has_whole_steps(estimator.solver) else ""),
            UserWarning,
        )


def has_whole_steps(solver: Any) -> bool:
    """Whether an epoch of this solver is one step of all rows, with a loss that falls every time."""
    return isinstance(solver, LBFGS) or (isinstance(solver, str) and solver == "lbfgs")


def threads(estimator: Any) -> int:
    """How many threads a prediction may use."""
    return _threads.count(estimator.n_threads)


def _settings(given: Any) -> Settings:
    hidden = _hidden(given)
    solver = given.solver
    is_lbfgs = has_whole_steps(solver)
    rate = _checks.number(given.learning_rate_init, "learning_rate_init", above=0.0, at_most=LARGEST_RATE)
    is_scheduled = isinstance(solver, str) and solver not in ("adam", "lbfgs")
    schedule = _name(given.learning_rate, "learning_rate", SCHEDULES)
    _checks.boolean(given.warm_start, "warm_start")
    _check_class_weight(getattr(given, "class_weight", None))
    patience = given.n_iter_no_change
    if patience != math.inf:
        patience = _checks.integer(patience, "n_iter_no_change", 1)
    early_stopping = _checks.boolean(given.early_stopping, "early_stopping")
    batch_size = given.batch_size
    if batch_size != "auto":
        batch_size = _checks.integer(batch_size, "batch_size", 1)
    if not isinstance(given.verbose, bool):
        _checks.integer(int(given.verbose), "verbose", 0)
    optimizer = _optimizer(given, rate)
    return Settings(
        hidden=hidden,
        activations=_hidden_activations(given.activation, len(hidden)),
        dropout=_dropout(given.dropout, len(hidden)),
        optimizer=optimizer,
        schedule=schedule if is_scheduled else "constant",
        alpha=_checks.number(given.alpha, "alpha", at_least=0.0),
        batch_size=None if batch_size == "auto" else batch_size,
        learning_rate_init=rate,
        power_t=_checks.number(given.power_t, "power_t", at_least=0.0),
        max_iter=_checks.integer(given.max_iter, "max_iter", 1),
        shuffle=_checks.boolean(given.shuffle, "shuffle"),
        tol=_checks.number(given.tol, "tol", at_least=0.0),
        verbose=bool(given.verbose),
        # L-BFGS has its own ends.
        early_stopping=early_stopping and not is_lbfgs,
        validation_fraction=_checks.number(
            given.validation_fraction, "validation_fraction", at_least=0.0, below=1.0
        ),
        n_iter_no_change=math.inf if is_lbfgs else patience,
        max_time=None if given.max_time is None else _checks.number(given.max_time, "max_time", above=0.0),
        n_threads=_threads.count(given.n_threads),
        precision=_name(given.precision, "precision", PRECISIONS),
        dtype=_name(given.dtype, "dtype", ("auto", "float32", "float64")),
        callbacks=_callbacks.checked(() if given.callbacks is None else given.callbacks),
        averaging=_training.averaging(given.averaging, optimizer),
    )


def _check_class_weight(given: Any) -> None:
    """Refuse what is neither "balanced" nor a dict of weights, nor a list of such dicts."""
    if given is None or (isinstance(given, str) and given == "balanced"):
        return
    of_labels = given if isinstance(given, list) and given else [given]
    if not all(isinstance(weights, Mapping) for weights in of_labels):
        raise TypeError(f"class_weight must be a dict, 'balanced' or None, got {_checks.shown(given)}")
    for weights in of_labels:
        for label, weight in weights.items():
            _checks.number(weight, f"class_weight[{label!r}]", at_least=0.0)


def _name(value: Any, name: str, known: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(map(repr, known))}, got {_checks.shown(value)}")
    return _checks.name_in(value, name, known)


def _hidden(given: Any) -> tuple[int, ...]:
    """The widths of the hidden layers, of which the scalars for searchers say number and width."""
    sizes = given.hidden_layer_sizes
    sizes = list(sizes) if hasattr(sizes, "__iter__") and not isinstance(sizes, str) else [sizes]
    hidden = [_checks.integer(size, "hidden_layer_sizes", 1) for size in sizes]
    if given.n_hidden_layers is None and given.hidden_width is None:
        return tuple(hidden)
    n_layers = len(hidden)
    if given.n_hidden_layers is not None:
        n_layers = _checks.integer(given.n_hidden_layers, "n_hidden_layers", 0, MOST_LAYERS)
    if given.hidden_width is not None:
        width = _checks.integer(given.hidden_width, "hidden_width", 1)
    elif len(set(hidden)) == 1:
        width = hidden[0]
    else:
        raise ValueError(
            f"n_hidden_layers={n_layers} needs hidden_width as well, since hidden_layer_sizes={hidden} "
            "doesn't have one width"
        )
    return (width,) * n_layers


def _hidden_activations(given: Any, n_layers: int) -> tuple[str | Activation, ...]:
    """One activation for each hidden layer."""
    many = list(given) if isinstance(given, (list, tuple)) else [given] * n_layers
    if len(many) != n_layers:
        raise ValueError(
            f"activation has {counted(len(many), 'entry', 'entries')}, but the network has "
            f"{counted(n_layers, 'hidden layer')}; give one for each, or one name for all"
        )
    found = tuple(_activations.resolve("identity" if one is None else one) for one in many)
    if not found:
        _activations.resolve(given if isinstance(given, (str, Activation)) else "identity")
    if "softmax" in found:
        raise ValueError("activation 'softmax' belongs on the last layer, which the estimator chooses")
    if any(_activations.name_of(one) == "prelu" for one in found):
        raise ValueError(
            "activation 'prelu' learns slopes, which have no place in coefs_ and intercepts_; use "
            "leaky_relu, or dnn.Sequential"
        )
    return found


def _dropout(given: Any, n_layers: int) -> tuple[float, ...]:
    """The share of the outputs of each hidden layer that a step leaves out."""
    many = list(given) if isinstance(given, (list, tuple)) else [given] * n_layers
    if len(many) != n_layers:
        raise ValueError(
            f"dropout has {counted(len(many), 'entry', 'entries')}, but the network has "
            f"{counted(n_layers, 'hidden layer')}; give one for each, or one number for all"
        )
    return tuple(_checks.number(rate, "dropout", at_least=0.0, below=1.0) for rate in many)


def _optimizer(given: Any, rate: float) -> Optimizer:
    momentum = _checks.number(given.momentum, "momentum", at_least=0.0, at_most=1.0)
    nesterov = _checks.boolean(given.nesterovs_momentum, "nesterovs_momentum")
    beta_1 = _checks.number(given.beta_1, "beta_1", at_least=0.0, below=1.0)
    beta_2 = _checks.number(given.beta_2, "beta_2", at_least=0.0, below=1.0)
    epsilon = _checks.number(given.epsilon, "epsilon", above=0.0)
    max_fun = _checks.integer(given.max_fun, "max_fun", 1)
    if given.solver == "lbfgs":
        return LBFGS(max_fun=max_fun, gtol=_checks.number(given.tol, "tol", at_least=0.0))
    if given.solver == "sgd":
        # scikit-learn allows a momentum of 1; the number below it is the same to rounding.
        momentum = min(momentum, math.nextafter(1.0, 0.0))
        return _optimizers.SGD(rate, momentum=momentum, nesterov=nesterov and momentum > 0)
    if given.solver == "adam":
        return Adam(rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, epsilon_hat=True)
    if isinstance(given.solver, str):
        _checks.name_in(given.solver, "solver", _optimizers.OPTIMIZERS)
        return replace(_optimizers.resolve(given.solver), learning_rate=rate)
    if not isinstance(given.solver, Optimizer):
        raise TypeError(
            f"solver must be a name or an optimizer such as dnn.SGD(0.1), got {_checks.shown(given.solver)}"
        )
    return given.solver
