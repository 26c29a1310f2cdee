"""MLPRegressor: numbers from a dense network, with scikit-learn's parameters, attributes and meanings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import InvalidParameterError

from dnn import _arrays, _checks, _losses
from dnn._checks import counted
from dnn._estimators import _scores
from dnn._estimators._base import MLP
from dnn._estimators._data import Goal, Targets
from dnn._estimators._settings import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from dnn._activations import Activation
    from dnn._averaging import Averaging
    from dnn._called import LossCallable
    from dnn._loss import Loss
    from dnn._optimizer import Optimizer


class MLPRegressor(RegressorMixin, MLP):
    """Numbers from a dense network: scikit-learn's `MLPRegressor`, faster and with more to choose from.

    The parameters up to `max_fun`, and the attributes, are scikit-learn's and mean the same: with the same
    `random_state` first weights, validation rows and batches are the same, and what is learned is the same to
    rounding. It minimises 1/2 sum over the outputs of (y - t)^2, mean over the rows of a batch, plus
    alpha / 2 * sum of W^2 / rows of the batch; as in scikit-learn, the loss that is told has the mean over
    the outputs.

    Parameters
    ----------
    loss : str, loss or callable, default "squared_error"
        "squared_error", "poisson" (its outputs are exponentials), or another loss of this package that goes
        with numbers, by name or as an instance; `dnn.Quantile([0.1, 0.5, 0.9])` gives an output for each. A
        function f(y_true, y_pred) -> (loss, gradient) is a loss of your own, as for `Sequential.compile`.
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
    dropout : float or list of float, default 0.0
        Share of the outputs of a hidden layer that each step leaves out, at least 0 and below 1; a list has
        one for each layer.
    n_hidden_layers, hidden_width : int, optional
        Number and width of the hidden layers as scalars, for searchers; they take the place of those in
        `hidden_layer_sizes`.
    scoring : str, callable or None, default None
        The score of validation rows, as everywhere in scikit-learn; None is R^2. Without such
        rows, of `early_stopping` or `X_val`, it is not used, and `fit` warns.
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
        "identity", or "exp" for losses of positive numbers.
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
    Conventions and defaults are those of scikit-learn's `sklearn.neural_network.MLPRegressor`.

    Examples
    --------
    >>> import dnn
    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 100).reshape(-1, 1)
    >>> model = dnn.MLPRegressor(hidden_layer_sizes=(32,), learning_rate_init=0.02, tol=1e-6, random_state=1)
    >>> model.fit(x, x[:, 0] ** 2).score(x, x[:, 0] ** 2) > 0.99
    True
    """

    def __init__(
        self,
        loss: str | Loss | LossCallable = "squared_error",
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

    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
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

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If something is refused.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """The outputs for each row.

        Parameters
        ----------
        X : array, DataFrame or sparse matrix (rows, features)
            As for `fit`.

        Returns
        -------
        ndarray (rows,) or (rows, outputs)
            Of several quantiles all of them; of `GaussianNLL` the means.
        """
        outputs = self._outputs(X)
        if isinstance(self._named_loss, _losses.GaussianNLL):
            outputs = self._central(outputs)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    # What the base asks for

    def _goal(self, n_outputs: int) -> Goal:
        if isinstance(self.loss, str) and self.loss == "squared_error":
            # scikit-learn follows the gradient of the sum over the outputs, and tells their mean.
            return Goal("identity", _losses.HalfMSE(), n_outputs)
        if isinstance(self.loss, (int, tuple, list)):
            raise InvalidParameterError(
                f"loss can't be {_checks.shown(self.loss)}; for hidden layers write "
                f"hidden_layer_sizes={_checks.shown(self.loss)}, because the first parameter is the loss"
            )
        named = _losses.LOSSES.get(self.loss) if isinstance(self.loss, str) else self.loss
        output = "exp" if "exponential" in getattr(named, "fits", ()) else "identity"
        loss = _losses.resolve(self.loss, OUTPUTS[output])
        return Goal(output, loss, n_outputs, n_outputs) if self.loss == "poisson" else Goal(output, loss)

    def _read(self, X: Any, y: Any, dtype: Any, *, incremental: bool, reset: bool) -> tuple[Any, Targets]:
        X, y = self._validated(X, y, dtype, reset=reset, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._refuse_no_numbers(y, "y")
        table = _arrays.dense(y).reshape(X.shape[0], -1)
        return X, Targets(table, table.shape[1] * self._heads, table)

    @property
    def _named_loss(self) -> Any:
        """The loss, where its name was given and it has more than one output for a target."""
        return _losses.GaussianNLL() if self.loss == _losses.GaussianNLL.name else self.loss

    @property
    def _heads(self) -> int:
        """Outputs for each target."""
        return int(getattr(self._named_loss, "heads", 1))

    def _central(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """The outputs to score: those of the middle quantile, or the means beside variances."""
        n_targets = outputs.shape[1] // self._heads
        head = 0 if isinstance(self._named_loss, _losses.GaussianNLL) else self._heads // 2
        return outputs[:, head * n_targets : (head + 1) * n_targets]

    def _told_besides(self, truth: NDArray[Any], weights: NDArray[np.float64] | None) -> float:
        if self.loss != "poisson":
            return 0.0
        # What scikit-learn's loss has and ours leaves out, since it doesn't depend on the outputs.
        constant = truth * np.log(np.where(truth > 0, truth, 1.0)) - truth
        return float(np.average(constant.sum(axis=1), weights=weights))

    def _truth(self, y: Any) -> NDArray[Any]:
        truth = np.asarray(_arrays.dense(y))
        self._refuse_no_numbers(truth, "y_val")
        truth = truth.reshape(len(truth), -1)
        if truth.shape[1] != self.n_outputs_ // self._heads:
            n_targets = counted(self.n_outputs_ // self._heads, "target")
            raise ValueError(
                f"y_val has {counted(truth.shape[1], 'column')}, but y has {n_targets} in each row"
            )
        return truth

    @staticmethod
    def _refuse_no_numbers(y: Any, name: str) -> None:
        """Text and dates, which NumPy would make numbers of."""
        if y.dtype.kind not in "biufO":
            raise ValueError(f"{name} has to be numbers, got an array of {y.dtype}")

    def _score(
        self, truth: NDArray[Any], outputs: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> float:
        return _scores.r2(truth, self._central(outputs), weights)
