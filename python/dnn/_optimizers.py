"""Optimizers: how gradients become steps, as frozen dataclasses.

Names and instances come in, instances go out. The step itself is worked out elsewhere. Adam and its kin are
in `_adam_family.py`. In the formulas p is a parameter, g its gradient, r the rate.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any, ClassVar

from dnn import _checks
from dnn._adam_family import Adam, Adamax, AdamW, Lamb, Nadam, RAdam
from dnn._dataclass import dataclass
from dnn._lbfgs import LBFGS
from dnn._optimizer import Optimizer, Rate


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Gradient descent, with momentum if asked: v = m v - r g, p = p + v; without momentum p = p - r g.

    p parameter, g gradient, r rate, m momentum. Nesterov: p = p + m v - r g. Dampened: v = m v + (1 - m) g,
    p = p - r v.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.01
        r, above 0; see `Optimizer`.
    momentum : float, default 0.0
        m, at least 0 and below 1.
    nesterov : bool, default False
        Look ahead along v. Needs momentum.
    dampened : bool, default False
        Average gradients instead of summing them. Not together with `nesterov`.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

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


@dataclass(frozen=True, repr=False)
class RMSprop(Optimizer):
    """Gradients divided by the root of their mean square (Tieleman and Hinton 2012).

    v = rho v + (1 - rho) g^2, s = g / (sqrt(v) + epsilon), p = p - r s. With momentum b = m b + s and
    p = p - r b. Centered: with a = rho a + (1 - rho) g the variance v - a^2 stands under the root. As in
    PyTorch, with Keras's rho.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.01
        r, above 0; see `Optimizer`.
    rho : float, default 0.9
        Decay of the means, at least 0 and below 1. PyTorch calls it alpha, and has 0.99.
    momentum : float, default 0.0
        m, at least 0 and below 1.
    centered : bool, default False
        Whether the mean is taken off.
    epsilon : float, default 1e-8
        Keeps the division finite, above 0.
    epsilon_inside : bool, default False
        Divide by sqrt(v + epsilon), as Keras does (with 1e-7), instead of PyTorch's sqrt(v) + epsilon.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.RMSprop(0.001, momentum=0.9).rho
    0.9
    """

    name: ClassVar[str] = "rmsprop"
    learning_rate: Rate = 0.01
    _: KW_ONLY
    rho: float = 0.9
    momentum: float = 0.0
    centered: bool = False
    epsilon: float = 1e-8
    epsilon_inside: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_below_one("rho", "momentum")
        self._check_booleans("centered", "epsilon_inside")
        self._check_epsilon()


@dataclass(frozen=True, repr=False)
class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of all their squares (Duchi et al. 2011).

    v = v + g^2, p = p - r g / (sqrt(v) + epsilon). As in PyTorch; its lr_decay is the schedule
    r / (1 + decay step).

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.01
        r, above 0; see `Optimizer`.
    epsilon : float, default 1e-10
        Keeps the division finite, above 0.
    initial_accumulator : float, default 0.0
        v before the first step, 0 or more. Keras has 0.1.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.Adagrad(0.1).initial_accumulator
    0.0
    """

    name: ClassVar[str] = "adagrad"
    learning_rate: Rate = 0.01
    _: KW_ONLY
    epsilon: float = 1e-10
    initial_accumulator: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_epsilon()
        self._check_at_least_zero("initial_accumulator")


@dataclass(frozen=True, repr=False)
class Adadelta(Optimizer):
    """Steps of the size of earlier steps, without a rate to choose (Zeiler 2012).

    v = rho v + (1 - rho) g^2, s = sqrt(a + epsilon) / sqrt(v + epsilon) g, a = rho a + (1 - rho) s^2,
    p = p - r s. As in PyTorch.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 1.0
        r, above 0; see `Optimizer`.
    rho : float, default 0.9
        Decay of the means, at least 0 and below 1. Keras has 0.95.
    epsilon : float, default 1e-6
        Above 0; the first steps are about sqrt(epsilon) long.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.Adadelta().learning_rate
    1.0
    """

    name: ClassVar[str] = "adadelta"
    learning_rate: Rate = 1.0
    _: KW_ONLY
    rho: float = 0.9
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_below_one("rho")
        self._check_epsilon()


@dataclass(frozen=True, repr=False)
class Lion(Optimizer):
    """Steps of the rate along the sign of a mean gradient (Chen et al. 2023).

    p = p - r d p - r sign(b1 m + (1 - b1) g), m = b2 m + (1 - b2) g. As in Keras. A good rate is 3 to 10
    times smaller than Adam's, and the decay as much larger.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.001
        r, above 0; see `Optimizer`.
    beta_1, beta_2 : float, default 0.9 and 0.99
        b1 and b2, at least 0 and below 1.
    weight_decay : float, default 0.0
        d, 0 or more.
    decay_bias : bool, default False
        Whether biases decay too.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.Lion(1e-4, weight_decay=0.1).beta_2
    0.99
    """

    name: ClassVar[str] = "lion"
    learning_rate: Rate = 0.001
    _: KW_ONLY
    beta_1: float = 0.9
    beta_2: float = 0.99
    weight_decay: float = 0.0
    decay_bias: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_below_one("beta_1", "beta_2")
        self._check_at_least_zero("weight_decay")
        self._check_booleans("decay_bias")


@dataclass(frozen=True, repr=False)
class Rprop(Optimizer):
    """Steps along the sign of the gradient, of a size for each parameter (Riedmiller and Braun 1993).

    Where g has the sign of the gradient before, the size d = d eta_plus; where it has turned, d = d eta_minus
    and g counts as 0; d stays between the two step sizes. p = p - d sign(g). As in PyTorch. For full batches:
    the noise of small ones turns the signs.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.01
        r, above 0; see `Optimizer`.
    etas : (float, float), default (0.5, 1.2)
        eta_minus, between 0 and 1, and eta_plus, above 1.
    step_sizes : (float, float), default (1e-6, 50.0)
        The smallest and the largest d, above 0. The rate of the first step is the first d of all.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.Rprop().etas
    (0.5, 1.2)
    """

    name: ClassVar[str] = "rprop"
    learning_rate: Rate = 0.01
    _: KW_ONLY
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        minus, plus = self._hold_numbers("etas", 2, "(0.5, 1.2)")
        smallest, largest = self._hold_numbers("step_sizes", 2, "(1e-6, 50)")
        if not 0.0 < minus < 1.0 < plus:
            raise ValueError(
                f"etas must be a number between 0 and 1 and one above 1, got {minus!r} and {plus!r}"
            )
        if not 0.0 < smallest <= largest:
            raise ValueError(
                f"step_sizes must be above 0, the smaller first, got {smallest!r} and {largest!r}"
            )


@dataclass(frozen=True, repr=False)
class Muon(Optimizer):
    """Momentum made orthogonal for matrices of weights (Jordan 2024); biases go by Adam.

    For W of a layer: m = mu m + (1 - mu) g, n = mu m + (1 - mu) g (without Nesterov n = m), then n is divided
    by its Frobenius norm and `ns_steps` times X = a X + (b G + c G^2) X with G = X X^T brings its singular
    values near to 1: X is O. W = W - r d W - r s O. As in PyTorch, which rounds to bfloat16 in between; here
    it is the type of the model. For biases p = p - r Adam's step, with the same r.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.001
        r, above 0; see `Optimizer`.
    momentum : float, default 0.95
        mu, at least 0 and below 1.
    nesterov : bool, default True
        Whether n looks ahead.
    weight_decay : float, default 0.1
        d, 0 or more; of weights, never of biases.
    ns_coefficients : (float, float, float), default (3.4445, -4.775, 2.0315)
        a, b and c of the Newton-Schulz iteration. Refused if a singular value could run away.
    ns_steps : int, default 5
        How often, from 0 to 99.
    epsilon : float, default 1e-7
        The smallest norm that is divided by, above 0.
    adjust_rate : {"original", "match_rms_adamw", "spectral_unclamped"}, default "original"
        s for W (n_in, n_out): sqrt(max(1, n_out / n_in)); 0.2 sqrt(max(n_in, n_out)), with which rates and
        decays of `AdamW` fit; sqrt(n_out / n_in). PyTorch's adjust_lr_fn.
    beta_1, beta_2, adam_epsilon : float, default 0.9, 0.999 and 1e-8
        Of `Adam` for the biases.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.Muon(0.02, adjust_rate="match_rms_adamw").ns_steps
    5
    """

    name: ClassVar[str] = "muon"
    learning_rate: Rate = 0.001
    _: KW_ONLY
    momentum: float = 0.95
    nesterov: bool = True
    weight_decay: float = 0.1
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315)
    ns_steps: int = 5
    epsilon: float = 1e-7
    adjust_rate: str = "original"
    beta_1: float = 0.9
    beta_2: float = 0.999
    adam_epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_below_one("momentum", "beta_1", "beta_2")
        self._check_booleans("nesterov")
        self._check_at_least_zero("weight_decay")
        self._hold_numbers("ns_coefficients", 3, "(3.4445, -4.775, 2.0315)")
        object.__setattr__(self, "ns_steps", _checks.integer(self.ns_steps, "ns_steps", 0, 99))
        self._check_epsilon()
        self._check_epsilon("adam_epsilon")
        if not isinstance(self.adjust_rate, str):
            raise TypeError(f"adjust_rate must be a name, got {_checks.shown(self.adjust_rate)}")
        _checks.name_in(self.adjust_rate, "adjust_rate", ADJUST_RATES)


ADJUST_RATES = ("original", "match_rms_adamw", "spectral_unclamped")

OPTIMIZERS: dict[str, type[Optimizer]] = {
    optimizer.name: optimizer
    for optimizer in (
        SGD,
        Adam,
        AdamW,
        RMSprop,
        Adagrad,
        Adadelta,
        Adamax,
        Nadam,
        Lion,
        Lamb,
        RAdam,
        Rprop,
        Muon,
        LBFGS,
    )
}


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
        f"optimizer must be a name such as 'adam' or one such as SGD(0.1), got {_checks.shown(optimizer)}"
    )
