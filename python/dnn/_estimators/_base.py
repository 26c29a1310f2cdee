"""MLP: how the classifier and the regressor train.

scikit-learn's parameters and data come in; the core trains. No formula of a network stands here.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.utils import _safe_indexing, assert_all_finite
from sklearn.utils.validation import check_is_fitted, validate_data

from dnn import _arrays, _averaging, _checks, _spec, _training, _warn
from dnn._estimators import _settings
from dnn._estimators._data import Goal, Targets, Validation, row_weights, split
from dnn._estimators._epochs import Contexts, Hook, Order, Rules
from dnn._estimators._network import Networked
from dnn._lbfgs import LBFGS

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before scikit-learn 1.9
    # A class of its own: `object` cannot stand in front of another base.
    CallbackSupportMixin = type("CallbackSupportMixin", (), {})

    def with_callbacks(method: Any) -> Any:
        """Nothing to do: there are no callbacks."""
        return method


if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from dnn._core import Network, Rows
    from dnn._estimators._settings import Settings
    from dnn._model import Sequential


# What is counted over fits, as it stands where weights were given to an estimator that was never fitted.
_NEVER_FITTED: dict[str, Any] = {
    "n_iter_": 0,
    "t_": 0,
    "_no_improvement_count": 0,
    "loss_curve_": [],
    "best_loss_": None,
    "validation_scores_": None,
    "best_validation_score_": None,
    "_best_weights": None,
}


class MLP(CallbackSupportMixin, Networked):
    """Base of the estimators."""

    # What differs between classes and numbers

    def _goal(self, n_outputs: int) -> Goal:
        """What to minimise with so many outputs."""
        raise NotImplementedError

    def _read(self, X: Any, y: Any, dtype: Any, *, incremental: bool, reset: bool) -> tuple[Any, Targets]:
        """X and y, checked as scikit-learn checks them."""
        raise NotImplementedError

    def _validated(self, X: Any, y: Any, dtype: Any, *, reset: bool, **options: Any) -> tuple[Any, Any]:
        """X and y as `validate_data` returns them; X is looked through once, on all threads."""
        if reset or not self._need_no_check(X, y, dtype):
            X, y = validate_data(
                self,
                X,
                y,
                accept_sparse="csr",
                multi_output=True,
                dtype=dtype,
                reset=reset,
                ensure_all_finite=False,
                **options,
            )
        is_plain = isinstance(X, np.ndarray) and _arrays.is_plain(X, X.dtype.name)
        if not (is_plain and _arrays.is_finite(X, _settings.threads(self))):
            assert_all_finite(X, estimator_name=type(self).__name__, input_name="X")
            if is_plain:  # scikit-learn was told to assume it
                _arrays.refuse_non_finite(X, "X", X.dtype.name)
        return X, y

    def _need_no_check(self, X: Any, y: Any, dtype: Any) -> bool:
        """Whether scikit-learn's checks, of 0.2 ms, would leave X and y as they are."""
        return (
            type(X) is np.ndarray
            and type(y) is np.ndarray
            and X.ndim == 2
            and y.ndim == 1
            and 0 < len(X) == len(y)
            and X.shape[1] == getattr(self, "n_features_in_", None)
            and X.dtype in dtype
            and not hasattr(self, "feature_names_in_")
            and (y.dtype.kind in "iu" or (y.dtype.kind == "f" and bool(np.isfinite(y).all())))
        )

    def _truth(self, y: Any) -> NDArray[Any]:
        """Y of validation rows, as `_score` compares it."""
        raise NotImplementedError

    def _score(
        self, truth: NDArray[Any], outputs: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> float:
        """The score that `score` would give, from the outputs of the network."""
        raise NotImplementedError

    def _class_weights(
        self, truth: NDArray[Any], weights: NDArray[np.float64] | None, *, incremental: bool
    ) -> NDArray[np.float64] | None:
        """The weight that its class gives each row, beside the one it has."""
        return None

    def _as_given(self, truth: NDArray[Any]) -> NDArray[Any]:
        """The targets as a scorer takes them."""
        return truth

    def _told_besides(self, truth: NDArray[Any], weights: NDArray[np.float64] | None) -> float:
        """What is added to the loss before it is told, because scikit-learn's has it."""
        return 0.0

    def _stratify(self, targets: Targets) -> NDArray[Any] | None:
        """By what validation rows are drawn in proportion."""
        return None

    # Training

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train on the rows of X and their targets y.

        Parameters
        ----------
        X : array, DataFrame or sparse matrix (rows, features)
            Numbers. A sparse matrix is made dense, in the memory of the network.
        y : array (rows,) or (rows, outputs)
            Class labels, an indicator matrix of several labels, or numbers.
        sample_weight : array (rows,), optional
            Weight of each row in the loss, 0 or more.
        X_val, y_val : optional
            Rows for validation, in place of a share of X and y. They are scored after every epoch; with
            `early_stopping=True` they tell when to stop.
        sample_weight_val : array, optional
            Weights of the validation rows in the score.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter or the data is refused, or training diverged.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, given_validation: Any, *, incremental: bool) -> Self:
        settings = _settings.checked(self)
        _settings.check_scoring(self, settings, has_rows=given_validation[0] is not None)
        # L-BFGS has no single epochs: a partial fit with it goes on until it ends.
        is_lbfgs = isinstance(settings.optimizer, LBFGS)
        first = not self._has_weights() or not (self.warm_start or incremental)
        one_epoch = incremental and not is_lbfgs
        contexts = Contexts(self, X, y, sample_weight, 1 if one_epoch else settings.max_iter)
        given = X, y
        dtype = _dtypes(settings) if first else [np.dtype(self._fitted(settings).dtype)]
        X, targets = self._read(X, y, dtype, incremental=incremental, reset=first)
        weights = row_weights(sample_weight, X.shape[0], "sample_weight")
        class_weights = self._class_weights(targets.truth, weights, incremental=incremental)
        if settings.early_stopping and incremental and given_validation[0] is None:
            raise ValueError(
                "partial_fit does not support early_stopping=True without rows to validate on; pass X_val "
                "and y_val"
            )
        if settings.averaging is not None and one_epoch:
            raise ValueError(
                f"partial_fit does not support averaging={settings.averaging!r}, whose mean would take the "
                "place of the weights after every epoch; use fit, with warm_start=True to go on"
            )
        self.n_outputs_ = targets.n_outputs
        goal = self._goal(targets.n_outputs)
        if is_lbfgs:
            # A line search needs the loss whose gradient it follows.
            goal = goal._replace(loss_factor=goal.gradient_factor)
        rng = _settings.random_state(self)
        if first:
            self._begin(settings, goal, X, rng)
        model = self._ready(settings, X.shape[1])
        if not incremental or not hasattr(self, "learning_rate_") or settings.schedule == "constant":
            self.learning_rate_ = settings.learning_rate_init
        if not one_epoch:
            model._compiled = None  # momentum starts anew

        # Validation rows: those that were given, or some of X.
        training, validation = None, self._validation(given_validation, X.dtype)
        if validation is None and settings.early_stopping:
            training, held = split(settings, targets, self._stratify(targets), X.shape[0], rng)
            validation = Validation(
                _held(given[0], X, held),
                _held(given[1], self._as_given(targets.truth), held),
                None if weights is None else weights[held],
                _arrays.dense(X[held]),
                targets.truth[held],
            )
        if class_weights is not None:
            weights = class_weights if weights is None else weights * class_weights
        if (
            validation is not None
            and validation.sample_weight is not None
            and not validation.sample_weight.any()
        ):
            raise ValueError(
                "the rows to validate on all weigh 0, so there is nothing to score; give some of them a "
                "weight, or a larger validation_fraction"
            )
        if weights is not None and training is not None:
            weights = weights[training]
        data = (
            _arrays.readable(X if training is None else X[training], "X", model.dtype, is_checked=True),
            targets.copy(model.dtype, training),
            weights,
        )
        truth = targets.truth if training is None else targets.truth[training]
        goal = goal._replace(told_besides=self._told_besides(truth, weights))
        self._train(
            model, settings, goal, data, validation, rng, contexts, incremental=one_epoch, first=first
        )
        contexts.end()
        return self

    def _begin(self, settings: Settings, goal: Goal, X: Any, rng: np.random.RandomState) -> None:
        """Everything as before the first epoch."""
        self.n_layers_ = len(settings.hidden) + 2
        self.out_activation_ = goal.output
        self._given, self._model = None, self._draw(settings, X.shape[1], X.dtype.name, rng)
        self.n_iter_ = self.t_ = self._no_improvement_count = 0
        self.loss_curve_: list[float] = []
        self.best_loss_: float | None = None if settings.early_stopping else float("inf")
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self._best_weights: list[NDArray[Any]] | None = None

    def _ready(self, settings: Settings, n_inputs: int) -> Sequential:
        """The network to train on with these settings."""
        model = self._fitted(settings)
        layers = settings.layers(n_inputs, self.n_outputs_, self.out_activation_)
        if model.layers != tuple(layers[1:]) or model.precision != settings.precision:
            weights = model.get_weights()
            model = self._new_model(settings, n_inputs, model.dtype, model.seed)
            try:
                model.set_weights(weights)
            except ValueError as error:
                raise ValueError(
                    f"the layers have changed since the last fit, so training can't go on: {error}; fit with "
                    "warm_start=False, or set hidden_layer_sizes back"
                ) from error
        self._given, self._model = None, model
        for name, start in _NEVER_FITTED.items():
            if not hasattr(self, name):
                setattr(self, name, copy(start))
        return model

    def _validation(self, given: tuple[Any, Any, Any], dtype: Any) -> Validation | None:
        X, y, sample_weight = given
        if X is None and y is None and sample_weight is None:
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val belong together; pass both, or neither")
        inputs = validate_data(self, X, accept_sparse="csr", dtype=dtype, order="C", reset=False)
        weights = row_weights(sample_weight, inputs.shape[0], "sample_weight_val")
        n_rows = np.shape(y)[0] if np.ndim(y) else 0
        if n_rows != inputs.shape[0]:
            raise ValueError(
                f"X_val and y_val belong together, row by row: {inputs.shape[0]} rows and {n_rows}"
            )
        assert_all_finite(_arrays.dense(y), input_name="y_val")
        return Validation(X, y, weights, _arrays.dense(inputs), self._truth(y))

    def _scorer(self, validation: Validation, network: Network, n_threads: int) -> Callable[[], float]:
        """What gives the score of the validation rows with the weights of the moment."""
        if self.scoring is not None:
            scorer = check_scoring(self, self.scoring)
            kwargs = {} if validation.sample_weight is None else {"sample_weight": validation.sample_weight}
            return lambda: float(scorer(self, validation.X, validation.y, **kwargs))
        outputs = np.empty((len(validation.inputs), self.n_outputs_), validation.inputs.dtype)

        def score() -> float:
            network.predict(validation.inputs, outputs, n_threads)
            return self._score(validation.truth, outputs, validation.sample_weight)

        return score

    def _train(
        self,
        model: Sequential,
        settings: Settings,
        goal: Goal,
        data: tuple[Rows | NDArray[Any], Any, Any],
        validation: Validation | None,
        rng: np.random.RandomState,
        contexts: Contexts,
        *,
        incremental: bool,
        first: bool,
    ) -> None:
        network = model._built()
        model._compile_network(network, goal.loss, settings.optimizer)
        model._loss, model._optimizer = goal.loss, settings.optimizer
        model.stop_training = False
        n_rows = data[0].shape[0]
        is_lbfgs = isinstance(settings.optimizer, LBFGS)
        batch_size = min(settings.batch_size or 200, n_rows)
        if is_lbfgs:
            batch_size = n_rows
        elif settings.batch_size is not None and settings.batch_size > n_rows:
            _warn.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            )
        if validation is not None and self.validation_scores_ is None:
            self.validation_scores_, self.best_validation_score_ = [], float("-inf")
        elif incremental and settings.early_stopping and self._best_weights is None:
            # What `fit` left are the weights of its best score.
            self._best_weights = network.weights()
        score = None if validation is None else self._scorer(validation, network, settings.n_threads)
        rules = Rules(self, settings, n_rows, network, score, goal.told_besides)
        self.n_iter_ = 0
        # One batch of all rows is the same in any order, but for rounding.
        order = Order(rng, n_rows) if settings.shuffle and batch_size < n_rows else None
        # What the core can't count by itself: scores, schedules, and a count that goes on from the last fit.
        every_epoch = (
            score is not None
            or settings.verbose
            or settings.schedule != "constant"
            or (not first and not incremental and not is_lbfgs)
        )
        hook = Hook(
            self,
            model,
            settings,
            rules,
            order,
            contexts,
            every_epoch=every_epoch,
            rows=n_rows,
            epochs=1 if incremental else settings.max_iter,
        )
        measured = self._run(network, settings, goal, data, hook, batch_size, incremental=incremental)
        if measured is None:
            return
        losses, rates = (measured["history"][name].tolist() for name in ("loss", "rate"))
        if not hook.counts:
            for loss in losses:
                rules.see(loss)
        if settings.schedule == "constant" and not is_lbfgs and rates:
            self.learning_rate_ = rates[-1]
        if order is None and settings.shuffle and not is_lbfgs:
            # Who shares the random state finds it as scikit-learn leaves it: one batch is shuffled there too.
            for _ in losses:
                rng.shuffle(np.arange(n_rows))
        why = measured["stopped_because"]
        if why == "diverged":
            if not settings.early_stopping or self.validation_scores_ is None:
                raise ValueError(
                    "Solver produced non-finite parameter weights. The input data may contain large values "
                    f"and need to be preprocessed. ({measured['message']})"
                )
            rules.diverged(measured["message"])
        elif why == "interrupted":
            _warn.warn("Training interrupted by user.")
        elif why in ("epochs", "max_fun") and is_lbfgs:
            _warn.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s): {measured['message']}. "
                "Increase max_iter or max_fun, or scale the data",
                ConvergenceWarning,
            )
        elif why == "epochs" and not incremental:
            _warn.warn(
                f"Stochastic Optimizer: Maximum iterations ({settings.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
            )
        if why not in ("diverged", "interrupted", "callback"):
            _averaging.warn_if_none(settings.averaging, self.n_iter_)
        self._restore(network, settings, rules, incremental=incremental)
        self._given = None
        hook.train_end({"loss": self.loss_})

    def _restore(self, network: Network, settings: Settings, rules: Rules, *, incremental: bool) -> None:
        """Bring the best weights back, where validation rows tell which they are."""
        best = rules.best_weights
        if incremental and settings.early_stopping:
            # Over many calls: the best so far is kept, and comes back once nothing improves any more.
            best = self._best_weights = best or self._best_weights
            self.stopped_ = self._no_improvement_count > settings.n_iter_no_change
            if not self.stopped_:
                return
        if best is not None:
            network.set_weights(best)

    def loss_gradient(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None
    ) -> tuple[float, list[NDArray[Any]], list[NDArray[Any]]]:
        """The loss of these rows as one batch, and its gradient, penalty included.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        loss : float
            As `loss_`.
        coef_gradients, intercept_gradients : list of ndarray
            In the shapes of `coefs_` and `intercepts_`: what a step of gradient descent follows.
        """
        check_is_fitted(self)
        settings = _settings.checked(self)
        model = self._fitted()
        X, targets = self._read(X, y, [np.dtype(model.dtype)], incremental=True, reset=False)
        weights = row_weights(sample_weight, X.shape[0], "sample_weight")
        class_weights = self._class_weights(targets.truth, weights, incremental=False)
        if class_weights is not None:
            weights = class_weights if weights is None else weights * class_weights
        goal = self._goal(targets.n_outputs)
        bare = self._new_model(
            replace(settings, alpha=0.0, dropout=(0.0,) * len(settings.hidden)), X.shape[1], model.dtype
        )
        arrays = model.get_weights()
        bare.set_weights(arrays)
        bare.compile(settings.optimizer, goal.loss)
        data = (
            _arrays.readable(X, "X", model.dtype, is_checked=True),
            targets.copy(model.dtype, None),
            weights,
        )
        loss, gradients = bare._built().loss_and_gradients(*data, settings.n_threads)
        share = settings.alpha / (X.shape[0] if weights is None else weights.sum())
        coefs = [
            goal.gradient_factor * gradient + share * coef
            for gradient, coef in zip(gradients[::2], arrays[::2], strict=True)
        ]
        intercepts = [goal.gradient_factor * gradient for gradient in gradients[1::2]]
        penalty = share / 2 * sum(float(np.vdot(coef, coef)) for coef in arrays[::2])
        return goal.loss_factor * loss + penalty, coefs, intercepts

    def _run(
        self,
        network: Network,
        settings: Settings,
        goal: Goal,
        data: tuple[Rows | NDArray[Any], Any, Any],
        hook: Hook,
        batch_size: int,
        *,
        incremental: bool,
    ) -> dict[str, Any] | None:
        """What the extension measured; None if a callback wanted no training at all."""
        in_core = not hook.counts and np.isfinite(settings.n_iter_no_change)
        options = _training.options(
            batch_size=batch_size,
            epochs=1 if incremental else settings.max_iter,
            initial_epoch=0,
            shuffle=False,
            tol=settings.tol if in_core else None,
            n_iter_no_change=min(int(settings.n_iter_no_change), _checks.LARGEST - 1) + 1 if in_core else 1,
            stop_at_loss=None,
            max_time=settings.max_time,
            accumulate=1,
            n_threads=settings.n_threads,
        )
        wire = _spec.options(
            {
                **options,
                **hook.options,
                "tol_inclusive": True,
                "objective": {
                    "gradient_factor": goal.gradient_factor,
                    "loss_factor": goal.loss_factor,
                    "penalty_over_rows": True,
                    "mean_by_rows": True,
                },
                "patience": None,
                "min_delta": 0.0,
                "restore_best": False,
                "averaging": settings.averaging,
                "metrics": [],
            },
            settings.optimizer,
        )
        if hook.train_begin(None):
            return None
        measured = network.fit(*data, None, wire, hook if hook.is_needed else None)
        # Ctrl-C ends training in its own way, also where it reaches a callback.
        if measured["raised"] is not None and not isinstance(measured["raised"], KeyboardInterrupt):
            raise measured["raised"]
        return measured

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = (
            ["float64", "float32"] if self.dtype == "auto" else [self.dtype]
        )
        return tags


def is_stochastic(estimator: Any) -> bool:
    """Whether there are epochs that `partial_fit` could be one of."""
    if _settings.has_whole_steps(estimator.solver):
        raise AttributeError("partial_fit is only available for stochastic optimizers, and 'lbfgs' is none")
    return True


def _dtypes(settings: Settings) -> list[Any]:
    """The types that X may have; another is made the first of them."""
    return [np.float64, np.float32] if settings.dtype == "auto" else [np.dtype(settings.dtype)]


def _held(given: Any, checked: Any, held: NDArray[np.int64]) -> Any:
    """The rows that are held for validation: with their names, where they were given with some."""
    return _safe_indexing(given if hasattr(given, "iloc") else checked, held)
