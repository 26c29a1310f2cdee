"""Networked: an estimator's network, its weights as users see and set them, predictions and copies.

scikit-learn's parameters and data come in; a `Sequential` predicts. Trains nothing.
"""

from __future__ import annotations

import itertools
import pickle
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from dnn import _arrays, _prediction
from dnn._checks import counted
from dnn._estimators import _file, _settings
from dnn._layers import Dense
from dnn._model import Sequential

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

    from dnn._core import Network
    from dnn._estimators._settings import Settings

# Rows of a sparse matrix that are made dense together, to predict.
_DENSE_ROWS = 4096


class Networked(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """An estimator with a network."""

    # The network, once there is one, and the weights as users see them, once they were asked for or given.
    _model: Sequential | None = None
    _given: dict[str, list[NDArray[Any]]] | None = None
    # The weights that were read last, of what network, and how often that had been trained.
    _seen: tuple[Any, Network, int] | None = None
    # The parameters that settings were made of last, and those settings.
    _checked: tuple[tuple[Any, ...], Settings] | None = None

    # Weights, as users see them

    @property
    def coefs_(self) -> list[NDArray[Any]]:
        """The weights of each layer, (n_in, n_out). May be set, and changed in place."""
        return self._visible("coefs_")

    @coefs_.setter
    def coefs_(self, arrays: list[ArrayLike]) -> None:
        self._give("coefs_", arrays)

    @property
    def intercepts_(self) -> list[NDArray[Any]]:
        """The bias of each layer, (n_out,). May be set, and changed in place."""
        return self._visible("intercepts_")

    @intercepts_.setter
    def intercepts_(self, arrays: list[ArrayLike]) -> None:
        self._give("intercepts_", arrays)

    def _visible(self, name: str) -> list[NDArray[Any]]:
        if self._given is None:
            if self._model is None:
                raise AttributeError(f"{name} is there once the estimator is fitted")
            network = self._model._built()
            trainings = network.trainings  # before the weights, which another thread may be training
            weights = self._model.get_weights()
            seen = {"coefs_": weights[::2], "intercepts_": weights[1::2]}
            if not _trains(network, trainings):
                self._seen = seen, network, trainings
                self._given = seen
            return seen[name]
        if name not in self._given:
            raise AttributeError(f"{name} is there once the estimator is fitted")
        return self._given[name]

    def _give(self, name: str, arrays: Any) -> None:
        if self._given is None and self._model is not None:
            self._visible(name)
        self._given = {**(self._given or {}), name: list(arrays)}

    def _has_weights(self) -> bool:
        return self._model is not None or len(self._given or ()) == 2

    def _fitted(self, settings: Settings | None = None) -> Sequential:
        """The network, with the weights that users see if they have changed them."""
        given = self._given
        if given is None:
            assert self._model is not None, "check_is_fitted was asked"
            return self._model
        arrays = [array for pair in zip(given["coefs_"], given["intercepts_"], strict=True) for array in pair]
        if self._model is not None:
            now = self._model.get_weights()
            if self._seen is not None and given is self._seen[0]:
                _, network, trainings = self._seen
                # Another thread trains, or has since they were read: they are not those of the network.
                if network is self._model._built() and _trains(network, trainings):
                    self._given = None
                    return self._model
            shapes = [np.shape(array) for array in arrays]
            if shapes == [array.shape for array in now]:
                if not all(map(np.array_equal, arrays, now)):
                    self._model.set_weights(arrays)
                return self._model
        model = self._new_model(settings or _settings.checked(self), np.shape(arrays[0])[0])
        model.set_weights(arrays)
        self._model = model
        return model

    def _new_model(
        self, settings: Settings, n_inputs: int, dtype: str | None = None, seed: int = 0
    ) -> Sequential:
        if dtype is None:
            dtype = "float32" if settings.dtype == "float32" else "float64"
        layers = settings.layers(n_inputs, self.n_outputs_, self.out_activation_)
        return Sequential(layers, seed=seed, dtype=dtype, precision=settings.precision)

    def _draw(self, settings: Settings, n_inputs: int, dtype: str, rng: np.random.RandomState) -> Sequential:
        """A network with first weights: scikit-learn's for the same random state."""
        widths = [n_inputs, *settings.hidden, self.n_outputs_]
        arrays = []
        for layer, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
            bound = np.sqrt(settings.glorot_factor(layer) / (n_in + n_out))
            arrays += [rng.uniform(-bound, bound, (n_in, n_out)), rng.uniform(-bound, bound, n_out)]
        # What is left out is drawn from a seed of its own, so that without it nothing is drawn.
        seed = int(rng.randint(2**31 - 1)) if any(settings.dropout) else 0
        model = self._new_model(settings, n_inputs, dtype, seed)
        model.set_weights(arrays)
        return model

    # Prediction

    def _outputs(self, X: Any) -> NDArray[Any]:
        """The outputs of the network for the rows of X, (rows, n_outputs)."""
        at_once = self._outputs_at_once(X)
        if at_once is not None:
            return at_once
        check_is_fitted(self)
        model = self._fitted()
        X = validate_data(self, X, accept_sparse="csr", dtype=np.dtype(model.dtype), order="C", reset=False)
        return _predict(model, X, _settings.threads(self))

    def _outputs_at_once(self, X: Any) -> NDArray[Any] | None:
        """The outputs for an ordinary array of numbers; None where scikit-learn's checks have to look closer.

        Those take some 0.3 ms, more than a small network does. What they would refuse or warn of (NaN,
        another width, no names where there were some) is left to them.
        """
        if not self._is_ordinary(X):
            return None
        model = self._fitted()
        network = model._built()
        outputs = _prediction.at_once(network.predict_ready, X, None, None, n_threads=self.n_threads)
        if outputs is not None:
            return outputs
        if X.ndim != 2 or 0 in X.shape or X.shape[1] != network.n_inputs or X.dtype.kind not in "biuf":
            return None
        # Converted a block at a time, which goes through the network while it is in the cache.
        n_threads = _settings.threads(self)
        outputs = np.empty((len(X), network.n_outputs), model.dtype)
        for start, block in _arrays.blocks(X, model.dtype):
            if network.predict_ready(block, outputs[start : start + len(block)], None, n_threads) is None:
                return None
        return outputs

    def _largest_at_once(self, X: Any) -> NDArray[np.int64] | None:
        """The number of the largest output for each row, as `_outputs_at_once` gives all of them."""
        if not self._is_ordinary(X):
            return None
        return _prediction.at_once(self._fitted()._built().largest_ready, X, None, n_threads=self.n_threads)

    def _is_ordinary(self, X: Any) -> bool:
        return type(X) is np.ndarray and self._has_weights() and not hasattr(self, "feature_names_in_")

    def transform(self, X: Any, layer: int = -1) -> NDArray[Any]:
        """What a hidden layer makes of each row: features that another model can learn from.

        Parameters
        ----------
        X : array, DataFrame or sparse matrix (rows, features)
            As for `fit`.
        layer : int, default -1
            Which hidden layer, counted from 0, or from the last one with -1.

        Returns
        -------
        ndarray (rows, units)
            The outputs of the layer, after its activation.

        Raises
        ------
        ValueError
            If there is no such layer.
        """
        check_is_fitted(self)
        model = self._fitted()
        X = validate_data(self, X, accept_sparse="csr", dtype=np.dtype(model.dtype), order="C", reset=False)
        n_hidden = len(_dense(model)) - 1
        if not -n_hidden <= layer < n_hidden:
            raise ValueError(
                f"layer is {layer}, but the network has {counted(n_hidden, 'hidden layer')}, counted from 0"
            )
        return _predict(_up_to(model, layer % n_hidden), X, _settings.threads(self))

    # Copies and files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator to a file: parameters, attributes, weights and the state of its optimizer.

        The file is complete or not there at all, and reading it runs no code, unlike a pickle. Parameters
        that no file can hold, such as callbacks, are left out with a warning.

        Parameters
        ----------
        path : str or path
            Where to. A file that is there is replaced.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        OSError
            If the file can't be written.
        """
        check_is_fitted(self)
        _file.save(self, self._fitted(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an estimator that `save` wrote.

        Parameters
        ----------
        path : str or path
            The file.

        Returns
        -------
        estimator
            Fitted as it was.

        Raises
        ------
        OSError
            If the file can't be read.
        ValueError
            If it is not the file of such an estimator, or damaged.
        """
        loaded: Self = _file.load(cls, path)
        return loaded

    def __sklearn_is_fitted__(self) -> bool:
        return self._has_weights()

    def __copy__(self) -> Self:
        copy = type(self).__new__(type(self))
        # Lists grow as it trains on: each has its own.
        copy.__dict__.update(
            {name: list(value) if isinstance(value, list) else value for name, value in self.__dict__.items()}
        )
        if self._model is not None:
            # Its own network: what is trained further is the copy alone.
            copy._model = pickle.loads(pickle.dumps(self._fitted()))
            copy._given = None
        return copy

    def __getstate__(self) -> dict[str, Any]:
        if self._model is not None:
            self._fitted()
        state: dict[str, Any] = dict(super().__getstate__())
        if state.get("_model") is not None:
            state.pop("_given", None)
        state.pop("_checked", None)
        state.pop("_seen", None)
        return state

    @property
    def _n_features_out(self) -> int:
        hidden = _dense(self._fitted())[:-1]
        return int(hidden[-1].units) if hidden else 0


def _predict(model: Sequential, X: Any, n_threads: int) -> NDArray[Any]:
    """The outputs of `model` for rows that are checked; sparse rows are made dense a part at a time."""
    network = model._built()
    outputs = np.empty((X.shape[0], network.n_outputs), model.dtype)
    if isinstance(X, np.ndarray):
        are_finite = network.predict(X if X.flags.aligned else X.copy(), outputs, n_threads)
    else:
        are_finite = True
        for start in range(0, X.shape[0], _DENSE_ROWS):
            part = slice(start, start + _DENSE_ROWS)
            are_finite &= network.predict(_arrays.dense(X[part]), outputs[part], n_threads)
    if not are_finite:
        _prediction.tell()
    return outputs


def _dense(model: Sequential) -> list[Dense]:
    """The layers with weights."""
    return [layer for layer in model.layers if isinstance(layer, Dense)]


def _up_to(model: Sequential, layer: int) -> Sequential:
    """The network that ends with this layer."""
    part = Sequential(_dense(model)[: layer + 1], seed=0, dtype=model.dtype, precision=model.precision)
    part.set_weights(model.get_weights()[: 2 * layer + 2])
    return part


def _trains(network: Network, trainings: int) -> bool:
    """Whether a network is being trained, or has been more often than that."""
    return network.is_training or network.in_callback or network.trainings != trainings
