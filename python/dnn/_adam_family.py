"""Adam and its kin: optimizers that divide a mean of gradients by their size, as frozen dataclasses.

In the formulas p is a parameter, g its gradient, r the rate, t the number of the step from 1; squares, roots
and quotients are element by element.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import ClassVar

from dnn import _checks
from dnn._dataclass import dataclass
from dnn._optimizer import Optimizer, Rate


@dataclass(frozen=True, repr=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015): steps of about the rate, whatever the size of the gradients.

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, then with t counting steps from 1
    p = p - r m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon).

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.001
        r, above 0; see `Optimizer`.
    beta_1, beta_2 : float, default 0.9 and 0.999
        b1 and b2, at least 0 and below 1.
    epsilon : float, default 1e-8
        Keeps the division finite, above 0.
    amsgrad : bool, default False
        Divide by the largest v so far (Reddi et al. 2018).
    epsilon_hat : bool, default False
        Put epsilon in front of the correction, p = p - r sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon),
        as Keras and scikit-learn do. The default is PyTorch's.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

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
        self._check_below_one("beta_1", "beta_2")
        self._check_epsilon()
        self._check_booleans("amsgrad", "epsilon_hat")


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam whose weights also shrink by r d of themselves (Loshchilov and Hutter 2019).

    p = p - r d p, then the step of `Adam`. The defaults are PyTorch's, but biases do not decay unless asked.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.001
        r, above 0; see `Optimizer`.
    weight_decay : float, default 0.01
        d, 0 or more.
    decay_bias : bool, default False
        Whether biases decay too, as in PyTorch where all parameters are in one group.
    beta_1, beta_2, epsilon, amsgrad, epsilon_hat
        As for `Adam`.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.AdamW(weight_decay=0.05).weight_decay
    0.05
    """

    name: ClassVar[str] = "adamw"
    learning_rate: Rate = 0.001
    _: KW_ONLY
    weight_decay: float = 0.01
    decay_bias: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least_zero("weight_decay")
        self._check_booleans("decay_bias")


@dataclass(frozen=True, repr=False)
class Adamax(Optimizer):
    """Adam with the largest recent gradient instead of the root (Kingma and Ba 2015, section 7).

    m = b1 m + (1 - b1) g, u = max(b2 u, |g| + epsilon), p = p - r / (1 - b1^t) m / u. As in PyTorch.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.002
        r, above 0; see `Optimizer`.
    beta_1, beta_2 : float, default 0.9 and 0.999
        b1 and b2, at least 0 and below 1.
    epsilon : float, default 1e-8
        Keeps the division finite, above 0.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.Adamax().learning_rate
    0.002
    """

    name: ClassVar[str] = "adamax"
    learning_rate: Rate = 0.002
    _: KW_ONLY
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_below_one("beta_1", "beta_2")
        self._check_epsilon()


@dataclass(frozen=True, repr=False)
class Nadam(Optimizer):
    """Adam with Nesterov's momentum (Dozat 2016).

    m and v as in `Adam`; with mu_t = b1 (1 - 0.5 0.96^(t c)) and M_t the product of mu_1 .. mu_t
    p = p - r ((1 - mu_t) / (1 - M_t) g + mu_(t+1) / (1 - M_(t+1)) m) / (sqrt(v / (1 - b2^t)) + epsilon).
    As in PyTorch, where it is called NAdam.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.002
        r, above 0; see `Optimizer`.
    beta_1, beta_2 : float, default 0.9 and 0.999
        b1 and b2, at least 0 and below 1.
    epsilon : float, default 1e-8
        Keeps the division finite, above 0.
    momentum_decay : float, default 0.004
        c, 0 or more: how soon the momentum reaches b1.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.Nadam().momentum_decay
    0.004
    """

    name: ClassVar[str] = "nadam"
    learning_rate: Rate = 0.002
    _: KW_ONLY
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    momentum_decay: float = 0.004

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_below_one("beta_1", "beta_2")
        self._check_epsilon()
        self._check_at_least_zero("momentum_decay")


@dataclass(frozen=True, repr=False)
class RAdam(Optimizer):
    """Adam that begins as gradient descent with momentum, until v can be trusted (Liu et al. 2020).

    m and v as in `Adam`, m^ = m / (1 - b1^t). With l = 2 / (1 - b2) - 1 and l_t = l - 2 t b2^t / (1 - b2^t):
    p = p - r m^ while l_t is at most 5, then
    p = p - r m^ sqrt(1 - b2^t) / (sqrt(v) + epsilon) sqrt((l_t - 4)(l_t - 2) l / ((l - 4)(l - 2) l_t)).
    As in PyTorch.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.001
        r, above 0; see `Optimizer`.
    beta_1, beta_2 : float, default 0.9 and 0.999
        b1, at least 0 and below 1, and b2, above 0.6 and below 1.
    epsilon : float, default 1e-8
        Keeps the division finite, above 0.
    clip_norm, clip_value : float, optional
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import dnn
    >>> dnn.RAdam().beta_2
    0.999
    """

    name: ClassVar[str] = "radam"
    learning_rate: Rate = 0.001
    _: KW_ONLY
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_below_one("beta_1")
        _checks.number(self.beta_2, "beta_2", above=0.6, below=1.0)
        self._check_epsilon()


@dataclass(frozen=True, repr=False)
class Lamb(Optimizer):
    """Adam whose step is as long for each array as the array (You et al. 2020); for large batches.

    m^ and v^ as in `Adam`, corrected; u = m^ / (sqrt(v^) + epsilon) + d p, then for each array (W or b of a
    layer) p = p - r |p| / |u| u with Euclidean norms; where one is 0 their quotient counts as 1. Names and
    defaults are Keras's. Its weight decay stands outside the norms; here it is the paper's.

    Parameters
    ----------
    learning_rate : float, schedule, callable or 1-D sequence, default 0.001
        r, above 0; see `Optimizer`.
    beta_1, beta_2 : float, default 0.9 and 0.999
        b1 and b2, at least 0 and below 1.
    epsilon : float, default 1e-7
        Keeps the division finite, above 0.
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
    >>> dnn.Lamb(0.01).epsilon
    1e-07
    """

    name: ClassVar[str] = "lamb"
    learning_rate: Rate = 0.001
    _: KW_ONLY
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0
    decay_bias: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_below_one("beta_1", "beta_2")
        self._check_epsilon()
        self._check_at_least_zero("weight_decay")
        self._check_booleans("decay_bias")
