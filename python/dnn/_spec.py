"""The wire form: dataclasses become the JSON that the extension reads, and come back from model files.

The only place that knows the names of its keys. Holds no defaults.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from dnn import _activations, _initializers, _losses, _optimizers
from dnn._initializers import Array
from dnn._layers import Dense
from dnn._losses import Loss
from dnn._optimizers import Optimizer

# Raised when a model file gets a key that older versions would misread.
FORMAT = 1


def network(layers: Sequence[Dense], *, seed: int, dtype: str, precision: str, isa: str | None) -> str:
    """What `Network` is built from. The loss comes with `compile`."""
    spec = {"dtype": dtype, "precision": precision, "isa": isa, "seed": seed, "loss": None}
    return _dumps({**spec, "layers": [_layer(layer) for layer in layers]})


def loss(loss: Loss) -> str:
    """A loss with its parameters."""
    return _dumps(_named(loss))


def optimizer(optimizer: Optimizer) -> str:
    """An optimizer with its parameters; the rate is not among them, since it is given with each fit."""
    return _dumps(_named(optimizer, without=("learning_rate",)))


def options(values: Mapping[str, Any]) -> str:
    """The options of a fit."""
    return _dumps(values)


def metrics(names: Sequence[str]) -> str:
    """Names of metrics."""
    return _dumps(list(names))


class Described(NamedTuple):
    """What a model file says beside the network's own numbers."""

    layers: tuple[Dense, ...]
    seed: int
    dtype: str
    precision: str
    isa: str | None
    loss: Loss | None
    optimizer: Optimizer
    metrics: tuple[str, ...]
    is_compiled: bool


def to_file(described: Described, steps: int) -> str:
    """`described` as JSON; `steps` is how many the optimizer has made, for a rate that a file can't hold."""
    rate = described.optimizer.learning_rate
    if callable(rate):
        (rate,) = _optimizers.rates_of(rate, steps, 1)
        warnings.warn(
            "a learning rate that is a function can't be saved in a file; the loaded model gets its rate "
            f"of step {steps}, {rate:g}: compile it with the function again to go on",
            UserWarning,
            stacklevel=3,
        )
    return _dumps(
        {
            "format": FORMAT,
            "layers": [_layer(layer) for layer in described.layers],
            "seed": described.seed,
            "dtype": described.dtype,
            "precision": described.precision,
            "isa": described.isa,
            "loss": None if described.loss is None else _named(described.loss),
            "optimizer": _named(described.optimizer, without=("learning_rate",)) | {"learning_rate": rate},
            "metrics": list(described.metrics),
            "is_compiled": described.is_compiled,
        }
    )


def from_file(text: str) -> Described:
    """What `to_file` wrote. ValueError if it is something else."""
    try:
        said = json.loads(text)
        newer = said["format"] > FORMAT
    except (ValueError, KeyError, TypeError):
        raise ValueError("it has no description of a Sequential") from None
    if newer:
        raise ValueError(
            f"its format {said['format']} is newer than {FORMAT}, the one this version reads; update dnn"
        )
    try:
        return _read_description(said)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"its description is damaged ({error})") from error


def _read_description(said: Mapping[str, Any]) -> Described:
    return Described(
        layers=tuple(_read_layer(layer) for layer in said["layers"]),
        seed=said["seed"],
        dtype=said["dtype"],
        precision=said["precision"],
        isa=said["isa"],
        loss=None if said["loss"] is None else _read(said["loss"], _losses.LOSSES),
        optimizer=_read(said["optimizer"], _optimizers.OPTIMIZERS),
        metrics=tuple(said["metrics"]),
        is_compiled=said["is_compiled"],
    )


def _layer(layer: Dense) -> dict[str, Any]:
    activation = _activations.resolve(layer.activation)
    activation_name = activation if isinstance(activation, str) else activation.name
    return {
        "units": int(layer.units),
        "activation": _named(activation),
        "use_bias": bool(layer.use_bias),
        "weight_initializer": _initializer(layer.weight_initializer, activation_name),
        "bias_initializer": _initializer(layer.bias_initializer, activation_name),
        "l1": float(layer.l1),
        "l2": float(layer.l2),
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
    if isinstance(thing, str):
        return {"name": thing}
    wire: dict[str, Any] = {"name": thing.name}
    for field in fields(thing):
        if field.name not in without:
            value = getattr(thing, field.name)
            # NumPy's scalars are not JSON; the dataclasses have checked that only bools and real numbers are
            # here.
            plain = {"bool": bool, "int": int}.get(str(field.type), float)
            wire[field.name] = plain(value)
    return wire


def _read_layer(wire: Mapping[str, Any]) -> Dense:
    said = dict(wire)
    units, activation = said.pop("units"), said.pop("activation")
    said["weight_initializer"] = _read_or_name(said["weight_initializer"], _initializers.WITH_PARAMETERS)
    said["bias_initializer"] = _read_or_name(said["bias_initializer"], _initializers.WITH_PARAMETERS)
    return Dense(units, _read_or_name(activation, _activations.WITH_PARAMETERS), **said)


def _read_or_name(wire: Mapping[str, Any], classes: Mapping[str, Any]) -> Any:
    return _read(wire, classes) if wire["name"] in classes else wire["name"]


def _read(wire: Mapping[str, Any], classes: Mapping[str, Any]) -> Any:
    made = classes[wire["name"]]
    # An optimizer that finds its step by itself has a rate that nobody can choose.
    chosen = {field.name for field in fields(made) if field.init}
    return made(
        **{
            key: value
            for key, value in wire.items()
            if key != "name" and (key in chosen or key != "learning_rate")
        }
    )


def _dumps(value: object) -> str:
    # repr of a float is exact, and NaN or infinity would not be JSON: both are refused where they come in.
    return json.dumps(value, allow_nan=False)
