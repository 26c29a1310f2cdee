"""Metrics: what is measured beside the loss, by name, as frozen dataclasses, or by a function of the user.

What users give comes in; it goes out checked against the loss. Computes nothing. Loaded when somebody asks
for a metric, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from dnn import _called, _checks
from dnn._checks import counted
from dnn._dataclass import dataclass

if TYPE_CHECKING:
    from dnn._called import Measure
    from dnn._losses import Task

# What a user may give, once it is checked.
Given = Any  # str | Metric | Callable

_HINGES = ("hinge", "squared_hinge")
# What else is in a history.
_TAKEN = ("loss", "rate", "grad_norm", "seconds")


@dataclass(frozen=True)
class Metric:
    """Base of all metrics."""

    name: ClassVar[str]
    # Whether it is for outputs that tell classes, or for those that are numbers.
    of_classes: ClassVar[bool] = True

    @property
    def key(self) -> str:
        """Its name in a history."""
        return self.name

    def check(self, task: Task, said: str) -> None:
        """Refuse a task that it has nothing to say about; `said` is the metric as it was given."""
        loss, output = task.loss, task.output
        told = output in ("softmax", "sigmoid") or loss.name in _HINGES
        if self.of_classes and not told:
            raise ValueError(
                f"metric {said} is for classes, but the last layer's activation is {output!r} and the loss "
                f"{loss.name!r}; use 'mae', 'mse', 'rmse' or 'r2', or give the last layer 'softmax' or "
                "'sigmoid'"
            )
        if loss.heads > 1 and self != BY_NAME["accuracy"]:
            raise ValueError(
                f"metric {said} compares every output with a target of its own, but loss {loss.name!r} has "
                f"{loss.heads} outputs for each target; leave it out, the loss itself is measured"
            )
        if not self.of_classes and (task.takes_labels or loss.targets in ("distribution", "unit")):
            raise ValueError(
                f"metric {said} is for regression, but the loss is {loss.name!r}; use 'accuracy'"
                if not loss.is_function
                else f"metric {said} is for regression, but the last layer's activation is {output!r}; use "
                "'accuracy'"
            )


class _OfNumbers(Metric):
    __slots__ = ()
    of_classes: ClassVar[bool] = False


class _Accuracy(Metric):
    __slots__ = ()
    name: ClassVar[str] = "accuracy"


class _MAE(_OfNumbers):
    __slots__ = ()
    name: ClassVar[str] = "mae"


class _MSE(_OfNumbers):
    __slots__ = ()
    name: ClassVar[str] = "mse"


class _RMSE(_OfNumbers):
    __slots__ = ()
    name: ClassVar[str] = "rmse"


class _R2(_OfNumbers):
    __slots__ = ()
    name: ClassVar[str] = "r2"


@dataclass(frozen=True)
class TopK(Metric):
    """Share of the rows whose class is among the k with the largest outputs.

    scikit-learn's top_k_accuracy_score, also where outputs are equal: of these the later classes come first.
    Keras's TopKCategoricalAccuracy where they differ. For one class of several.

    Parameters
    ----------
    k : int, default 5
        From 1 to the number of classes minus 1. By name it is "top_k_accuracy", with k = 5.

    Raises
    ------
    TypeError, ValueError
        If `k` is no whole number from 1; where it is used, if there are no more than k classes.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Input(1), dnn.Dense(4, "softmax")], seed=1)
    >>> model.set_weights([[[0.0, 0.0, 0.0, 0.0]], [3.0, 2.0, 1.0, 0.0]])
    >>> model.compile(metrics=["accuracy", dnn.TopK(2)])
    >>> result = model.evaluate([[0.0], [0.0], [0.0], [0.0]], [0, 1, 1, 3])
    >>> result["accuracy"], result["top_2_accuracy"]
    (0.25, 0.75)
    """

    name: ClassVar[str] = "top_k"
    k: int = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", _checks.integer(self.k, "k", 1))

    @property
    def key(self) -> str:
        """Its name in a history: top_5_accuracy for k = 5."""
        return f"top_{self.k}_accuracy"

    def check(self, task: Task, said: str) -> None:
        """Refuse what has no more than k classes."""
        super().check(task, said)
        if not _is_one_of_several(task):
            raise ValueError(
                f"metric {said} is for one class of several, but the outputs are {task.n_outputs} answers of "
                "yes or no; use 'accuracy'"
            )
        if self.k >= task.n_outputs:
            raise ValueError(
                f"metric {said} counts a class among the best {self.k}, but the last layer has "
                f"{counted(task.n_outputs, 'output')}, so it always is; use dnn.TopK(k) with k below "
                f"{task.n_outputs}"
            )


@dataclass(frozen=True)
class _Averaged(Metric):
    average: str = "auto"
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.average, str):
            raise TypeError(
                f"average must be one of {', '.join(map(repr, AVERAGES))}, got {_checks.shown(self.average)}"
            )
        _checks.name_in(self.average, "average", AVERAGES)
        if self.threshold is not None:
            object.__setattr__(self, "threshold", _checks.number(self.threshold, "threshold"))

    @property
    def key(self) -> str:
        """Its name in a history: with average and threshold, where they were chosen."""
        average = "" if self.average == "auto" else f"_{self.average}"
        return f"{self.name}{average}" + ("" if self.threshold is None else f"_at_{self.threshold:g}")

    def check(self, task: Task, said: str) -> None:
        """Refuse an average or a threshold that means nothing."""
        super().check(task, said)
        one_of = _is_one_of_several(task)
        if self.threshold is not None and one_of:
            raise ValueError(
                f"metric {said} has a threshold, but of {task.n_outputs} classes the largest output counts; "
                "leave it out, or use sigmoid outputs"
            )
        if self.average == "binary" and not (task.n_outputs == 1 or (one_of and task.n_outputs == 2)):
            raise ValueError(
                f"metric {said} has average='binary', but there are {task.n_outputs} outputs; use 'macro', "
                "'micro' or 'weighted'"
            )


AVERAGES = ("auto", "binary", "macro", "micro", "weighted")


class Precision(_Averaged):
    """Share of the rows taken for a class that are of it: true positives / (true + false positives).

    scikit-learn's precision_score, with 0 where no row is taken for the class.

    Parameters
    ----------
    average : {"auto", "binary", "macro", "micro", "weighted"}, default "auto"
        How the scores of several classes become one. "binary" is that of the second of two classes (label 1,
        or the one output being yes); "macro" the mean over classes, "weighted" the mean by the weight of the
        rows of each, "micro" that of all classes taken together. "auto" is "binary" for two classes, else
        "macro". As in scikit-learn the mean leaves out classes that neither rows nor outputs name, unless
        each output is a label of its own. By name: "precision", "precision_macro", "precision_micro",
        "precision_weighted".
    threshold : float, optional
        A single output, or each of several labels, is a yes above this. None is 0.5, or 0 with a hinge loss.
        Not for one class of several, which is that of the largest output.

    Raises
    ------
    TypeError, ValueError
        If an argument is refused; where it is used, if it does not go with the outputs.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Input(1), dnn.Dense(1, "sigmoid")])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(metrics=["precision", dnn.Precision(threshold=0.9)])
    >>> result = model.evaluate([[-1.0], [1.0], [2.0], [3.0]], [0, 0, 0, 1])
    >>> round(result["precision"], 3), result["precision_at_0.9"]
    (0.333, 1.0)
    """

    name: ClassVar[str] = "precision"


class Recall(_Averaged):
    """Share of the rows of a class that are taken for it: true positives / (true + false negatives).

    scikit-learn's recall_score, with 0 where the class has no row.

    Parameters
    ----------
    average, threshold
        As for `Precision`.

    Raises
    ------
    TypeError, ValueError
        As for `Precision`.

    Examples
    --------
    >>> import dnn
    >>> dnn.Recall("macro").key
    'recall_macro'
    """

    name: ClassVar[str] = "recall"


class F1(_Averaged):
    """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN), for each class, then averaged.

    scikit-learn's f1_score, with 0 where no row is of the class or taken for it.

    Parameters
    ----------
    average, threshold
        As for `Precision`.

    Raises
    ------
    TypeError, ValueError
        As for `Precision`.

    Examples
    --------
    >>> import dnn
    >>> dnn.F1(threshold=0.3).key
    'f1_at_0.3'
    """

    name: ClassVar[str] = "f1"


@dataclass(frozen=True)
class AUC(Metric):
    """Area under the receiver operating characteristic, exactly.

    It is the probability that a row of the class has a higher output than another row, equal outputs counting
    half: scikit-learn's roc_auc_score, with multi_class="ovr" for one class of several; every pair of rows
    weighs the product of its weights. NaN where a class has no rows, or all of them. It keeps the outputs of
    all rows, and sorts them at the end of an epoch.

    Parameters
    ----------
    average : {"macro", "weighted"}, default "macro"
        Over the classes, each against the rest, or over the labels: their mean, or that by the weight of the
        rows of each. Two classes have one area.

    Raises
    ------
    TypeError, ValueError
        If `average` is neither.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Input(1), dnn.Dense(1, "sigmoid")])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(metrics=["auc"])
    >>> model.evaluate([[0.1], [0.4], [0.35], [0.8]], [0, 0, 1, 1])["auc"]
    0.75
    """

    name: ClassVar[str] = "auc"
    average: str = "macro"

    def __post_init__(self) -> None:
        if not isinstance(self.average, str):
            raise TypeError(f"average must be 'macro' or 'weighted', got {_checks.shown(self.average)}")
        _checks.name_in(self.average, "average", ("macro", "weighted"))

    @property
    def key(self) -> str:
        """Its name in a history."""
        return self.name if self.average == "macro" else f"{self.name}_{self.average}"


BY_NAME: dict[str, Metric] = {
    **{plain.name: plain() for plain in (_Accuracy, _MAE, _MSE, _RMSE, _R2)},
    "top_k_accuracy": TopK(),
    **{score.name: score() for score in (Precision, Recall, F1)},
    **{
        f"{score.name}_{average}": score(average)
        for score in (Precision, Recall, F1)
        for average in ("macro", "micro", "weighted")
    },
    "auc": AUC(),
}
# scikit-learn's and Keras's spellings.
ALIASES = {
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse",
    "r2_score": "r2",
    "binary_accuracy": "accuracy",
    "categorical_accuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy",
    "accuracy_score": "accuracy",
    "top_k_accuracy_score": "top_k_accuracy",
    "top_k_categorical_accuracy": "top_k_accuracy",
    "sparse_top_k_categorical_accuracy": "top_k_accuracy",
    "precision_score": "precision",
    "recall_score": "recall",
    "f1_score": "f1",
    "roc_auc": "auc",
    "roc_auc_score": "auc",
}
_HINTS = {
    "acc": "write 'accuracy'",
    "top_k": "write 'top_k_accuracy' for k = 5, or dnn.TopK(k)",
    "balanced_accuracy": "write 'recall_macro', which it is where every class has rows",
}
# Those with parameters, for model files.
CLASSES: dict[str, type[Metric]] = {cls.name: cls for cls in (TopK, Precision, Recall, F1, AUC)}


def checked(given: Any, task: Task) -> tuple[Given, ...]:
    """`given`, a list of names, metrics and functions, each of which goes with `task`."""
    example = f"metrics=[{given!r}]" if isinstance(given, str) else "metrics=['accuracy']"
    metrics = _checks.sequence(given, "metrics", example)
    for position, metric in enumerate(metrics):
        if isinstance(metric, str):
            name = _checks.name_in(metric, "metric", BY_NAME, ALIASES, _HINTS)
            BY_NAME[name].check(task, repr(metric))
        elif isinstance(metric, type) and issubclass(metric, Metric):
            raise TypeError(
                f"metrics[{position}] is the class {metric.__name__}; make one of it: {metric.__name__}()"
            )
        elif isinstance(metric, Metric):
            metric.check(task, repr(metric))
        elif not callable(metric):
            raise TypeError(
                f"metrics[{position}] must be a name, one such as TopK(3) or a function (y_true, y_pred), "
                f"got {_checks.shown(metric)}; known: {', '.join(BY_NAME)}"
            )
    keys = [key(metric) for metric in metrics]
    for metric, name in zip(metrics, keys, strict=True):
        if name in _TAKEN or name.startswith("val_"):
            raise ValueError(
                f"a metric can't be named {name!r}, which is something else in a history; rename the "
                f"function {_checks.shown(metric)}"
            )
        if keys.count(name) > 1:
            raise ValueError(f"metrics names {name!r} twice; give functions names that differ: {keys}")
    return tuple(metrics)


def key(metric: Given) -> str:
    """The name of a metric in a history: as it was given, or that of the function."""
    if isinstance(metric, str):
        return metric
    return metric.key if isinstance(metric, Metric) else _called.name_of(metric)


def measure(metric: Given) -> Metric | None:
    """What a metric that was checked stands for; None for a function."""
    if isinstance(metric, str):
        return BY_NAME[ALIASES.get(metric, metric)]
    return metric if isinstance(metric, Metric) else None


def functions(metrics: tuple[Given, ...]) -> list[Measure]:
    """The functions among them, as the extension calls them."""
    return [_called.metric(metric) for metric in metrics if measure(metric) is None]


def kept(metrics: tuple[Given, ...]) -> tuple[str | Metric, ...]:
    """Those that a file can hold: all but functions."""
    return tuple(metric for metric in metrics if measure(metric) is not None)


def _is_one_of_several(task: Task) -> bool:
    """Whether a row is of one class, that of the largest output."""
    of_each = task.loss.targets in ("unit", "signs") and not task.takes_labels
    return task.n_outputs > 1 and not of_each
