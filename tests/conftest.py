"""Data and models that several test files use. Small, seeded, and made anew for each test."""

from __future__ import annotations

import os
from typing import Any

import dnn
import numpy as np
import pytest
from numpy.typing import NDArray

# Plots are drawn to nowhere, also on machines with a screen.
os.environ.setdefault("MPLBACKEND", "Agg")

# Run by hand, where the packages are whose values they record.
collect_ignore = ["record"]

Table = tuple[NDArray[Any], NDArray[Any]]


@pytest.fixture(autouse=True)
def _threads_as_found() -> Any:
    """A test that sets the number of threads leaves no trace."""
    yield
    dnn.set_num_threads(None)


@pytest.fixture
def regression() -> Table:
    """60 rows of 3 columns, and one smooth target (60, 1)."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(60, 3)).astype(np.float32)
    return x, np.tanh(x @ np.array([[1.0], [-2.0], [0.5]])).astype(np.float32)


@pytest.fixture
def classes() -> Table:
    """90 rows of 4 columns in 3 overlapping clouds, and their labels (90,): 50, 30 and 10 of them."""
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1, 2], [50, 30, 10])
    order = rng.permutation(90)
    x = rng.normal(size=(90, 4)).astype(np.float32)
    x[np.arange(90), labels] += 2.0
    return x[order], labels[order].astype(np.int64)


@pytest.fixture
def regressor() -> dnn.Sequential:
    """3 inputs, 1 output; not built yet."""
    return dnn.Sequential([dnn.Dense(8, "tanh"), dnn.Dense(1)], seed=1)


@pytest.fixture
def classifier() -> dnn.Sequential:
    """4 inputs, 3 classes; not built yet."""
    return dnn.Sequential([dnn.Dense(8, "relu"), dnn.Dense(3, "softmax")], seed=2)
