"""Damaged files: what is not the file that was saved is refused by its name."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dnn
import numpy as np
import pytest
from dnn._core import Network

RNG = np.random.default_rng(3)
X = RNG.normal(size=(20, 3))


def pair() -> dnn.Sequential:
    model = dnn.Sequential([dnn.Dense(2)], seed=1)
    model.fit(X, X[:, :2], epochs=2)
    return model


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.dnn"
    pair().save(path)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], whole[:4], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="can't be loaded"):
            dnn.load(path)


@pytest.mark.parametrize("model", ["pair", "estimator"])
def test_a_file_with_a_bit_changed_is_refused_by_its_name(tmp_path: Path, model: str) -> None:
    path = tmp_path / "model.dnn"
    load: Callable[[Path], object] = dnn.load
    if model == "estimator":
        pytest.importorskip("sklearn", reason="the estimators need scikit-learn")
        load = dnn.MLPRegressor.load
        dnn.MLPRegressor(hidden_layer_sizes=4, tol=1e9, n_iter_no_change=1).fit(X, X[:, 0]).save(path)
    else:
        pair().save(path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 4):  # every fourth, to be quick; the low and the high bit in turn
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 if at % 8 else 128)]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"model\.dnn' (is not a|can't be loaded)"):
            load(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="bytes have changed since it was saved"):
        load(path)


def test_the_checksum_of_a_file_is_that_of_zip(tmp_path: Path) -> None:
    pair().save(tmp_path / "model.dnn")
    whole = (tmp_path / "model.dnn").read_bytes()
    _, _, rest = whole.partition(b'\\"crc32\\":\\"')
    told = int(rest[:8], 16)
    assert zlib.crc32(whole.replace(rest[:8], b"00000000", 1)) == told


def described_by(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Writes the same model with another description."""
    network, text = Network.from_bytes(path.read_bytes())
    network.save(str(path), json.dumps(change(json.loads(text))), True)


NESTED: Any = []
for _ in range(500):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "change",
    [
        lambda said: [],
        lambda said: {},
        lambda said: {**said, "preparation": []},
        lambda said: {**said, "layers": [[]]},
        lambda said: {**said, "layers": NESTED},
        lambda said: {**said, "callbacks": 3},
    ],
)
def test_a_description_of_something_else_is_refused(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    path = tmp_path / "model.dnn"
    pair().save(path)
    described_by(path, change)
    with pytest.raises(ValueError, match=r"model\.dnn' can't be loaded"):
        dnn.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: {**said, "parameters": []},
        lambda said: {**said, "attributes": []},
        lambda said: {**said, "attributes": {}},
        lambda said: {**said, "targets": [3]},
        lambda said: {**said, "network": "{}"},
        lambda said: {**said, "format": "new"},
    ],
)
def test_a_description_of_another_estimator_is_refused(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    pytest.importorskip("sklearn", reason="the estimators need scikit-learn")
    path = tmp_path / "model.dnn"
    labels = (X[:, 0] > 0).astype(int)
    dnn.MLPClassifier(hidden_layer_sizes=4, tol=1e9, n_iter_no_change=1).fit(X, labels).save(path)
    described_by(path, change)
    with pytest.raises(ValueError, match=r"model\.dnn' is not a file of a MLPClassifier"):
        dnn.MLPClassifier.load(path)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes")
def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="a device or a pipe"):
        dnn.load(tmp_path / "pipe")


def test_a_file_that_asks_for_what_this_machine_lacks_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.dnn"
    pair().save(path)
    monkeypatch.setenv("DNN_ISA", "sse9")
    with pytest.raises(
        ValueError, match=r"model\.dnn' can't be loaded: DNN_ISA: there is no instruction set"
    ):
        dnn.load(path)
