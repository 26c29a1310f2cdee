"""scikit-learn's private names, said with ours: what its own tests of the MLP reach for.

Optimizers and losses are those of the package: a network of one layer makes the step, or has the loss. Fused
multiply-adds round once where NumPy rounds twice, so `assert_array_equal` of steps allows the last places.
"""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import Any

import dnn
import numpy as np
from dnn._core import Network
from dnn._estimators._epochs import Rules
from numpy.typing import NDArray

# ---- sklearn.neural_network --------------------------------------------------------------------------------


class _Names:
    """What scikit-learn's tests read of a fitted estimator."""

    @property
    def _optimizer(self: Any) -> Any:
        return SimpleNamespace(learning_rate=self.learning_rate_)

    def _loss_grad_lbfgs(
        self: Any, packed: NDArray[Any], x: Any, y: Any, *rest: Any
    ) -> tuple[float, NDArray[Any]]:
        """Loss and gradient at these weights, which lie layer by layer, all W before all b."""
        shapes = [coef.shape for coef in self.coefs_] + [bias.shape for bias in self.intercepts_]
        ends = np.cumsum([np.prod(shape) for shape in shapes])
        arrays = [
            part.reshape(shape) for part, shape in zip(np.split(packed, ends[:-1]), shapes, strict=True)
        ]
        self.coefs_, self.intercepts_ = arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]
        # From 1.7 on the weights of the rows stand in front of four work arrays.
        weights = rest[0] if len(rest) > 4 else None
        labels = self.classes_[y.argmax(axis=1) if y.shape[1] > 1 else y[:, 0]]
        loss, coefs, intercepts = self.loss_gradient(x, labels, weights)
        return loss, np.concatenate([array.ravel() for array in coefs + intercepts])


class MLPClassifier(_Names, dnn.MLPClassifier):
    """Ours."""


class MLPRegressor(_Names, dnn.MLPRegressor):
    """Ours."""


# ---- sklearn.neural_network._base --------------------------------------------------------------------------


def _loss(output: str, loss: str, y: NDArray[Any], z: NDArray[Any], weights: Any = None) -> float:
    """The loss of outputs whose values before the activation are z."""
    y, z = y.reshape(len(y), -1), z.reshape(len(z), -1)
    model = dnn.Sequential([dnn.Dense(z.shape[1], output)], dtype="float64")
    model.set_weights([np.eye(z.shape[1]), np.zeros(z.shape[1])])
    model.compile(loss=loss)
    return model.evaluate(z, y, sample_weight=weights)["loss"]


def _log(p: NDArray[Any]) -> NDArray[Any]:
    """The logarithm of a probability: of 0 and 1 that of the numbers beside them."""
    return np.log(np.clip(p, np.finfo(float).eps, 1 - np.finfo(float).eps))


def binary_log_loss(y_true: NDArray[Any], y_prob: NDArray[Any], sample_weight: Any = None) -> float:
    logits = _log(y_prob) - _log(1 - y_prob)
    return y_true.shape[1] * _loss("sigmoid", "binary_cross_entropy", y_true, logits, sample_weight)


def log_loss(y_true: NDArray[Any], y_prob: NDArray[Any], sample_weight: Any = None) -> float:
    if y_true.shape[1] == 1:
        return binary_log_loss(y_true, y_prob, sample_weight)
    return _loss("softmax", "cross_entropy", y_true, _log(y_prob), sample_weight)


def poisson_loss(y_true: NDArray[Any], y_pred: NDArray[Any], sample_weight: Any = None) -> float:
    # Ours leaves out what doesn't depend on the outputs.
    constant = np.where(y_true > 0, y_true * np.log(np.where(y_true > 0, y_true, 1)), 0) - y_true
    loss = _loss("exponential", "poisson", y_true, np.log(y_pred), sample_weight)
    return loss + float(np.average(constant, weights=sample_weight))


# ---- sklearn.neural_network._stochastic_optimizers ---------------------------------------------------------

Arrays = list[NDArray[Any]]


class BaseOptimizer:
    """An optimizer on a list of arrays."""

    schedule = "constant"

    def __init__(self, learning_rate_init: float = 0.1) -> None:
        self.learning_rate = float(learning_rate_init)

    def trigger_stopping(self, msg: str, verbose: bool) -> bool:
        """Whether training should end once nothing improves; lowers an adaptive rate instead."""
        estimator = SimpleNamespace(learning_rate_=self.learning_rate)
        settings = SimpleNamespace(
            schedule=self.schedule, verbose=verbose, early_stopping=False, tol=0.0, n_iter_no_change=1
        )
        # Neither network nor score is asked for on this way.
        stops = Rules(estimator, settings, 1, None, None, 0.0)._no_longer_improves()  # type: ignore[arg-type]
        self.learning_rate = estimator.learning_rate_
        return stops


def _step(
    optimizer: dnn.SGD | dnn.Adam, gradients: Arrays, memory: dict[str, Arrays], steps: int
) -> tuple[Arrays, dict[str, Arrays]]:
    """What a step of the optimizer adds to parameters with these gradients, and its memory afterwards.

    The parameters are the weights of one layer, 0 at first, and the loss is the sum of (w - t)^2 with
    t = -g / 2, whose gradient at 0 is g, exactly.
    """
    flat = np.concatenate([gradient.ravel() for gradient in gradients])
    layers = [dnn.Input(1), dnn.Dense(len(flat), use_bias=False, weight_initializer="zeros")]
    model = dnn.Sequential(layers, dtype="float64")
    model.compile(optimizer, loss="sse")
    assert model._network is not None
    model._network = Network.from_bytes(_with_memory(model._network.to_bytes(""), memory, steps))[0]
    model.train_on_batch([[1.0]], -flat.reshape(1, -1) / 2)
    header, data = _parted(model._network.to_bytes(""))
    after = {
        name: _shaped(
            np.frombuffer(data[slice(*header[f"{name}.layer1.weights"]["data_offsets"])]), gradients
        )
        for name in memory
    }
    return _shaped(model.get_weights()[0].ravel(), gradients), after


def _parted(file: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and numbers of a model file."""
    (length,) = struct.unpack("<Q", file[:8])
    return json.loads(file[8 : 8 + length]), file[8 + length :]


def _with_memory(file: bytes, memory: dict[str, Arrays], steps: int) -> bytes:
    """The same model file with another memory of the optimizer, as version 2, which has no checksum."""
    header, data = _parted(file)
    numbers = bytearray(data)
    for name, arrays in memory.items():
        place = slice(*header[f"{name}.layer1.weights"]["data_offsets"])
        numbers[place] = np.concatenate([array.ravel() for array in arrays]).tobytes()
    said = json.loads(header["__metadata__"]["dnn"])
    header["__metadata__"]["dnn"] = json.dumps({**said, "version": 2, "crc32": None, "steps": steps})
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(numbers)


def _shaped(flat: NDArray[Any], like: Arrays) -> Arrays:
    ends = np.cumsum([array.size for array in like])[:-1]
    return [part.reshape(array.shape) for part, array in zip(np.split(flat, ends), like, strict=True)]


class SGDOptimizer(BaseOptimizer):
    """`dnn.SGD`."""

    def __init__(
        self,
        params: Arrays,
        learning_rate_init: float = 0.1,
        lr_schedule: str = "constant",
        momentum: float = 0.9,
        nesterov: bool = True,
        power_t: float = 0.5,
    ) -> None:
        super().__init__(learning_rate_init)
        self.schedule = lr_schedule
        self._momentum, self._nesterov = momentum, nesterov
        self.velocities = [np.zeros_like(param) for param in params]

    def update_params(self, params: Arrays, grads: Arrays) -> None:
        optimizer = dnn.SGD(self.learning_rate, momentum=float(self._momentum), nesterov=self._nesterov)
        memory = {"first": self.velocities} if self._momentum else {}
        updates, memory = _step(optimizer, grads, memory, 0)
        self.velocities = memory.get("first", updates)
        for param, update in zip(params, updates, strict=True):
            param += update


class AdamOptimizer(BaseOptimizer):
    """`dnn.Adam`, with epsilon where scikit-learn has it."""

    def __init__(
        self,
        params: Arrays,
        learning_rate_init: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(learning_rate_init)
        # 1, which all estimators refuse, makes scikit-learn's rate 0: nothing moves.
        self._moves = beta_2 < 1
        beta_2 = min(float(beta_2), float(np.nextafter(1, 0)))
        self._optimizer = dnn.Adam(
            learning_rate_init, beta_1=float(beta_1), beta_2=beta_2, epsilon=epsilon, epsilon_hat=True
        )
        self.t = 0
        self.ms = [np.zeros_like(param) for param in params]
        self.vs = [np.zeros_like(param) for param in params]

    def update_params(self, params: Arrays, grads: Arrays) -> None:
        updates, memory = _step(self._optimizer, grads, {"first": self.ms, "second": self.vs}, self.t)
        self.t += 1
        self.ms, self.vs = memory["first"], memory["second"]
        for param, update in zip(params, updates, strict=True):
            param += self._moves * update


def assert_array_equal(a: Any, b: Any) -> None:
    """Equal but for the rounding of one fused multiply-add for each of the few terms."""
    np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)
