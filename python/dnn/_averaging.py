"""Averages of the weights, for `fit(averaging=...)`: over the steps, or over epochs.

Constants come in and are checked. The mean itself lives with the network. Loaded when somebody asks for one,
not before.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any, ClassVar

from dnn import _checks, _warn
from dnn._dataclass import dataclass


@dataclass(frozen=True)
class Averaging:
    """Base of the two rules."""

    name: ClassVar[str]


@dataclass(frozen=True)
class EMA(Averaging):
    """Exponential moving average of the weights w: mean = decay mean + (1 - decay) w, after each step.

    The first step's weights begin the mean, as in Keras (`use_ema=True`, whose `ema_momentum` is `decay`) and
    in PyTorch (`AveragedModel` with `get_ema_multi_avg_fn(decay)`), so that it is not drawn to the first
    weights. Training goes on from its own weights, never from the mean. The mean is what is validated at
    the end of each epoch, what callbacks see and save there, what the best epoch is found by, and what
    `fit` leaves in the model. Source: Polyak and Juditsky 1992; for networks, Tarvainen and Valpola 2017.

    Running means and variances of `BatchNormalization` are not averaged: they are found anew for the mean, as
    PyTorch's `update_bn` does, by a pass over the training rows at the end of each epoch. docs/optimizers.md
    says more.

    Parameters
    ----------
    decay : float, default 0.999
        At least 0 and below 1: the mean is over the last 1 / (1 - decay) steps or so. 0 is no average.

    Raises
    ------
    TypeError, ValueError
        If `decay` is not a number, or out of range.

    Examples
    --------
    >>> import dnn
    >>> x, y = [[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 7.0]
    >>> model = dnn.Sequential([dnn.Dense(1)], seed=1)
    >>> history = model.fit(x, y, 1, 200, optimizer=dnn.SGD(0.05), averaging=dnn.EMA(0.98), verbose=0)
    >>> model.get_weights()[0].round(2).tolist()
    [[2.0]]
    """

    name: ClassVar[str] = "ema"
    decay: float = 0.999

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay", _checks.number(self.decay, "decay", at_least=0.0, below=1.0))


@dataclass(frozen=True)
class SWA(Averaging):
    """Stochastic weight averaging: the mean of the weights at the end of epochs, all alike.

    Epochs are counted from 0. The weights w after epoch `start_epoch` begin the mean; those after each
    `every` epochs further change it as the n-th: mean = mean + (w - mean) / n, which is PyTorch's
    `AveragedModel`. Until then there is no mean, and everything is as without one. It pays with a rate that
    stays high, or rises and falls with a period of `every` epochs (`CosineRestarts`). A training that ends
    before that epoch is warned of: it leaves the weights as they are. Training goes on from
    its own weights; what the mean is used for, and running means and variances, are as for `EMA`.
    Source: Izmailov, Podoprikhin, Garipov, Vetrov and Wilson 2018.

    Parameters
    ----------
    start_epoch : int
        Number of the first epoch whose weights count, from 0.
    every : int, default 1
        Epochs from one set of weights to the next, from 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is no whole number, or out of range.

    Examples
    --------
    >>> import dnn
    >>> x, y = [[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 7.0]
    >>> model = dnn.Sequential([dnn.Dense(1)], seed=1)
    >>> history = model.fit(x, y, 1, 200, optimizer=dnn.SGD(0.05), averaging=dnn.SWA(150), verbose=0)
    >>> model.get_weights()[0].round(2).tolist()
    [[2.0]]
    """

    name: ClassVar[str] = "swa"
    start_epoch: int
    _: KW_ONLY
    every: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "start_epoch", _checks.integer(self.start_epoch, "start_epoch", 0))
        object.__setattr__(self, "every", _checks.integer(self.every, "every", 1))


def warn_if_none(averaging: Averaging | None, next_epoch: int) -> None:
    """Warn where training has ended before there was an average; `next_epoch` would have been the next."""
    if isinstance(averaging, SWA) and 0 < next_epoch <= averaging.start_epoch:
        _warn.warn(
            f"no average was taken: SWA({averaging.start_epoch}) begins with the weights after epoch "
            f"{averaging.start_epoch}, counted from 0, but training ended with epoch {next_epoch - 1}; give "
            "it an earlier start_epoch, or train for more epochs",
            UserWarning,
        )


def checked(given: Any, optimizer: str) -> Averaging:
    """`given` as a rule that goes with the optimizer of this name."""
    if isinstance(given, type) and issubclass(given, Averaging):
        example = "SWA(10)" if given is SWA else "EMA()"
        raise TypeError(f"averaging is the class {given.__name__}; make one of it: {example}")
    if not isinstance(given, Averaging):
        raise TypeError(f"averaging must be EMA(decay=0.999) or SWA(start_epoch), got {_checks.shown(given)}")
    if optimizer == "lbfgs":
        raise ValueError(
            "averaging means weights that jitter about a minimum, but L-BFGS ends at the lowest loss it has "
            "found; leave it out, or use another optimizer"
        )
    return given
