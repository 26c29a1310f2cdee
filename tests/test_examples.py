"""Every example runs, without a warning, and prints what it is there to show."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

# What each prints; the ones that need arguments, and the reader they share, have tests of their own below.
SHOWS = {
    "activations": ["softsign", "its derivative is zero almost everywhere"],
    "batch_variants": ["batch gradient descent", "mini-batches with Adam"],
    "callbacks": ["callback: a callback stopped training", "like the model: True"],
    "checkpoint_resume": [
        "dies after epoch 5",
        "goes on with epoch 6",
        "the bits of a training that never stopped: True",
    ],
    "custom_schedule": ["warm-up, cosine"],
    "deep": ["sigmoid, batch normalisation", "usual today"],
    "divergence": ["DivergenceWarning", "all weights are finite: True", "rate 0.01: epochs"],
    "imbalanced": ["found", "class_weight='balanced'"],
    "initializers": ["he_normal", "diverged"],
    "estimator_classification": ["class_weight=None", "class_weight=balanced"],
    "estimator_early_stopping": ["the scores are the callback's: True"],
    "estimator_regression": ["best:", "R^2 on rows it has not seen"],
    # The article's numbers; and the error after one update that follows from its text, not from its long run.
    "mazur": ["0.298371109", "0.138498562", "0.082167041", "0.358916480", "0.291027774", "0.000035102"],
    "one_batch": ["tol=0.00001", "by hand: 814 steps"],
    "prakash": ["loss -ln 0.198447 = 1.617234", "largest relative difference"],
    "multi_label": ["accuracy over all labels: 9", "at (1, -0.5): right 1.00, above 0.00"],
    "own_loss": ["asymmetric  too little for 2", "gradient check: "],
    "quantiles": ["90 % intervals by quantiles", "hold 8", "where the noise is 0.55"],
    "regression": ["did not improve by more than tol=0.0001"],
    "schedules": ["the cosine ends below both constants: True", "scikit-learn's adaptive"],
    "save_load": [
        "file, 10 more: the bits of 20 at once: True",
        "copy, 10 more: the bits of 20 at once: True",
    ],
    "vanishing": ["vanishes", "arrives", "explodes"],
    "xor": [
        "is 1; the network says 1 with probability 0.5",
        "is 1; the network says 1 with probability 0.99",
    ],
}
WITH_ARGUMENTS = {"demo", "mnist", "published"}


def run(name: str, *arguments: object, warnings: str = "error") -> str:
    """What an example prints."""
    done = subprocess.run(
        [sys.executable, "-W", warnings, EXAMPLES / f"{name}.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "MPLBACKEND": "Agg"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_has_a_test_and_says_what_it_shows() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {*SHOWS, *WITH_ARGUMENTS, "idx"}
    for name in names:
        assert (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").startswith('"""')


@pytest.mark.parametrize("name", SHOWS)
def test_an_example_runs_and_shows_its_point(name: str) -> None:
    printed = run(name)
    for text in SHOWS[name]:
        assert text in printed


def test_the_demo_trains_compares_and_writes(tmp_path: Path) -> None:
    # scikit-learn and matplotlib may warn of each other's age.
    printed = run("demo", "--epochs", 3, "--output", tmp_path / "out", warnings="default")
    for text in ("test accuracy", "is \\ taken for", "pure NumPy", "digits.dnn", "learning_curves.png"):
        assert text in printed
    assert (tmp_path / "out" / "digits.dnn").stat().st_size > 17226 * 4
    assert (tmp_path / "out" / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def write_idx(path: Path, array: np.ndarray, *, packed: bool) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    data = header + array.tobytes()
    path.write_bytes(gzip.compress(data) if packed else data)


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Images of noise, brighter in the line of their class, in the files of MNIST."""
    rng = np.random.default_rng(0)
    end = ".gz" if request.param else ""
    for part, rows in (("train", 300), ("t10k", 50)):
        labels = np.resize(np.arange(10), rows).astype(np.uint8)
        images = rng.integers(0, 100, (rows, 28, 28), dtype=np.uint8)
        images[np.arange(rows), labels] += 150
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{end}", images, packed=request.param)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{end}", labels, packed=request.param)
    return tmp_path


@pytest.mark.parametrize("network", ["small", "large"])
def test_mnist_trains_on_the_files_of_a_folder(folder: Path, network: str) -> None:
    printed = run("mnist", "--data", folder, "--network", network, "--epochs", 5)
    assert "test accuracy 100.00%" in printed


def test_the_demo_takes_the_files_of_a_folder(folder: Path) -> None:
    printed = run("demo", "--data", folder, "--epochs", 3, "--output", folder / "out", warnings="default")
    assert "300 to learn from, 50 to test with" in printed


def test_published_results_are_trained_on_the_files_of_a_folder(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("mnist", "fashion_mnist"):
        (data / name).mkdir(parents=True)
        for path in folder.glob("*ubyte*"):
            (data / name / path.name).write_bytes(path.read_bytes())
    printed = run("published", "--data", data, "--only", "fashion-100", "dropout", warnings="default")
    assert "| setting | published | reached | epochs | seconds |" in printed
    assert "| Fashion-MNIST, MLPClassifier((100,)), relu | 0.868 (Xiao et al. 2017) | " in printed
    assert "| MNIST, 784-512-512-10, dropout | 98.3 to 98.4 % (Keras) | 100.00% | 20 | " in printed


def test_california_housing_is_read_as_scikit_learn_has_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "california_housing").mkdir()
    header = "longitude,latitude,housing_median_age,total_rooms,total_bedrooms,population,households,"
    table = rng.uniform(1, 2, (200, 9))
    table[:, 8] = 100_000 * table[:, 7]  # the target is the income
    path = tmp_path / "california_housing" / "cal_housing_with_header.csv"
    np.savetxt(path, table, delimiter=",", header=header + "median_income,median_house_value", comments="")
    printed = run("published", "--data", tmp_path, "--only", "california", warnings="default")
    found = re.search(r"RMSE \| 0.505 \(Geron 2022\) \| (0\.\d+) \|", printed)
    assert found is not None
    assert float(found[1]) < 0.2  # guessing the mean would be off by 0.29


def test_what_is_no_idx_file_is_said_to_be_none(folder: Path) -> None:
    for path in folder.glob("train-images*"):
        path.write_bytes(b"\x00\x00\x0d\x01\x00\x00\x00\x00")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "mnist.py", "--data", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "is not an IDX file of unsigned bytes" in done.stderr
