"""Optimizers: how gradients become steps, as frozen dataclasses.

Names and instances come in, instances go out. The rate of each step is worked out here; the step itself is
not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

import numpy as np

from dnn import _checks

Rate = float | Callable[[int], float] | Iterable[float]


@dataclass(frozen=True)
class Optimizer:
    """Base of all optimizers."""

    name: ClassVar[str]
    learning_rate: Rate

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rate", _checked_rate(self.learning_rate))


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent, with momentum if asked: v = m v - r g, p = p + v; without momentum p = p - r g.

    p parameter, g gradient, r rate, m momentum. Nesterov: p = p + m v - r g. Dampened: v = m v + (1 - m) g,
    p = p - r v.

    Parameters
    ----------
    learning_rate : float, callable or 1-D sequence, default 0.01
        r, above 0. A callable takes the number of the step (from 0, over the life of the optimizer) and
        returns the rate; a sequence has one rate for each step, and its last one stays.
    momentum : float, default 0.0
        m, at least 0 and below 1.
    nesterov : bool, default False
        Look ahead along v. Needs momentum.
    dampened : bool, default False
        Average gradients instead of summing them. Not together with `nesterov`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False, dampened=False)
    >>> halving = dnn.SGD(lambda step: 0.1 * 0.5 ** (step // 1000))
    """

    name: ClassVar[str] = "sgd"
    learning_rate: Rate = 0.01
    _: KW_ONLY
    momentum: float = 0.0
    nesterov: bool = False
    dampened: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        momentum = _checks.number(self.momentum, "momentum", at_least=0.0, below=1.0)
        nesterov = _checks.boolean(self.nesterov, "nesterov")
        dampened = _checks.boolean(self.dampened, "dampened")
        if nesterov and momentum == 0.0:
            raise ValueError("nesterov=True needs momentum above 0, for example momentum=0.9")
        if nesterov and dampened:
            raise ValueError("nesterov and dampened don't go together; choose one of them")


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015): steps of about the rate, whatever the size of the gradients.

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, then with t counting steps from 1
    p = p - r m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon).

    Parameters
    ----------
    learning_rate : float, callable or 1-D sequence, default 0.001
        r, above 0. A callable takes the number of the step (from 0, over the life of the optimizer) and
        returns the rate; a sequence has one rate for each step, and its last one stays.
    beta_1, beta_2 : float, default 0.9 and 0.999
        b1 and b2, at least 0 and below 1.
    epsilon : float, default 1e-8
        Keeps the division finite, above 0.
    amsgrad : bool, default False
        Divide by the largest v so far (Reddi et al. 2018).
    epsilon_hat : bool, default False
        Put epsilon in front of the correction, p = p - r sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon),
        as Keras and scikit-learn do. The default is PyTorch's.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.Adam(3e-4).beta_2
    0.999
    """

    name: ClassVar[str] = "adam"
    learning_rate: Rate = 0.001
    _: KW_ONLY
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    amsgrad: bool = False
    epsilon_hat: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.number(self.beta_1, "beta_1", at_least=0.0, below=1.0)
        _checks.number(self.beta_2, "beta_2", at_least=0.0, below=1.0)
        _checks.number(self.epsilon, "epsilon", above=0.0)
        _checks.boolean(self.amsgrad, "amsgrad")
        _checks.boolean(self.epsilon_hat, "epsilon_hat")


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """L-BFGS (Liu and Nocedal 1989) with a strong Wolfe line search: each epoch one step of all rows.

    The step is p = p - t H g, where the inverse Hessian H comes from the last m steps s and changes y of the
    gradient (Nocedal and Wright, algorithm 7.4). The line search of Moré and Thuente (1994) finds t with
    f(t) <= f(0) + 0.001 t f'(0) and |f'(t)| <= 0.9 |f'(0)|. There is no rate to choose. Steps, tests and
    defaults are those of SciPy's L-BFGS-B.

    For small data, up to some ten thousand rows, it often finds a lower loss than the others, in less time.
    `batch_size` and `shuffle` mean nothing to it, and `train_on_batch` refuses it. In the history rate is t,
    and the loss of an epoch is that after its step; `stopped_because` may be "gtol", "ftol", "max_fun", or
    "line_search" where no step lowers the loss.

    Parameters
    ----------
    m : int, default 10
        Steps that are remembered, from 1 to 1000; each takes twice the memory of the parameters.
    max_fun : int, default 15000
        Evaluations of the loss in one `fit`, from 1; the last step may exceed it.
    gtol : float, default 1e-5
        Stop when no derivative of the loss is larger than this, 0 or more.
    ftol : float, default 2.220446049250313e-09
        Stop when a step lowers the loss f to f' with (f - f') / max(|f|, |f'|, 1) <= ftol, 0 or more.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1)], seed=1, dtype="float64")
    >>> x, y = [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]
    >>> history = model.fit(x, y, epochs=100, optimizer=dnn.LBFGS(), verbose=0)
    >>> history.stopped_because
    'gtol'
    >>> model.get_weights()[0].round(3).tolist()
    [[2.0]]
    """

    name: ClassVar[str] = "lbfgs"
    # What a line search finds has no rate.
    learning_rate: Rate = field(default=1.0, init=False, repr=False)
    _: KW_ONLY
    m: int = 10
    max_fun: int = 15000
    gtol: float = 1e-5
    ftol: float = 2.220446049250313e-09

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.integer(self.m, "m", 1, 1000)
        _checks.integer(self.max_fun, "max_fun", 1)
        _checks.number(self.gtol, "gtol", at_least=0.0)
        _checks.number(self.ftol, "ftol", at_least=0.0)


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "lbfgs": LBFGS}


def resolve(optimizer: object) -> Optimizer:
    """The optimizer that `optimizer` (a name or an instance) stands for."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        # The class itself fills in its defaults.
        make: Any = OPTIMIZERS[_checks.name_in(optimizer, "optimizer", OPTIMIZERS)]
        resolved: Optimizer = make()
        return resolved
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        raise TypeError(
            f"optimizer is the class {optimizer.__name__}; make one of it: {optimizer.__name__}()"
        )
    raise TypeError(
        f"optimizer must be 'sgd', 'adam', 'lbfgs' or one such as SGD(0.1), got {_checks.shown(optimizer)}"
    )


def _checked_rate(rate: object) -> Rate:
    """`rate` as it is stored: a float, a callable, or a tuple of floats."""
    if callable(rate):
        return rate
    if (
        isinstance(rate, str)
        or not hasattr(rate, "__iter__")
        or (isinstance(rate, np.ndarray) and rate.ndim == 0)
    ):
        return _checks.number(rate, "learning_rate", above=0.0)
    if isinstance(rate, np.ndarray) and rate.ndim != 1:
        raise ValueError(
            f"learning_rate has shape {rate.shape}; a sequence of rates is 1-D, one for each step"
        )
    rates = tuple(_checks.number(r, f"learning_rate[{i}]", at_least=0.0) for i, r in enumerate(rate))
    if not rates:
        raise ValueError("learning_rate is an empty sequence; it needs at least one rate")
    return rates


def rates_of(rate: Rate, step: int, n: int) -> list[float]:
    """The rates of the `n` steps from `step` on. A callable's are asked for and checked now."""
    if isinstance(rate, float):
        return [rate] * n
    if isinstance(rate, tuple):
        return [rate[min(at, len(rate) - 1)] for at in range(step, step + n)]
    assert callable(rate)
    return [
        _checks.number(rate(at), f"learning_rate(step={at})", at_least=0.0) for at in range(step, step + n)
    ]
