"""The wire form: dataclasses become the JSON that the extension reads, and come back from model files.

The only place that knows the names of its keys. Holds no defaults.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from dnn import _activations, _initializers, _losses, _optimizers, _preparation, _warn
from dnn._initializers import Array
from dnn._layers import Activation, Dense, Layer, Residual
from dnn._loss import Loss
from dnn._noise import AlphaDropout, Dropout, GaussianNoise
from dnn._normalization import BatchNormalization, LayerNormalization
from dnn._optimizer import PER_FIT, Optimizer, rates_of
from dnn._plateau import SCHEDULES
from dnn._preparation import Preparation, Scaling
from dnn._schedule import Schedule, Span, State

# Raised when a model file gets a key that older versions would misread.
FORMAT = 2

# The name of a loss or metric that is a function of the user.
_CALLED = "called"

# Layers whose fields are all there is to say.
_PLAIN: dict[str, type[Layer]] = {
    cls.kind: cls for cls in (Dropout, AlphaDropout, GaussianNoise, BatchNormalization, LayerNormalization)
}


def network(layers: Sequence[Layer], *, seed: int, dtype: str, precision: str, isa: str | None) -> str:
    """What `Network` is built from. The loss comes with `compile`."""
    spec = {"dtype": dtype, "precision": precision, "isa": isa, "seed": seed, "loss": None}
    return _dumps({**spec, "layers": _network_layers(layers)})


def loss(loss: Loss) -> str:
    """A loss with its parameters; a function goes beside it."""
    return _dumps({"name": _CALLED} if loss.is_function else _named(loss))


def optimizer(optimizer: Optimizer) -> str:
    """An optimizer with its parameters, without what is given with each fit."""
    return _dumps(_named(optimizer, without=PER_FIT))


def options(values: Mapping[str, Any], optimizer: Optimizer) -> str:
    """The options of a fit, and what of the optimizer is given with each."""
    metrics, averaging = _measures(values["metrics"]), values.get("averaging")
    named = None if averaging is None else _named(averaging)
    return _dumps({**values, "metrics": metrics, "averaging": named, "clip": _clip(optimizer)})


def step(rate: float, optimizer: Optimizer) -> str:
    """What a single step takes."""
    return _dumps({"learning_rate": rate, "clip": _clip(optimizer)})


def _clip(optimizer: Optimizer) -> dict[str, float | None]:
    return {"norm": optimizer.clip_norm, "value": optimizer.clip_value}


def metrics(metrics: Sequence[Any]) -> str:
    """Metrics with their names in a history; functions go beside them."""
    return _dumps(_measures(metrics))


def _measures(metrics: Sequence[Any]) -> list[dict[str, Any]]:
    if not metrics:
        return []
    from dnn import _metrics  # for who asks for any

    pairs = [(_metrics.key(metric), _metrics.measure(metric)) for metric in metrics]
    return [
        {"key": key, "measure": {"name": _CALLED} if measure is None else _named(measure)}
        for key, measure in pairs
    ]


class Described(NamedTuple):
    """What a model file says beside the network's own numbers."""

    layers: tuple[Layer, ...]
    seed: int
    dtype: str
    precision: str
    isa: str | None
    loss: Loss | None
    optimizer: Optimizer
    metrics: tuple[Any, ...]
    is_compiled: bool
    callbacks: list[tuple[str, dict[str, Any]]]
    rate_state: State
    preparation: Preparation


def to_file(described: Described, steps: int) -> str:
    """`described` as JSON; `steps` is how many the optimizer has made, for a rate that a file can't hold."""
    rate = described.optimizer.learning_rate
    if callable(rate):
        (rate,) = rates_of(rate, Span(steps, 1), {})
        _warn.warn(
            "a learning rate that is a function can't be saved in a file; the loaded model gets its rate "
            f"of step {steps}, {rate:g}: compile it with the function again to go on",
            UserWarning,
        )
    if described.loss is not None and described.loss.is_function:
        _warn.warn(
            f"the loss is the function {described.loss.name!r}, which a file can't hold; give it to the "
            "loaded "
            "model again to go on: fit(..., loss=...) or compile",
            UserWarning,
        )
    return _dumps(
        {
            "format": FORMAT,
            "layers": _network_layers(described.layers),
            "seed": described.seed,
            "dtype": described.dtype,
            "precision": described.precision,
            "isa": described.isa,
            "loss": None if described.loss is None else _saved_loss(described.loss),
            "optimizer": _named(described.optimizer, without=("learning_rate",))
            | {"learning_rate": _rate(rate)},
            "metrics": _saved_metrics(described.metrics),
            "is_compiled": described.is_compiled,
            "callbacks": _plain(described.callbacks),
            "rate_state": _plain(described.rate_state),
            "preparation": _prepared(described.preparation),
        }
    )


def content(path: str | os.PathLike[str]) -> bytes:
    """What the file has; OSError where it can't be read, ValueError where it is a device or a pipe."""
    # A pipe that nobody writes to would be waited for.
    with open(
        path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
    ) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{os.fspath(path)!r} is not a model file: it is a device or a pipe")
        return file.read()


def from_file(text: str) -> Described:
    """What `to_file` wrote. ValueError if it is something else."""
    try:
        said = json.loads(text)
        estimator = said.get("estimator")
        newer = said["format"] > FORMAT
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("it has no description of a Sequential") from None
    if isinstance(estimator, str):
        raise ValueError(f"it holds a {estimator}; read it with dnn.{estimator}.load")
    if newer:
        raise ValueError(
            f"its format {said['format']} is newer than {FORMAT}, the one this version reads; update dnn"
        )
    try:
        return _read_description(said)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its description is damaged ({error})") from error


def _read_description(said: Mapping[str, Any]) -> Described:
    return Described(
        layers=tuple(_read_layer(layer) for layer in said["layers"]),
        seed=said["seed"],
        dtype=said["dtype"],
        precision=said["precision"],
        isa=said["isa"],
        loss=None if said["loss"] is None else _read_loss(said["loss"]),
        optimizer=_read(
            said["optimizer"] | {"learning_rate": _read_rate(said["optimizer"]["learning_rate"])},
            _optimizers.OPTIMIZERS,
        ),
        rate_state=_unplain(said.get("rate_state", {})),
        metrics=tuple(_read_metric(metric) for metric in said["metrics"]),
        is_compiled=said["is_compiled"],
        callbacks=[(str(name), dict(_unplain(state))) for name, state in said.get("callbacks", [])],
        preparation=_read_preparation(said.get("preparation", {})),
    )


def _saved_loss(loss: Loss) -> dict[str, Any]:
    return {"name": _CALLED, "title": loss.name} if loss.is_function else _named(loss)


def _read_loss(wire: Mapping[str, Any]) -> Loss:
    if wire["name"] == _CALLED:
        from dnn import _called

        return _called.LossFunction(None, str(wire["title"]))
    loss: Loss = _read(wire, _losses.LOSSES)
    return loss


def _saved_metrics(metrics: Sequence[Any]) -> list[Any]:
    """Names as they are, others with their parameters; functions are left out."""
    if not metrics:
        return []
    from dnn import _metrics

    kept = _metrics.kept(tuple(metrics))
    return [metric if isinstance(metric, str) else _named(metric) for metric in kept]


def _read_metric(wire: Any) -> Any:
    if isinstance(wire, str):
        return wire
    from dnn import _metrics

    return _read(wire, _metrics.CLASSES)


def _network_layers(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    return [_layer(layer, above) for layer, above in zip(layers, [*layers[1:], None], strict=True)]


def plain_to_text(value: object) -> str:
    """What a model file holds beside a network that is part of something else: plain types, as JSON."""
    return _dumps(value)


def plain_from_text(text: str) -> Any:
    """What `plain_to_text` wrote. ValueError if it is something else."""
    return json.loads(text)


def _layer(layer: Layer, above: Layer | None) -> dict[str, Any]:
    """A layer, and the one above it, whose activation may be meant."""
    if isinstance(layer, Dense):
        return {"kind": layer.kind, **_dense(layer, above)}
    if isinstance(layer, Activation):
        return {"kind": layer.kind, "activation": _named(_activations.resolve(layer.activation))}
    if isinstance(layer, Residual):
        return {"kind": layer.kind, "layers": _network_layers(layer.layers)}
    return {"kind": layer.kind, **_fields(layer)}


def _dense(layer: Dense, above: Layer | None) -> dict[str, Any]:
    follows = above.output if isinstance(above, Activation) and layer.output == "identity" else layer.output
    return {
        "units": int(layer.units),
        "activation": _named(_activations.resolve(layer.activation)),
        "use_bias": bool(layer.use_bias),
        "weight_initializer": _initializer(layer.weight_initializer, follows),
        "bias_initializer": _initializer(layer.bias_initializer, follows),
        "l1": float(layer.l1),
        "l2": float(layer.l2),
        "max_norm": None if layer.max_norm is None else float(layer.max_norm),
        "trainable": bool(layer.trainable),
        "trainable_bias": bool(layer.trainable_bias),
    }


def _initializer(initializer: Any, activation: str) -> dict[str, Any]:
    if isinstance(initializer, Array):
        return {"name": "zeros"}  # set_weights puts the array in its place
    if initializer == "auto":
        initializer = _initializers.automatic(activation)
    return _named(initializer)


def _named(thing: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """{"name": ..., and every field of a dataclass as a plain bool or float}."""
    return {"name": thing} if isinstance(thing, str) else {"name": thing.name, **_fields(thing, without)}


def _fields(thing: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        field.name: _number(str(field.type), getattr(thing, field.name))
        for field in fields(thing)
        if field.name not in without
    }


def _number(kind: str, value: Any) -> Any:
    # NumPy's scalars are not JSON; the dataclasses have checked that only bools, real numbers, names and
    # tuples of numbers are here.
    if value is None or isinstance(value, str):
        return value
    if "tuple" in kind:
        return [float(number) for number in (value if isinstance(value, tuple) else (value,))]
    return {"bool": bool, "int": int}.get(kind, float)(value)


def _rate(rate: Any) -> Any:
    """A rate: a number, a list of them, or a schedule with its fields, which may be another one."""
    if not isinstance(rate, Schedule):
        return rate
    said = {field.name: getattr(rate, field.name) for field in fields(rate)}
    if "schedule" in said:
        said["schedule"] = _rate(said["schedule"])
    return {"name": rate.name, **said}


def _read_rate(wire: Any) -> Any:
    if not isinstance(wire, dict):
        return wire
    said = dict(wire)
    if "schedule" in said:
        said["schedule"] = _read_rate(said["schedule"])
    return _read(said, SCHEDULES)


def _read_layer(wire: Mapping[str, Any]) -> Layer:
    said = dict(wire)
    kind = said.pop("kind")
    if kind in _PLAIN:
        return _PLAIN[kind](**said)
    if kind == Residual.kind:
        return Residual([_read_layer(layer) for layer in said["layers"]])
    activation = _read_or_name(said.pop("activation"), _activations.WITH_PARAMETERS)
    if kind == Activation.kind:
        return Activation(activation, **said)
    if kind != Dense.kind:
        raise ValueError(f"there is no layer {kind!r}")
    for argument in ("weight_initializer", "bias_initializer"):
        said[argument] = _read_or_name(said[argument], _initializers.WITH_PARAMETERS)
    return Dense(said.pop("units"), activation, **said)


def _read_or_name(wire: Mapping[str, Any], classes: Mapping[str, Any]) -> Any:
    return _read(wire, classes) if wire["name"] in classes else wire["name"]


def _read(wire: Mapping[str, Any], classes: Mapping[str, Any]) -> Any:
    made = classes[wire["name"]]
    # An optimizer that finds its step by itself has no rate or clip to choose.
    chosen = {field.name for field in fields(made) if field.init}
    return made(
        **{
            key: value
            for key, value in wire.items()
            if key != "name" and (key in chosen or key not in PER_FIT)
        }
    )


def _prepared(preparation: Preparation) -> dict[str, Any]:
    wire: dict[str, Any] = {"scale": preparation.scale, "scale_target": preparation.scale_target}
    for name, scaling in (("x", preparation.x), ("y", preparation.y)):
        if scaling is not None:
            wire[name] = {"center": scaling.center.tolist(), "scale": scaling.scale.tolist()}
    if preparation.feature_names is not None:
        wire["feature_names"] = list(preparation.feature_names)
    return wire


def _read_preparation(wire: Mapping[str, Any]) -> Preparation:
    found = _preparation.asked(wire.get("scale"), wire.get("scale_target"))

    def scaling(name: str) -> Scaling | None:
        if name not in wire:
            return None
        center, scale = (np.asarray(wire[name][key], dtype=np.float64) for key in ("center", "scale"))
        return Scaling(center, scale)

    names = wire.get("feature_names")
    names = None if names is None else tuple(str(name) for name in names)
    return found._replace(x=scaling("x"), y=scaling("y"), feature_names=names)


def _plain(value: Any) -> Any:
    """What callbacks counted, for JSON: infinities, which a first best value is, as {"float": "inf"}.

    A dict that has nothing but a "float" of its own is one within another: {"float": {"float": 3}}.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, Mapping):
        plain = {str(key): _plain(item) for key, item in value.items()}
        return {"float": plain} if set(plain) == {"float"} else plain
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"get_state of a callback gave {value!r}; plain numbers, strings, lists and dicts can be saved"
    )


def _unplain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"float"} and isinstance(value["float"], str):
            return float(value["float"])
        if set(value) == {"float"} and isinstance(value["float"], Mapping):
            value = value["float"]
        return {key: _unplain(item) for key, item in value.items()}
    return [_unplain(item) for item in value] if isinstance(value, list) else value


# repr of a float is exact, and NaN or infinity would not be JSON: both are refused where they come in.
_dumps = json.JSONEncoder(allow_nan=False).encode
