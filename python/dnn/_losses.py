"""Losses of numbers, and all losses by name; those of classes are in `_class_losses.py`.

Names, aliases and instances come in, instances go out; says which output fits. Computes nothing.
Row weights w: loss = sum of w_r l_r / sum of w_r, with l_r the loss of row r.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from dnn import _checks
from dnn._class_losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Focal,
    Hinge,
    KLDivergence,
    OfSoftmax,
    SquaredHinge,
)
from dnn._dataclass import dataclass
from dnn._loss import Loss


# Losses without parameters inherit all that makes a frozen dataclass, and without a place for attributes they
# stay frozen: decorating each of them again would make `import dnn` most of a millisecond slower per class.
class MSE(Loss):
    """Mean squared error: mean over all elements of (y - t)^2.

    Its gradient is 2 (y - t) / (rows * outputs). PyTorch's MSELoss, Keras's and scikit-learn's mean squared
    error. Fits every output.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1)])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.MSE())
    >>> model.evaluate([[1.0], [2.0]], [3.0, 2.0])
    {'loss': 2.0}
    """

    __slots__ = ()
    name: ClassVar[str] = "mse"


class HalfMSE(Loss):
    """Half of the mean squared error: mean over all elements of (y - t)^2 / 2. Fits every output.

    scikit-learn's HalfSquaredError.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1)])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.HalfMSE())
    >>> model.evaluate([[1.0], [2.0]], [3.0, 2.0])
    {'loss': 1.0}
    """

    __slots__ = ()
    name: ClassVar[str] = "half_mse"


class SSE(Loss):
    """Sum of squared errors: the sum over outputs of (y - t)^2, mean over rows. Fits every output.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1)])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.SSE())
    >>> model.evaluate([[1.0], [2.0]], [3.0, 2.0])
    {'loss': 2.0}
    """

    __slots__ = ()
    name: ClassVar[str] = "sse"


class MAE(Loss):
    """Mean absolute error: mean over all elements of abs(y - t), with slope 0 at 0. Fits every output.

    PyTorch's L1Loss, Keras's and scikit-learn's mean absolute error.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1)])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.MAE())
    >>> model.evaluate([[1.0], [2.0]], [3.0, 2.0])
    {'loss': 1.0}
    """

    __slots__ = ()
    name: ClassVar[str] = "mae"


@dataclass(frozen=True)
class Huber(Loss):
    """Squared near the target, absolute far from it.

    With d = abs(y - t): d^2 / 2 up to delta, delta (d - delta / 2) beyond; mean over all elements. PyTorch's
    HuberLoss and Keras's Huber. Fits every output.

    Parameters
    ----------
    delta : float, default 1.0
        Where the parabola turns into a line, in units of the target; above 0.

    Raises
    ------
    TypeError, ValueError
        If `delta` is not a finite number above 0.

    Examples
    --------
    >>> import dnn
    >>> dnn.Huber(delta=0.5)
    Huber(delta=0.5)
    """

    name: ClassVar[str] = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        _checks.number(self.delta, "delta", above=0.0)


class LogCosh(Loss):
    """Like the squared error near the target, like the absolute one far from it, and smooth everywhere.

    Mean over all elements of ln cosh(y - t), whose slope is tanh(y - t). Keras's LogCosh. Fits every output.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1)])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.LogCosh())
    >>> round(model.evaluate([[1.0], [2.0]], [3.0, 2.0])["loss"], 4)
    0.6625
    """

    __slots__ = ()
    name: ClassVar[str] = "log_cosh"


@dataclass(frozen=True)
class Quantile(Loss):
    """Pinball loss: the output becomes the q-quantile of the target, below which it lies with probability q.

    max(q (t - y), (q - 1) (t - y)), mean over all outputs; scikit-learn's mean_pinball_loss with alpha = q.
    The slope at 0 is 0. Fits every output but softmax (Koenker and Bassett 1978).

    Parameters
    ----------
    q : float or sequence of float, default 0.5
        Between 0 and 1. Of several, each has an output of its own for every target: with m targets and k
        quantiles the last layer has k m units, of which the first m are the first quantile of all targets.

    Raises
    ------
    TypeError, ValueError
        If `q` is no number between 0 and 1, or no sequence of such numbers.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(16, "tanh"), dnn.Dense(3)], seed=1)
    >>> x, y = [[0.0], [0.0], [0.0]], [1.0, 2.0, 9.0]
    >>> loss = dnn.Quantile([0.1, 0.5, 0.9])
    >>> _ = model.fit(x, y, epochs=300, loss=loss, optimizer=dnn.Adam(0.05), verbose=0)
    >>> model.predict([[0.0]]).shape
    (1, 3)
    """

    name: ClassVar[str] = "quantile"
    unfit: ClassVar[tuple[str, ...]] = ("softmax",)
    needs: ClassVar[str] = "outputs that do not depend on each other"
    suggested: ClassVar[str] = "'identity'"
    q: float | tuple[float, ...] = 0.5

    def __post_init__(self) -> None:
        several = not isinstance(self.q, str) and hasattr(self.q, "__iter__")
        given = _checks.sequence(self.q, "q", "Quantile([0.1, 0.5, 0.9])") if several else [self.q]
        if not given:
            raise ValueError("q is empty; give at least one number between 0 and 1")
        checked = tuple(_checks.number(q, "q", above=0.0, below=1.0) for q in given)
        object.__setattr__(self, "q", checked if len(checked) > 1 else checked[0])

    @property
    def heads(self) -> int:
        """Outputs for each target: one for each q."""
        return len(self.q) if isinstance(self.q, tuple) else 1


class _Positive(Loss):
    """Base of the losses of positive outputs."""

    __slots__ = ()
    fits: ClassVar[tuple[str, ...]] = ("exponential", "softplus")
    needs: ClassVar[str] = "positive outputs"
    suggested: ClassVar[str] = "'exponential' or 'softplus'"


class Poisson(_Positive):
    """Counts: minus the logarithm of the Poisson distribution with mean y, without what does not depend on y.

    y - t ln y, mean over all elements; targets 0 or more. With an exponential output, which it is fused with,
    e^z - t z: PyTorch's PoissonNLLLoss() and half of scikit-learn's Poisson deviance up to a constant. With a
    softplus output y - t ln(y + 1e-8): PyTorch's PoissonNLLLoss(log_input=False).

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1, "exponential")])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.Poisson())
    >>> round(model.evaluate([[0.0], [1.0]], [1.0, 2.0])["loss"], 4)
    0.8591
    """

    __slots__ = ()
    name: ClassVar[str] = "poisson"
    targets: ClassVar[str] = "not_negative"


class Gamma(_Positive):
    """Positive amounts whose spread grows with them: minus the logarithm of a gamma distribution with mean y.

    ln y + t / y, mean over all elements; targets above 0. scikit-learn's HalfGammaLoss, half of its gamma
    deviance up to a constant. Fused with an exponential output; softplus fits as well.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1, "exponential")])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.Gamma())
    >>> round(model.evaluate([[0.0], [1.0]], [1.0, 2.0])["loss"], 4)
    1.3679
    """

    __slots__ = ()
    name: ClassVar[str] = "gamma"
    targets: ClassVar[str] = "positive"


@dataclass(frozen=True)
class Tweedie(_Positive):
    """Amounts of which many are 0: half of the Tweedie deviance, without what does not depend on y.

    y^(2-p) / (2-p) - t y^(1-p) / (1-p), mean over all elements; scikit-learn's HalfTweedieLoss(power=p).
    `Poisson` for p = 1, `Gamma` for p = 2. Targets are 0 or more for p below 2, else above 0. Fused with an
    exponential output; softplus fits as well.

    Parameters
    ----------
    p : float, default 1.5
        Variance grows like mean^p; from 1 to 10. Between 1 and 2 zeros are as usual as in rain or insurance.

    Raises
    ------
    TypeError, ValueError
        If `p` is no such number.

    Examples
    --------
    >>> import dnn
    >>> dnn.Tweedie(1.7)
    Tweedie(p=1.7)
    """

    name: ClassVar[str] = "tweedie"
    p: float = 1.5

    def __post_init__(self) -> None:
        _checks.number(self.p, "p", at_least=1.0, at_most=10.0)

    # A property where the base has an attribute of the class: an instance answers for itself.
    @property
    def targets(self) -> str:  # type: ignore[override]
        """What targets are."""
        return "not_negative" if self.p < 2 else "positive"


class MSLE(Loss):
    """Mean squared logarithmic error: mean over all elements of (ln(1 + y) - ln(1 + t))^2.

    scikit-learn's mean_squared_log_error and Keras's mean_squared_logarithmic_error. Targets and outputs
    are 0 or more.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1, "relu")])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.MSLE())
    >>> round(model.evaluate([[1.0], [2.0]], [3.0, 2.0])["loss"], 4)
    0.2402
    """

    __slots__ = ()
    name: ClassVar[str] = "msle"
    targets: ClassVar[str] = "not_negative"
    fits: ClassVar[tuple[str, ...]] = (
        "softplus",
        "exponential",
        "relu",
        "relu6",
        "sigmoid",
        "hard_sigmoid",
        "softmax",
    )
    needs: ClassVar[str] = "outputs that are never negative"
    suggested: ClassVar[str] = "'softplus', 'exponential' or 'relu'"


class MAPE(Loss):
    """Mean absolute percentage error: 100 times the mean over all elements of abs(y - t) / abs(t).

    Keras's mean_absolute_percentage_error, 100 times scikit-learn's. Targets are not 0. Fits every output.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1)])
    >>> model.set_weights([[[1.0]], [0.0]])
    >>> model.compile(loss=dnn.MAPE())
    >>> model.evaluate([[1.0], [2.0]], [4.0, 2.0])
    {'loss': 37.5}
    """

    __slots__ = ()
    name: ClassVar[str] = "mape"
    targets: ClassVar[str] = "not_zero"


@dataclass(frozen=True)
class GaussianNLL(Loss):
    """A mean and a variance for every target: minus the logarithm of the normal distribution.

    (ln v + (t - y)^2 / v) / 2, mean over all targets, with v = e^s at least `epsilon`: the last layer gives
    the mean y and s = ln v. With m targets it has 2 m units, of which the first m are the means. PyTorch's
    GaussianNLLLoss of the variance exp(s) (Nix and Weigend 1994). For an identity output.

    Parameters
    ----------
    epsilon : float, default 1e-6
        The smallest variance, in squared units of the target; from 1e-30 to 1e30. As in PyTorch, its
        derivative is taken as if there were no such bound.

    Raises
    ------
    TypeError, ValueError
        If `epsilon` is no such number.

    Examples
    --------
    >>> import dnn, numpy as np
    >>> model = dnn.Sequential([dnn.Dense(2)], seed=1)
    >>> x, y = np.zeros((4, 1)), [1.0, 3.0, 1.0, 3.0]
    >>> _ = model.fit(x, y, epochs=600, loss="gaussian_nll", optimizer=dnn.Adam(0.05), verbose=0)
    >>> mean, log_variance = model.predict([[0.0]])[0]
    >>> round(float(mean), 2), round(float(np.exp(log_variance)), 2)
    (2.0, 1.0)
    """

    name: ClassVar[str] = "gaussian_nll"
    fits: ClassVar[tuple[str, ...]] = ("identity",)
    needs: ClassVar[str] = "a mean and the logarithm of a variance"
    suggested: ClassVar[str] = "'identity'"
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        _checks.number(self.epsilon, "epsilon", at_least=1e-30, at_most=1e30)

    @property
    def heads(self) -> int:
        """Outputs for each target: its mean and the logarithm of its variance."""
        return 2


_ALL = (MSE, HalfMSE, SSE, MAE, Huber, LogCosh, Quantile, Poisson, Gamma, Tweedie, MSLE, MAPE, CrossEntropy)
_MORE = (BinaryCrossEntropy, Focal, KLDivergence, Hinge, SquaredHinge, GaussianNLL)
LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (*_ALL, *_MORE)}
ALIASES = {
    "mean_squared_error": "mse",
    "mean_squared_logarithmic_error": "msle",
    "mean_absolute_percentage_error": "mape",
    "categorical_crossentropy": "cross_entropy",
    "sparse_categorical_crossentropy": "cross_entropy",
    "binary_crossentropy": "binary_cross_entropy",
}
_HINTS = {
    "mean_absolute_error": "write 'mae'",
    "logcosh": "write 'log_cosh'",
    "pinball": "write dnn.Quantile(q)",
    "mean_squared_log_error": "write 'msle'",
    "kl_div": "write 'kl_divergence'",
    "nll_gaussian": "write 'gaussian_nll'",
    "crossentropy": "write 'cross_entropy' (softmax output) or 'binary_cross_entropy' (sigmoid output)",
    "log_loss": "write 'cross_entropy' (softmax output) or 'binary_cross_entropy' (sigmoid output)",
    "nll": "write 'cross_entropy', with a softmax output",
}


class Task(NamedTuple):
    """A loss after an output: what targets have to be."""

    loss: Loss
    output: str
    n_outputs: int

    @property
    def takes_labels(self) -> bool:
        """Whether a row is of one class, which a number may name."""
        return self.output == "softmax" and (
            self.loss.is_function or isinstance(self.loss, (OfSoftmax, Focal))
        )

    @property
    def targets(self) -> str:
        """The range of targets, as in `Loss.targets`."""
        return "distribution" if self.takes_labels and not self.loss.is_function else self.loss.targets

    @property
    def n_targets(self) -> int:
        """Columns of targets that are no labels."""
        return self.n_outputs // self.loss.heads


def task(loss: object, output: str, n_outputs: int) -> Task:
    """The loss that `loss` stands for on a last layer of `n_outputs` units with activation `output`."""
    resolved = resolve(loss, output)
    if n_outputs % resolved.heads:
        heads = resolved.heads
        raise ValueError(
            f"loss {resolved.name!r} needs {heads} outputs for each target, but the last layer has "
            f"{n_outputs}; give it {heads} units, or a multiple of {heads}"
        )
    return Task(resolved, output, n_outputs)


def resolve(loss: object, output: str) -> Loss:
    """The loss that `loss` (None, a name, an instance or a function) stands for after activation `output`.

    None is cross entropy for softmax, binary cross entropy for sigmoid and the mean squared error otherwise.
    """
    if loss is None:
        loss = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}.get(output, "mse")
    if isinstance(loss, str):
        loss = LOSSES[_checks.name_in(loss, "loss", LOSSES, ALIASES, _HINTS)]()
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"loss is the class {loss.__name__}; make one of it: {loss.__name__}()")
    if not isinstance(loss, Loss) and callable(loss):
        from dnn import _called  # for who has a loss of their own

        return _called.loss(loss)
    if not isinstance(loss, Loss):
        raise TypeError(
            "loss must be a name, one such as Huber(delta=1.0) or a function (y_true, y_pred) -> "
            f"(loss, gradient), got {_checks.shown(loss)}"
        )
    if output in loss.unfit or (loss.fits and output not in loss.fits):
        instead = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}.get(output, "mse")
        raise ValueError(
            f"loss {loss.name!r} needs {loss.needs}, but the last layer has {output!r}; give it "
            f"activation={loss.suggested}, or use loss={instead!r}"
        )
    return loss
