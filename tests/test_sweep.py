"""`benchmarks/sweep.py`: which cells are measured, what one comes to, and that a run goes on where it was."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import heatmap, sweep, workloads
from benchmarks.peers import dnn_peer, numpy_peer


def system(name: str, threads: int, *microseconds: float) -> dict[str, Any]:
    return {
        "system": name,
        "threads": threads,
        "steps": 64,
        "first_loss": 1.0,
        "microseconds": [*microseconds],
    }


CELL = sweep.Cell((64, 64, 64, 10), 32)
MEASURED = {
    "cell": vars(CELL),
    "systems": [
        system("dnn", 1, 30.0, 10.0, 20.0),
        system("dnn", 2, 25.0, 26.0, 27.0),
        system("numpy", 1, 90.0, 100.0, 110.0),
        system("jax", 1),  # too far behind in the warm-up
        system("jax", 2, 50.0, 40.0, 60.0),
    ],
}


def test_the_ratio_is_of_medians_with_the_best_threads_of_the_best_peer() -> None:
    assert sweep.best_times(MEASURED) == {"dnn": (20.0, 1), "numpy": (100.0, 1), "jax": (50.0, 2)}
    assert sweep.ratio(MEASURED) == (2.5, "jax")


def test_a_cell_without_a_peer_has_no_ratio() -> None:
    assert sweep.ratio({"systems": MEASURED["systems"][:2]}) is None


def test_turns_of_a_second_run_are_added() -> None:
    now = {"cell": vars(CELL), "systems": [system("dnn", 1, 1.0), system("torch", 1, 5.0)]}
    added = sweep.add_turns(MEASURED, now)
    assert [s["microseconds"] for s in added["systems"]] == [[30.0, 10.0, 20.0, 1.0], [5.0]]


def test_what_is_not_measured_comes_first_then_what_is_below_the_limit() -> None:
    other = sweep.Cell((64, 64, 64, 10), 1)
    large = sweep.Cell((4096,) * 9 + (10,), 4096)
    cells = [CELL, other, large]
    done = {CELL.key: MEASURED}
    assert sweep.wanted(cells, done, 3.0) == [other]
    assert sweep.wanted([CELL, large], done, None) == []
    assert sweep.wanted([CELL, large], done, 3.0) == [CELL]
    assert sweep.wanted([CELL, large], done, 2.0) == []


def test_a_cell_with_too_much_to_do_says_why_it_is_left_out() -> None:
    assert sweep.Cell((64, 64, 10), 1).left_out() is None
    assert sweep.Cell((4096, 4096, 4096), 4096).left_out() == "too much work"
    assert sweep.Cell((4096,) * 9 + (10,), 1).left_out() == "too many parameters"


def test_parameters_and_work_are_those_of_the_network() -> None:
    cell = sweep.Cell((5, 5, 5, 3), 7)
    assert cell.parameters == 2 * (5 * 5 + 5) + 5 * 3 + 3
    assert cell.work == 3 * 7 * cell.parameters


@pytest.mark.parametrize("peer", sorted(sweep.OVERHEAD))
@pytest.mark.parametrize("width", [1, 64, 4096])
@pytest.mark.parametrize("batch", [1, 4096])
def test_a_fit_has_whole_batches_and_some_steps(peer: str, width: int, batch: int) -> None:
    workload = sweep.Cell((width, width, 10), batch).workload(peer)
    assert workload.rows % batch == 0
    assert 2 <= workload.steps <= sweep.MOST_STEPS
    assert workload.rows * width <= max(sweep.MOST_ELEMENTS, 2 * batch * width)


def test_the_picture_has_cells_that_were_not_measured_too(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    cells = [((1, 10), 1, 1, (0.5, "jax")), ((1, 10), 1, 32, None), ((2, 10), 64, 1, (12.0, "numpy"))]
    path = tmp_path / "sweep.png"
    assert heatmap.draw(str(path), cells, {"cpu": "a machine"}) is None
    assert matplotlib.image.imread(path).shape[2] == 4


def test_the_picture_of_drawn_networks_has_a_point_for_each(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    path = tmp_path / "drawn.png"
    points = [(1e3, 0.9, "jax"), (1e6, 2.0, "numpy"), (1e9, 1.1, "jax")]
    assert heatmap.scatter(str(path), points, {"cpu": "a machine"}) is None
    assert matplotlib.image.imread(path).shape[2] == 4


def asked_for(drawn: int, seed: int, **others: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{"predict": False, "varied": False, "most": None, **others}, drawn=drawn, seed=seed
    )


def test_networks_are_drawn_by_a_seed_and_none_has_too_much_to_do() -> None:
    one, again, other = (sweep.drawn(asked_for(40, seed)) for seed in (1, 1, 2))
    assert one == again != other
    assert len({cell.key for cell in one}) == 40
    assert all(cell.work <= sweep.MOST_DRAWN_WORK and not cell.left_out() for cell in one)
    assert {cell.loss for cell in one} == {"cross_entropy", "mse"}
    assert all(cell.loss == "mse" for cell in one if cell.widths[-1] == 1)
    assert {cell.hidden for cell in one} == set(sweep.HIDDEN)


def test_varied_networks_have_all_there_is_to_draw_and_none_is_wider_than_asked() -> None:
    cells = sweep.drawn(asked_for(200, 1, varied=True, most=64.0))
    assert {cell.loss for cell in cells} == set(workloads.LOSSES)
    assert {cell.hidden for cell in cells} == set(workloads.HIDDEN)
    assert {cell.optimizer for cell in cells} == set(workloads.OPTIMIZERS)
    assert max(max(*cell.widths, cell.batch) for cell in cells) <= 64
    assert all(cell.loss != "cross_entropy" for cell in cells if cell.widths[-1] == 1)


@pytest.mark.parametrize("loss", workloads.LOSSES)
def test_targets_are_those_of_the_loss(loss: str) -> None:
    cell = sweep.Cell((5, 7, 3), 4, "adam", "relu", loss)
    x, y = cell.workload("dnn").data()
    assert y.shape == ((len(x),) if loss == "cross_entropy" else (len(x), 3))
    if loss == "binary_cross_entropy":
        assert set(y.ravel()) == {0.0, 1.0}
    assert cell.output == {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}.get(
        loss, "identity"
    )


@pytest.mark.parametrize("optimizer", workloads.OPTIMIZERS)
@pytest.mark.parametrize("loss", workloads.LOSSES)
def test_dnn_and_numpy_have_the_same_losses_on_what_both_have(loss: str, optimizer: str) -> None:
    workload = workloads.Workload(
        "a", (5, 16, 9, 3), "gelu", loss, optimizer, 1e-2, 8, 20, 2, False
    ).checked()
    x, y = workload.data()
    found = []
    for kind in (dnn_peer.Dnn, numpy_peer.Numpy):
        peer = kind(workload, x, y, 1)
        if kind is numpy_peer.Numpy and optimizer not in numpy_peer.OPTIMIZERS:
            with pytest.raises(KeyError):
                peer.reset()
            return
        peer.reset()
        found.append(peer.fit())
    np.testing.assert_allclose(*found, rtol=2e-5)


def test_predictions_are_cells_of_their_own() -> None:
    step, call = sweep.Cell((5, 5, 3), 7), sweep.Cell((5, 5, 3), 7, predicts=True)
    assert step.key != call.key == "5-5-3, 7 rows, relu, softmax"
    assert step.work == 3 * call.work


def test_a_run_writes_what_it_measured_and_a_second_one_has_nothing_to_do(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    options = ["--peers", "numpy", "--tables", "1x1", "--widths", "3", "--batches", "1,4", "--turns", "1"]
    command = [sys.executable, "-m", "benchmarks.sweep", *options, "--threads", "1", "--json", str(path)]
    root = Path(__file__).parent.parent
    first = subprocess.run([*command, "--seconds", "0"], capture_output=True, text=True, check=True, cwd=root)
    assert "1 cells measured, 1 to go" in first.stdout
    before = json.loads(path.read_text())["cells"]
    second = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert "2 cells measured, 0 to go" in second.stdout
    after = json.loads(path.read_text())["cells"]
    assert [*before.items()] == [*after.items()][:1]
    third = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert json.loads(path.read_text())["cells"] == after
    assert "warning" not in third.stdout
    predict = [*command, "--predict", "--drawn", "1", "--tables", "1x3"]
    assert (
        "warning" not in subprocess.run(predict, capture_output=True, text=True, check=True, cwd=root).stdout
    )
    calls = list(json.loads(path.read_text())["cells"].values())[len(after) :]
    assert len(calls) == 1
    assert all(system["microseconds"][0] > 0 for system in calls[0]["systems"])
