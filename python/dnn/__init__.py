"""Dense neural networks on the CPU: defined in Python, trained in Rust, with the speed of the machine.

>>> import dnn
>>> model = dnn.Sequential([dnn.Dense(16, "relu"), dnn.Dense(3, "softmax")])
"""

from typing import TYPE_CHECKING

from dnn._activations import CELU, ELU, LeakyReLU, PReLU
from dnn._adam_family import Adam, Adamax, AdamW, Lamb, Nadam, RAdam
from dnn._callbacks import Callback, EarlyStopping, LambdaCallback
from dnn._checkpoint import ModelCheckpoint
from dnn._class_losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Focal,
    Hinge,
    KLDivergence,
    SquaredHinge,
)
from dnn._core import version as __version__
from dnn._cycles import CosineDecay, CosineRestarts, CosLog4, OneCycle, WarmUp
from dnn._decays import (
    ExponentialDecay,
    InverseScaling,
    InverseTimeDecay,
    MultiStepDecay,
    Piecewise,
    PolynomialDecay,
    StepDecay,
)
from dnn._history import DivergenceWarning, History
from dnn._initializers import Constant, Normal, Orthogonal, TruncatedNormal, Uniform
from dnn._layers import Activation, Dense, Input, Residual
from dnn._lbfgs import LBFGS
from dnn._loggers import CSVLogger, ProgressBar, TensorBoard
from dnn._losses import (
    MAE,
    MAPE,
    MSE,
    MSLE,
    SSE,
    Gamma,
    GaussianNLL,
    HalfMSE,
    Huber,
    LogCosh,
    Poisson,
    Quantile,
    Tweedie,
)
from dnn._model import Sequential, load
from dnn._noise import AlphaDropout, Dropout, GaussianNoise
from dnn._normalization import BatchNormalization, LayerNormalization
from dnn._optimizers import SGD, Adadelta, Adagrad, Lion, Muon, RMSprop, Rprop
from dnn._plateau import Adaptive, ReduceOnPlateau
from dnn._rate_callbacks import LearningRateScheduler, ReduceLROnPlateau
from dnn._threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from dnn._averaging import EMA as EMA
    from dnn._averaging import SWA as SWA
    from dnn._estimators import MLPClassifier as MLPClassifier
    from dnn._estimators import MLPRegressor as MLPRegressor
    from dnn._metrics import AUC as AUC
    from dnn._metrics import F1 as F1
    from dnn._metrics import Precision as Precision
    from dnn._metrics import Recall as Recall
    from dnn._metrics import TopK as TopK

__all__ = [
    "AUC",
    "CELU",
    "ELU",
    "EMA",
    "F1",
    "LBFGS",
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "SGD",
    "SSE",
    "SWA",
    "Activation",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adaptive",
    "AlphaDropout",
    "BatchNormalization",
    "BinaryCrossEntropy",
    "CSVLogger",
    "Callback",
    "Constant",
    "CosLog4",
    "CosineDecay",
    "CosineRestarts",
    "CrossEntropy",
    "Dense",
    "DivergenceWarning",
    "Dropout",
    "EarlyStopping",
    "ExponentialDecay",
    "Focal",
    "Gamma",
    "GaussianNLL",
    "GaussianNoise",
    "HalfMSE",
    "Hinge",
    "History",
    "Huber",
    "Input",
    "InverseScaling",
    "InverseTimeDecay",
    "KLDivergence",
    "Lamb",
    "LambdaCallback",
    "LayerNormalization",
    "LeakyReLU",
    "LearningRateScheduler",
    "Lion",
    "LogCosh",
    "ModelCheckpoint",
    "MultiStepDecay",
    "Muon",
    "Nadam",
    "Normal",
    "OneCycle",
    "Orthogonal",
    "PReLU",
    "Piecewise",
    "Poisson",
    "PolynomialDecay",
    "Precision",
    "ProgressBar",
    "Quantile",
    "RAdam",
    "RMSprop",
    "Recall",
    "ReduceLROnPlateau",
    "ReduceOnPlateau",
    "Residual",
    "Rprop",
    "Sequential",
    "SquaredHinge",
    "StepDecay",
    "TensorBoard",
    "TopK",
    "TruncatedNormal",
    "Tweedie",
    "Uniform",
    "WarmUp",
    "__version__",
    "get_num_threads",
    "load",
    "set_num_threads",
]

# They need scikit-learn, which is imported when they are asked for. They are not in __all__, so that
# `from dnn import *` does without it.
_ESTIMATORS = ("MLPClassifier", "MLPRegressor")
# Classes for few, whose import would be paid by all.
_METRICS = ("AUC", "F1", "Precision", "Recall", "TopK")
_AVERAGES = ("EMA", "SWA")


def __getattr__(name: str) -> object:
    if name in _METRICS:
        from dnn import _metrics

        return getattr(_metrics, name)
    if name in _AVERAGES:
        from dnn import _averaging

        return getattr(_averaging, name)
    if name not in _ESTIMATORS:
        raise AttributeError(f"module 'dnn' has no attribute {name!r}")
    try:
        from dnn import _estimators
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("sklearn", "scipy"):
            raise
        raise ImportError(f"dnn.{name} needs scikit-learn 1.6 or later: pip install scikit-learn") from error
    return getattr(_estimators, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_AVERAGES, *_ESTIMATORS, *_METRICS])
