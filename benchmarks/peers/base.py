"""What the runner asks of every system that it times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..workloads import Workload

Array = np.ndarray[Any, Any]


class Peer:
    """One system with one network, its data and its number of threads.

    x is (rows, n_in) float32; y is (rows,) of labels for cross_entropy, else (rows, n_out) float32. What a
    user of the system would do once, before training (convert the data, compile), is done here and not timed.
    What the system does not have is a KeyError.
    """

    compile_seconds = 0.0
    # False for a system that only predicts: `reset` and `fit` are then never called.
    trains = True

    def __init__(self, workload: Workload, x: Array, y: Array, threads: int):
        raise NotImplementedError

    @staticmethod
    def versions() -> dict[str, str]:
        raise NotImplementedError

    def reset(self) -> None:
        """Back to the initial weights and a fresh optimizer; not timed."""
        raise NotImplementedError

    def fit(self) -> list[float]:
        """Train from the state `reset` left; return the loss of each epoch. This is what is timed."""
        raise NotImplementedError

    def predictor(self, x: Array) -> Callable[[], Any]:
        """Make a call without arguments that predicts these rows as fast as the system's user can have it."""
        raise NotImplementedError
