"""Epochs: scikit-learn's rules for going on, its messages, and what the extension calls back during a fit.

Losses and scores come in epoch by epoch; the estimator's own attributes keep the count. Trains nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dnn import _training, _warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dnn._core import Network
    from dnn._estimators._settings import Settings
    from dnn._model import Sequential

# Below it an adaptive rate is lowered no more, and training ends.
SMALLEST_RATE = 1e-6


def _power(t: int, exponent: float) -> float:
    """t^exponent, infinite where it is too large for a number."""
    try:
        return float(t**exponent)
    except OverflowError:
        return math.inf


class Rules:
    """When training stops, and with which rate it goes on: counted on the estimator, as by scikit-learn."""

    def __init__(
        self,
        estimator: Any,
        settings: Settings,
        n_rows: int,
        network: Network,
        score: Callable[[], float] | None,
        besides: float,
    ) -> None:
        self._besides = besides
        self._estimator, self._settings = estimator, settings
        self._n_rows, self._network, self._score = n_rows, network, score
        # Of the epoch with the best score.
        self.best_weights: list[NDArray[Any]] | None = None

    def see(self, loss: float) -> bool:
        """Take note of an epoch; True if training should end with it."""
        estimator, settings = self._estimator, self._settings
        loss += self._besides
        estimator.n_iter_ += 1
        estimator.loss_ = loss
        estimator.t_ += self._n_rows
        estimator.loss_curve_.append(loss)
        if settings.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        score_is_worse = self._see_score(self._score()) if self._score is not None else False
        if settings.early_stopping:
            is_worse = score_is_worse
        else:
            # None after training that stopped by a score.
            best = math.inf if estimator.best_loss_ is None else estimator.best_loss_
            is_worse = loss > best - settings.tol
            estimator.best_loss_ = min(best, loss)
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if is_worse else 0
        if settings.schedule == "invscaling":
            estimator.learning_rate_ = settings.learning_rate_init / _power(
                estimator.t_ + 1, settings.power_t
            )
        is_over = estimator._no_improvement_count > settings.n_iter_no_change
        return bool(is_over) and self._no_longer_improves()

    def diverged(self, message: str) -> None:
        """Take note that the last epoch could not be finished."""
        estimator = self._estimator
        estimator.n_iter_ += 1
        estimator.loss_ = float("nan")
        estimator.loss_curve_.append(estimator.loss_)
        estimator.validation_scores_.append(float("nan"))
        _warn.warn(f"{message}. The weights of the best validation score are kept", ConvergenceWarning)

    def _see_score(self, score: float) -> bool:
        estimator, settings = self._estimator, self._settings
        estimator.validation_scores_.append(score)
        if settings.verbose:
            print(f"Validation score: {score:f}")
        is_worse = bool(score < estimator.best_validation_score_ + settings.tol)
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            if settings.early_stopping:
                self.best_weights = self._network.weights()
        return is_worse

    def _no_longer_improves(self) -> bool:
        """Lower an adaptive rate, or tell to stop."""
        estimator, settings = self._estimator, self._settings
        what = "Validation score" if settings.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={settings.tol:f} for {settings.n_iter_no_change} "
            "consecutive epochs."
        )
        lowers = settings.schedule == "adaptive" and estimator.learning_rate_ > SMALLEST_RATE
        if lowers:
            estimator.learning_rate_ /= 5.0
            estimator._no_improvement_count = 0
            message += f" Setting learning rate to {estimator.learning_rate_:f}"
        else:
            message += " Learning rate too small." if settings.schedule == "adaptive" else ""
            message += " Stopping."
        if settings.verbose:
            print(message)
        return not lowers


class Order:
    """The order of the rows in each epoch: that of scikit-learn for the same random state."""

    def __init__(self, rng: np.random.RandomState, n_rows: int) -> None:
        self._rng = rng
        self._order = np.arange(n_rows, dtype=np.uint32)
        self.length = n_rows

    def __call__(self, epoch: int, /) -> NDArray[np.uint32]:
        """The order of the coming epoch, which shuffles that of the one before."""
        places = np.arange(len(self._order))
        self._rng.shuffle(places)
        self._order = self._order[places]
        return self._order


class Contexts:
    """scikit-learn's callbacks, from 1.9 on: what they are told about a fit and each of its epochs."""

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, max_iter: int) -> None:
        self._estimator = estimator
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        self._told = {"X": X, "y": y, "metadata": metadata}
        self._root: Any = None
        self._epoch: Any = None
        self.are_heard = bool(getattr(estimator, "_skl_callbacks", ()))
        if self.are_heard or hasattr(estimator, "_parent_callback_ctx"):
            self._root = estimator._init_callback_context(max_subtasks=max_iter)
            self._root.call_on_fit_task_begin(estimator=estimator, **self._told)

    def begin_epoch(self) -> None:
        if self.are_heard:
            self._epoch = self._root.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(estimator=self._estimator, **self._told)

    def end_epoch(self) -> bool:
        """True if a callback wants training to end."""
        if not self.are_heard:
            return False
        # A copy of the estimator, made where a callback asks for one, is fitted as far as this epoch.
        return bool(
            self._epoch.call_on_fit_task_end(
                estimator=self._estimator, **self._told, reconstruction_attributes=dict
            )
        )

    def end(self) -> None:
        if self._root is not None:
            self._root.call_on_fit_task_end(
                estimator=self._estimator, **self._told, reconstruction_attributes=dict
            )


class Hook(_training.Hook):
    """What the extension calls during one fit of an estimator, and no more often than needed."""

    def __init__(
        self,
        estimator: Any,
        model: Sequential,
        settings: Settings,
        rules: Rules,
        order: Order | None,
        contexts: Contexts,
        *,
        every_epoch: bool,
        rows: int,
        epochs: int,
    ) -> None:
        self._estimator, self._contexts = estimator, contexts
        self._is_scheduled = settings.schedule != "constant"
        rate = settings.optimizer.learning_rate
        super().__init__(model, settings.callbacks, rate, 0, 0, epochs, rows, order)
        every_epoch = every_epoch or bool(settings.callbacks) or contexts.are_heard or self._reacts
        # Without a look at every epoch the core counts, and the rules go over its losses at the end.
        self._rules = rules if every_epoch else None
        self.options["epoch_hook"] = 0.0 if every_epoch else None
        self.options["epoch_begin_hook"] = self.options["epoch_begin_hook"] or contexts.are_heard
        if self._is_scheduled:
            self.options["learning_rate"] = None

    @property
    def counts(self) -> bool:
        """Whether the rules see every epoch as it ends."""
        return self._rules is not None

    def rates(self, step: int, n: int, /) -> list[float]:
        if self._is_scheduled:
            return [self._estimator.learning_rate_] * n
        return super().rates(step, n)

    def _forget_shown(self) -> None:
        """Weights that somebody was shown are those of an earlier step by now: they must not come back."""
        self._estimator._given = None

    def epoch_begin(self, epoch: int, /) -> bool:
        self._forget_shown()
        self._contexts.begin_epoch()
        return super().epoch_begin(epoch)

    def batch_begin(self, batch: int, /) -> bool:
        self._forget_shown()
        return super().batch_begin(batch)

    def batch_end(self, batch: int, logs: dict[str, float], /) -> bool:
        self._forget_shown()
        return super().batch_end(batch, logs)

    def epoch_end(self, epoch: int, logs: dict[str, float], /) -> bool:
        assert self._rules is not None, "asked for only where the rules see every epoch"
        self._forget_shown()
        stops = self._rules.see(logs["loss"])
        scores = self._estimator.validation_scores_
        if scores:
            logs["validation_score"] = scores[-1]
        stops = self._contexts.end_epoch() or stops
        return super().epoch_end(epoch, logs) or stops
