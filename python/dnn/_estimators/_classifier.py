"""MLPClassifier: classes from a dense network, with scikit-learn's parameters, attributes and meanings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)

from dnn import _arrays, _checks, _class_losses, _losses
from dnn._checks import counted
from dnn._estimators import _scores
from dnn._estimators._base import MLP, is_stochastic
from dnn._estimators._data import Goal, Targets, Validation, of_classes
from dnn._estimators._settings import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from dnn._activations import Activation
    from dnn._averaging import Averaging
    from dnn._called import LossCallable
    from dnn._loss import Loss
    from dnn._optimizer import Optimizer

_HINGES = ("hinge", "squared_hinge")


def _has_probabilities(estimator: Any) -> bool:
    name = _name_of(estimator.loss)
    if name in _HINGES:
        raise AttributeError(
            f"predict_proba is not there with loss={name!r}, whose outputs are no probabilities; use "
            "loss='log_loss'"
        )
    return True


class MLPClassifier(ClassifierMixin, MLP):
    """Classes from a dense network: scikit-learn's `MLPClassifier`, faster and with more to choose from.

    The parameters up to `max_fun`, and the attributes, are scikit-learn's and mean the same: with the same
    `random_state` first weights, validation rows and batches are the same, and what is learned is the same to
    rounding. It minimises the cross entropy -sum t ln y, mean over the rows of a batch, plus
    alpha / 2 * sum of W^2 / rows of the batch.

    Parameters
    ----------
    hidden_layer_sizes : int or list of int, default (100,)
        Units of each hidden layer.
    activation : str, activation or list of them, default "relu"
        Of the hidden layers: "identity", "logistic", "tanh", "relu", or any other of `Dense`; a list has one
        for each layer.
    solver : str or optimizer, default "adam"
        "adam", "sgd", the name of another optimizer of this package (its rate is `learning_rate_init`), or an
        optimizer such as `dnn.SGD(0.1, momentum=0.9)`, which brings a rate of its own.
    alpha : float, default 0.0001
        Strength of the penalty on the squares of the weights, 0 or more.
    batch_size : int or "auto", default "auto"
        Rows of a step; "auto" is min(200, rows).
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        "invscaling" divides the rate by t^power_t after each epoch, t counting rows; "adaptive" divides it by
        5 whenever training would stop, until it is 1e-6. For solvers given by name, except "adam".
    learning_rate_init : float, default 0.001
        First learning rate, above 0.
    power_t : float, default 0.5
        Exponent of "invscaling".
    max_iter : int, default 200
        Epochs at most.
    shuffle : bool, default True
        Whether rows come in a new order in every epoch.
    random_state : int, RandomState or None, default None
        Of first weights, validation rows and batches.
    tol : float, default 1e-4
        Training stops when the loss (the score, with `early_stopping`) has not improved by at least `tol` for
        more than `n_iter_no_change` epochs.
    verbose : bool, default False
        Whether to print a line for each epoch.
    warm_start : bool, default False
        Whether `fit` goes on from the weights that are there.
    momentum : float, default 0.9
        Of "sgd", from 0 to 1.
    nesterovs_momentum : bool, default True
        Of "sgd".
    early_stopping : bool, default False
        Whether to stop by the score of validation rows, and take the weights of the best epoch.
    validation_fraction : float, default 0.1
        Share of the rows that are held for validation, unless `fit` is given some.
    beta_1, beta_2 : float, default 0.9 and 0.999
        Of "adam", at least 0 and below 1.
    epsilon : float, default 1e-8
        Of "adam", above 0.
    n_iter_no_change : int or inf, default 10
        Epochs that `tol` waits.
    max_fun : int, default 15000
        Calls of the loss at most, for L-BFGS.
    loss : str, loss or callable, default "log_loss"
        "log_loss", or another loss of this package that goes with classes, by name or as an instance. Hinge
        losses have no `predict_proba`. A function f(y_true, y_pred) -> (loss, gradient) is a loss of your
        own, as for `Sequential.compile`; y_true has a 1 in the column of the class and 0 elsewhere, or for
        two classes one column.
    class_weight : dict, "balanced" or None, default None
        Weight of the rows of each class, 0 or more; "balanced" is rows / (classes * rows of the class). As
        everywhere in scikit-learn, classes that a dict leaves out weigh 1, and labels of no class are
        refused if a class is left out: one of them may be misspelt. For several labels a list of dicts.
    dropout : float or list of float, default 0.0
        Share of the outputs of a hidden layer that each step leaves out, at least 0 and below 1; a list has
        one for each layer.
    n_hidden_layers, hidden_width : int, optional
        Number and width of the hidden layers as scalars, for searchers; they take the place of those in
        `hidden_layer_sizes`.
    scoring : str, callable or None, default None
        The score of validation rows, as everywhere in scikit-learn; None is the accuracy. Without
        such rows, of `early_stopping` or `X_val`, it is not used, and `fit` warns.
    callbacks : list of Callback or callable, default None
        As for `Sequential.fit`: f(epoch, logs) is called after each epoch, and may return True to stop. With
        scikit-learn 1.9 `set_callbacks` takes scikit-learn's own.
    averaging : EMA or SWA, optional
        As for `Sequential.fit`: a mean of the weights over steps or epochs is what is scored, and what `fit`
        leaves; `loss_curve_` is still that of the weights that train. Not for `partial_fit` and L-BFGS.
    max_time : float, optional
        Stop after so many seconds, at the end of an epoch.
    n_threads : int, optional
        At most so many threads; results don't depend on it.
    precision : {"highest", "high", "medium", "strict"}, default "highest"
        As for `Sequential`.
    dtype : {"auto", "float32", "float64"}, default "auto"
        Type of all computation. "auto" is that of X, if it is one of them, and float64 otherwise.

    Attributes
    ----------
    classes_ : ndarray (classes,)
        The labels, sorted.
    coefs_, intercepts_ : list of ndarray
        Weights (n_in, n_out) and biases (n_out,) of each layer. They may be set, and changed in place.
    loss_ : float
        Loss of the last epoch, penalty included.
    best_loss_ : float or None
        The lowest; None with `early_stopping`.
    loss_curve_ : list of float
        Loss of each epoch.
    validation_scores_, best_validation_score_ : list of float, float or None
        Score of the validation rows after each epoch, and the highest.
    n_iter_, t_ : int
        Epochs of the last fit; rows seen in all.
    learning_rate_ : float
        The rate of the next step.
    n_layers_, n_outputs_ : int
        Layers with the input; outputs.
    out_activation_ : str
        "softmax" for more than two classes, otherwise "logistic".
    n_features_in_, feature_names_in_ : int, ndarray of str
        Columns of X, and their names if X had some.

    Raises
    ------
    InvalidParameterError
        By `fit`, if a parameter is refused; it is a ValueError and a TypeError.

    See Also
    --------
    Sequential : The network underneath.

    Notes
    -----
    Conventions and defaults are those of scikit-learn's `sklearn.neural_network.MLPClassifier`.

    Examples
    --------
    >>> import dnn
    >>> x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], ["no", "yes", "yes", "no"]
    >>> model = dnn.MLPClassifier((16,), activation="tanh", max_iter=500, random_state=1)
    >>> model = model.set_params(learning_rate_init=0.05)
    >>> model.fit(x, y).predict(x).tolist()
    ['no', 'yes', 'yes', 'no']
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Activation | Sequence[str | Activation] = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str | Loss | LossCallable = "log_loss",
        class_weight: Mapping[Any, float] | str | None = None,
        dropout: float | Sequence[float] = 0.0,
        n_hidden_layers: int | None = None,
        hidden_width: int | None = None,
        scoring: Any = None,
        callbacks: Sequence[Any] | None = None,
        averaging: Averaging | None = None,
        max_time: float | None = None,
        n_threads: int | None = None,
        precision: str = "highest",
        dtype: str = "auto",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.class_weight = class_weight
        self.dropout = dropout
        self.n_hidden_layers = n_hidden_layers
        self.hidden_width = hidden_width
        self.scoring = scoring
        self.callbacks = callbacks
        self.averaging = averaging
        self.max_time = max_time
        self.n_threads = n_threads
        self.precision = precision
        self.dtype = dtype

    @available_if(is_stochastic)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on these rows, going on from the weights that are there.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val
            As for `fit`. With `early_stopping=True` validation rows are needed: `stopped_` turns True, and
            the best weights come back, when their score no longer improves.
        classes : array (classes,), optional
            All classes there will be; needed at the first call.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If something is refused, or y has a label that is not in `classes`.
        """
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of each row.

        Parameters
        ----------
        X : array, DataFrame or sparse matrix (rows, features)
            As for `fit`.

        Returns
        -------
        ndarray (rows,) or (rows, labels)
            Labels, or an indicator matrix if y was one.
        """
        binarizer = getattr(self, "_label_binarizer", None)
        if binarizer is not None and binarizer.y_type_ == "multiclass":
            numbers = self._largest_at_once(X)
            if numbers is not None:
                labels: NDArray[Any] = self.classes_[numbers]
                return labels
        predicted = self._predicted(self._outputs(X))
        binarizer = self._label_binarizer
        if binarizer.sparse_input_:
            # scikit-learn has no types.
            return binarizer.inverse_transform(predicted)  # type: ignore[no-any-return]
        if predicted.ndim == 2:
            return predicted.astype(int)
        labels = self.classes_[predicted.astype(np.intp, copy=False)]
        return labels

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> NDArray[Any]:
        """The probability of each class.

        Parameters
        ----------
        X : array, DataFrame or sparse matrix (rows, features)
            As for `fit`.

        Returns
        -------
        ndarray (rows, classes)
            In the order of `classes_`. For several labels the probability of each of them.
        """
        outputs = self._outputs(X)
        if self.n_outputs_ > 1:
            return outputs
        return np.concatenate([1 - outputs, outputs], axis=1)

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """The logarithm of `predict_proba`.

        Parameters
        ----------
        X : array, DataFrame or sparse matrix (rows, features)
            As for `fit`.

        Returns
        -------
        ndarray (rows, classes)
        """
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):  # of a probability of 0 it is -inf
            logarithms: NDArray[Any] = np.log(probabilities, out=probabilities)
        return logarithms

    # What the base asks for

    @property
    def _is_hinge(self) -> bool:
        return _name_of(self.loss) in _HINGES

    def _goal(self, n_outputs: int) -> Goal:
        is_single = self._label_binarizer.y_type_ == "multiclass"
        output = "identity" if self._is_hinge else "softmax" if is_single else "logistic"
        if isinstance(self.loss, str) and self.loss == "log_loss":
            if is_single:
                return Goal(output, _class_losses.CrossEntropy())
            # The sum over the labels, where ours is the mean.
            return Goal(output, _class_losses.BinaryCrossEntropy(), n_outputs, n_outputs)
        return Goal(output, _losses.resolve(self.loss, OUTPUTS[output]))

    def _read(self, X: Any, y: Any, dtype: Any, *, incremental: bool, reset: bool) -> tuple[Any, Targets]:
        X, y = self._validated(X, y, dtype, reset=reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            check_classification_targets(y)
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            is_sure = y.ndim == 1 and y.dtype.kind in "iu"  # of what scikit-learn would find in it
            self._check_classes(np.unique(y) if is_sure else unique_labels(y))
        numbers = self._numbers(y)
        if self._label_binarizer.y_type_ != "multiclass":
            table = numbers.reshape(len(numbers), -1)
            return X, Targets(2.0 * table - 1.0 if self._is_hinge else table, table.shape[1], numbers)
        n_classes = len(self.classes_)
        if isinstance(self._goal(n_classes).loss, _class_losses.CrossEntropy):
            return X, Targets(numbers, n_classes, numbers)
        table = numbers[:, None] == np.arange(n_classes)
        return X, Targets(2.0 * table - 1.0 if self._is_hinge else table, n_classes, numbers)

    def _check_classes(self, classes: NDArray[Any]) -> None:
        """Refuse classes that the estimator doesn't have, and with `warm_start` also fewer."""
        if self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has "
                f"{classes}."
            )

    def _numbers(self, y: Any) -> NDArray[Any]:
        """The number of the class of each row, -1 for one that is unknown; of labels which there are."""
        y = _arrays.dense(y)
        is_table = self._label_binarizer.y_type_ == "multilabel-indicator"
        form = "an indicator matrix" if is_table else "one label for each row"
        if y.ndim != 1 + is_table or (is_table and y.shape[1] != len(self.classes_)):
            raise ValueError(
                f"y has shape {y.shape}, but {form} of {counted(len(self.classes_), 'class', 'classes')} was "
                "given before; pass y in the same form"
            )
        if is_table:
            return np.asarray(y, dtype=bool)
        places = np.searchsorted(self.classes_, y)
        places[places == len(self.classes_)] = 0
        numbers: NDArray[Any] = np.where(self.classes_[places] == y, places, -1)
        return numbers

    def _truth(self, y: Any) -> NDArray[Any]:
        truth = np.asarray(_arrays.dense(y))
        return self._numbers(truth[:, 0] if truth.ndim == 2 and truth.shape[1] == 1 else truth)

    def _validation(self, given: tuple[Any, Any, Any], dtype: Any) -> Validation | None:
        validation = super()._validation(given, dtype)
        if validation is not None and validation.truth.ndim == 1 and np.all(validation.truth < 0):
            few = _checks.shown(self.classes_[:5].tolist())
            raise ValueError(f"y_val has no label that y has, and nothing to score; the first classes: {few}")
        return validation

    def _as_given(self, truth: NDArray[Any]) -> NDArray[Any]:
        labels: NDArray[Any] = truth.astype(int) if truth.ndim == 2 else self.classes_[truth]
        return labels

    def _predicted(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """The number of the class of each row, or which labels it has."""
        if self._label_binarizer.y_type_ == "multiclass":
            numbers: NDArray[Any] = np.argmax(outputs, axis=1)
            return numbers
        is_on = outputs > (0.0 if self._is_hinge else 0.5)
        if self._label_binarizer.y_type_ == "multilabel-indicator":
            return is_on
        only: NDArray[Any] = is_on[:, 0]
        return only if len(self.classes_) > 1 else np.zeros_like(only)

    def _score(
        self, truth: NDArray[Any], outputs: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> float:
        return _scores.accuracy(truth, self._predicted(outputs), weights)

    def _class_weights(
        self, truth: NDArray[Any], weights: NDArray[np.float64] | None, *, incremental: bool
    ) -> NDArray[np.float64] | None:
        given = self.class_weight
        if given is None:
            return None
        if isinstance(given, str) and incremental:
            raise ValueError(
                f"class_weight={given!r} counts the rows of each class, of which partial_fit sees a part; "
                "pass a dict of weights, for example made with "
                "sklearn.utils.class_weight.compute_class_weight"
            )
        if isinstance(given, list) and truth.ndim == 1:
            raise InvalidParameterError(
                f"class_weight is a list, {_checks.shown(given)}, which is for several labels; give a dict"
            )
        of_rows: NDArray[np.float64]
        if truth.ndim == 2:
            of_rows = compute_sample_weight(given, truth.astype(int))
        elif isinstance(given, str):
            counts = np.bincount(truth, weights, len(self.classes_))
            # A class that weighs nothing has no rows to weigh.
            of_class = counts.sum() / (len(counts) * np.where(counts > 0, counts, np.inf))
            of_rows = of_class[truth]
        else:
            of_rows = of_classes(given, self.classes_)[truth]
        if not of_rows.any():
            raise ValueError("class_weight is zero for all classes that are there; give one of them a weight")
        return of_rows

    def _stratify(self, targets: Targets) -> NDArray[Any] | None:
        return targets.values > 0 if targets.n_outputs == 1 else None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _name_of(loss: Any) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "name", "")
