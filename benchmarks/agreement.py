"""`python -m benchmarks.agreement`: whether the estimators score as scikit-learn's do, over several seeds.

The same settings, splits and random_state for both. A seed draws the rows to test with, the first weights and
the batches. Prints a table for documents: mean and standard deviation of the scores on the test rows, and
whether the means differ by more than the seeds explain. `--data FOLDER` adds MNIST and California housing,
from the folders that examples/published.py reads.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dnn
import numpy as np
import sklearn
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

Array = np.ndarray[Any, Any]


class Case(NamedTuple):
    """A data set, and how both learn from it; what is not said is scikit-learn's default."""

    name: str
    x: Array
    y: Array
    settings: dict[str, Any]
    # How many rows learn and how many are tested with; None is the usual three quarters and one.
    rows: tuple[int, int] | None = None

    @property
    def has_classes(self) -> bool:
        return bool(np.issubdtype(self.y.dtype, np.integer))


def carried() -> Iterator[Case]:
    """Cases whose data scikit-learn carries."""
    yield Case("digits", *datasets.load_digits(return_X_y=True), {"max_iter": 100})
    yield Case("breast cancer", *datasets.load_breast_cancer(return_X_y=True), {})
    yield Case("wine", *datasets.load_wine(return_X_y=True), {})
    x, y = datasets.load_diabetes(return_X_y=True)
    yield Case("diabetes", x, y, {"learning_rate_init": 0.01, "alpha": 1.0})


def from_folder(folder: Path) -> Iterator[Case]:
    """Cases whose data lies in a folder."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
    import idx
    import published

    settings: dict[str, Any] = {"hidden_layer_sizes": (50, 50), "max_iter": 50}
    yield Case("California housing", *published.housing(folder), settings)
    images = idx.load(folder / "mnist")
    x = np.concatenate([images.x, images.x_test]).astype(np.float64)
    y = np.concatenate([images.y, images.y_test])
    yield Case("MNIST, a part", x, y, {"max_iter": 10}, rows=(10_000, 10_000))


def scores(
    case: Case, make: Callable[..., Any], dtype: str, seed: int, **options: Any
) -> tuple[float, float]:
    """The score on the rows of a seed that were held back, and the seconds of the fit."""
    learn, test = case.rows or (None, None)
    x, x_test, y, y_test = train_test_split(
        case.x,
        case.y,
        train_size=learn,
        test_size=test,
        random_state=seed,
        stratify=case.y if case.has_classes else None,
    )
    scaler = StandardScaler().fit(x)
    x, x_test = scaler.transform(x).astype(dtype), scaler.transform(x_test).astype(dtype)
    start = time.perf_counter()
    model = make(**case.settings, random_state=seed, **options).fit(x, y)
    return model.score(x_test, y_test), time.perf_counter() - start


def compare(case: Case, seeds: int, threads: int | None) -> str:
    """A line of the table."""
    theirs, ours = (
        (MLPClassifier, dnn.MLPClassifier) if case.has_classes else (MLPRegressor, dnn.MLPRegressor)
    )
    found = []
    for seed in range(seeds):
        row = [scores(case, theirs, "float64", seed)]
        row += [scores(case, ours, dtype, seed, n_threads=threads) for dtype in ("float64", "float32")]
        found.append(row)
    score, seconds = np.moveaxis(np.array(found), 2, 0)
    mean, spread = score.mean(axis=0), score.std(axis=0, ddof=1)
    # Of a difference of two means, as if the seeds of both were other ones.
    noise = np.sqrt((spread[0] ** 2 + spread[1:] ** 2) / seeds)
    is_noise = np.abs(mean[1:] - mean[0]) <= 2 * noise
    rows = case.rows[0] if case.rows else len(case.x) - -(-len(case.x) // 4)
    settings = ", ".join(f"{name}={value}" for name, value in case.settings.items()) or "defaults"
    cells = [
        f"{case.name} ({'accuracy' if case.has_classes else 'R^2'})",
        f"{rows} x {case.x.shape[1]}",
        f"`{settings}`",
        *(f"{a:.4f} +- {s:.4f}" for a, s in zip(mean, spread, strict=True)),
        f"{np.abs(score[:, 1] - score[:, 0]).max():.1g}",
        "yes" if is_noise.all() else "no",
        *(f"{np.median(seconds[:, 0] / seconds[:, at]):.1f}" for at in (1, 2)),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with mnist and california_housing")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--threads", type=int, help="of dnn")
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error("--seeds must be 2 or more: one score has no spread")
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"{asked.seeds} seeds, scikit-learn {sklearn.__version__}, NumPy {np.__version__}\n")
    print("| data (score) | rows x columns | settings | scikit-learn | dnn, float64 | dnn, float32 |", end="")
    print(" largest difference of a seed, float64 | within noise | fit, times faster, float64 | float32 |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for case in (*carried(), *(from_folder(asked.data) if asked.data else ())):
        print(compare(case, asked.seeds, asked.threads), flush=True)


if __name__ == "__main__":
    main()
