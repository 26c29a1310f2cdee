"""Files of estimators: the file of their network, with parameters and attributes beside its description.

Plain types, arrays and the dataclasses of the package go in and come out; reading executes nothing.
"""

from __future__ import annotations

import base64
import os
from dataclasses import fields
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from dnn import _activations, _averaging, _losses, _optimizers, _spec, _warn
from dnn._core import Network
from dnn._loss import Loss
from dnn._model import Sequential
from dnn._optimizer import Optimizer
from dnn._plateau import SCHEDULES
from dnn._schedule import Schedule

FORMAT = 1

# Families of dataclasses that a parameter may be.
_FAMILIES: dict[str, tuple[type, dict[str, Any]]] = {
    "averaging": (_averaging.Averaging, {"ema": _averaging.EMA, "swa": _averaging.SWA}),
    "activation": (_activations.Activation, _activations.WITH_PARAMETERS),
    "loss": (Loss, _losses.LOSSES),
    "optimizer": (Optimizer, _optimizers.OPTIMIZERS),
    "schedule": (Schedule, SCHEDULES),
}

_ATTRIBUTES = (
    "n_iter_",
    "t_",
    "n_layers_",
    "n_outputs_",
    "n_features_in_",
    "feature_names_in_",
    "out_activation_",
    "classes_",
    "loss_",
    "best_loss_",
    "loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "learning_rate_",
    "stopped_",
    "_no_improvement_count",
)


def save(estimator: Any, model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write `estimator`, whose network is `model`."""
    parameters = {}
    for name, value in estimator.get_params(deep=False).items():
        try:
            parameters[name] = _plain(value)
        except TypeError:
            _warn.warn(
                f"{name}={value!r} can't be saved in a file, so the loaded estimator has None there; pickle "
                "keeps it",
                UserWarning,
            )
            parameters[name] = None
    attributes = {name: _attribute(estimator, name) for name in _ATTRIBUTES if hasattr(estimator, name)}
    best = getattr(estimator, "_best_weights", None)
    if best is not None:
        attributes["_best_weights"] = {"is": "list", "items": [_numbers(array) for array in best]}
    binarizer = getattr(estimator, "_label_binarizer", None)
    said = {
        "estimator": type(estimator).__name__,
        "format": FORMAT,
        "parameters": parameters,
        "attributes": attributes,
        "targets": None if binarizer is None else [binarizer.y_type_, bool(binarizer.sparse_input_)],
        "network": model._description(),
    }
    model._built().save(os.fsdecode(path), _spec.plain_to_text(said), True)


def _attribute(estimator: Any, name: str) -> Any:
    value = getattr(estimator, name)
    try:
        return _plain(value)
    except TypeError as error:
        raise TypeError(
            f"{name} of the estimator has what a file can't hold ({error}): {value!r}; pickle can, or fit it "
            "with other labels"
        ) from error


def load(made: Any, path: str | os.PathLike[str]) -> Any:
    """The estimator of the class `made` that `save` wrote."""
    data = _spec.content(path)
    try:
        network, text = Network.from_bytes(data)
        said = _spec.plain_from_text(text)
        if not isinstance(said, dict) or said.get("estimator") != made.__name__:
            kind = said.get("estimator", "Sequential") if isinstance(said, dict) else "something else"
            raise ValueError(f"it holds a {kind}")
        if said["format"] > FORMAT:
            raise ValueError(f"its format {said['format']} is newer than {FORMAT}; update dnn")
        estimator = made(**{name: _read(value) for name, value in said["parameters"].items()})
        model = Sequential._revived(network, _spec.from_file(said["network"]))
        read = {*_ATTRIBUTES, "_best_weights"}
        attributes = {name: _read(value) for name, value in said["attributes"].items() if name in read}
        best = attributes.get("_best_weights")
        if best is not None and [one.shape for one in best] != [one.shape for one in model.get_weights()]:
            raise ValueError("its best weights are not those of its network")
        binarizer = _read_targets(said["targets"], attributes)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{os.fspath(path)!r} is not a file of a {made.__name__} that can be read: {error}"
        ) from error
    estimator._model = model
    for name, value in attributes.items():
        setattr(estimator, name, value)
    if binarizer is not None:
        estimator._label_binarizer = binarizer
    return estimator


def _read_targets(said: Any, attributes: dict[str, Any]) -> LabelBinarizer | None:
    """What turns labels into columns; none for numbers."""
    if said is None:
        return None
    kind, is_sparse = said
    classes = attributes["classes_"]
    binarizer = LabelBinarizer().fit(
        np.eye(len(classes), dtype=int) if kind == "multilabel-indicator" else classes
    )
    binarizer.y_type_, binarizer.sparse_input_ = kind, is_sparse
    return binarizer


def _numbers(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """An array of many numbers, shorter than digits."""
    little = array.astype(array.dtype.newbyteorder("<"))
    text = base64.b64encode(little.tobytes()).decode()
    return {"is": "numbers", "dtype": little.dtype.str, "shape": list(array.shape), "base64": text}


def _plain(value: Any) -> Any:
    """`value` in types that JSON has; TypeError if it can't be."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "mM":
        # Dates and durations are whole numbers of a unit, which their type names.
        return {"is": "array", "dtype": value.dtype.str, "values": value.astype(np.int64).tolist()}
    if isinstance(value, np.ndarray):
        return {"is": "array", "dtype": value.dtype.str, "values": [_plain(item) for item in value.tolist()]}
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        # JSON has neither NaN nor infinity; the text of the others is exact.
        return value if np.isfinite(value) else {"is": "float", "value": str(value)}
    if isinstance(value, (list, tuple)):
        return {"is": type(value).__name__, "items": [_plain(item) for item in value]}
    if isinstance(value, dict):
        return {"is": "dict", "items": [[_plain(key), _plain(item)] for key, item in value.items()]}
    for family, (base, _) in _FAMILIES.items():
        if isinstance(value, base):
            # The families are dataclasses with a name, which their bases don't say.
            said = {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.init}  # type: ignore[arg-type]
            return {"is": family, "name": value.name, "fields": said}  # type: ignore[attr-defined]
    raise TypeError(f"{type(value).__name__} is not plain")


def _read(said: Any) -> Any:
    """What `_plain` made this of."""
    if not isinstance(said, dict):
        return said
    kind = said["is"]
    if kind == "array" and np.dtype(said["dtype"]).kind in "mM":
        return np.asarray(said["values"], dtype=np.int64).astype(said["dtype"])
    if kind == "array":
        return np.asarray([_read(value) for value in said["values"]], dtype=said["dtype"])
    if kind == "numbers":
        flat = np.frombuffer(base64.b64decode(said["base64"]), said["dtype"]).reshape(said["shape"])
        return flat.astype(flat.dtype.newbyteorder("="))
    if kind == "float":
        return float(said["value"])
    if kind in ("list", "tuple"):
        items = [_read(item) for item in said["items"]]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {_read(key): _read(value) for key, value in said["items"]}
    _, known = _FAMILIES[kind]
    return known[said["name"]](**{name: _read(value) for name, value in said["fields"].items()})
