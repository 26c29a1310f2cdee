"""`python -m benchmarks.sweep`: a step, or a prediction, beside the best peer, over widths, batches, depths.

In: a grid, and who takes part. Out: a JSON file with every turn, a picture of the ratios, the cells below 1.
It looks for the networks where dnn is slow; `python -m benchmarks` tells how fast it is on named ones.

A cell of the grid is a network of hidden layers as wide as its inputs: classes from a softmax with cross
entropy, or with one output the squared error; relu, Adam, float32. `--drawn` leaves all of that to chance,
among a few activations, losses and optimizers that every peer has, or with `--varied` among more of them.
Everyone trains on the same shuffled rows. With `--predict` it is a call of `predict` with as many rows as a
batch has. Within a cell turns go round, A B C, A B C. The file is written
after each cell: a run that was stopped goes on where it was, and a run on a finished file adds turns to the
cells that `--below` names.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import heatmap, peers, report, runner, workloads
from .workloads import Workload

WIDTHS = (1, 2, 7, 16, 31, 32, 33, 64, 100, 128, 256, 257, 512, 1000, 1024, 2048, 4096)
BATCHES = (1, 2, 7, 16, 32, 64, 100, 128, 256, 512, 1024, 4096)
COARSE_WIDTHS = (1, 7, 32, 33, 100, 256, 512, 1000, 4096)
COARSE_BATCHES = (1, 7, 32, 128, 512, 4096)
QUICK_WIDTHS, QUICK_BATCHES = (3, 64), (1, 32)
# Depth and outputs of each table.
TABLES = ((1, 10), (2, 10), (4, 10), (8, 10), (1, 1), (1, 4096))
QUICK_TABLES = ((2, 10), (1, 1))
DEFAULT, DEFAULT_PREDICT = ("numpy", "torch", "jax"), ("numpy", "torch", "jax", "onnx")
OPTIMIZERS, HIDDEN = ("adam", "sgd"), ("relu", "tanh", "sigmoid")
# Losses that go with several outputs, and with one.
SEVERAL, SINGLE = ("cross_entropy", "mse"), ("mse",)

# Left out: a step of more multiply-adds than this, about half a second on two cores; or more parameters,
# since each is there four times for each system and number of threads: itself, its gradient, two moments.
MOST_WORK = 4e10
MOST_PARAMETERS = 40e6
MOST_ELEMENTS = 2**23  # of x: 32 MiB
WIDEST, MOST_DRAWN_WORK = 2000.0, 4e9  # of the networks that are drawn
MOST_DRAWS = 1000  # for each that is asked for; fewer may be possible
# Steps of a fit are chosen so that it takes about so long: what a fit costs beside its steps is small then.
TURN = 0.05
# Below so many multiply-adds a step is timed on one thread only: nobody gains from two.
WORTH_THREADS = 1e6
# Microseconds of a step and a layer that a system takes whatever the size, roughly: to choose how many steps.
OVERHEAD = {
    "dnn": 0.5,
    "jax": 1.5,
    "numpy": 25.0,
    "torch": 200.0,
    "torch-bf16": 200.0,
    "sklearn": 150.0,
    "onnx": 3.0,
}
MOST_STEPS, FEWEST_STEPS = 4096, 8  # as few as in `wide`
# Only the best peer counts: who was so many times slower than the best in the warm-up is not timed further.
BEHIND = 2.0
ALIKE = 0.25  # relative; how far the loss of a first epoch may be off, since everyone has shuffles of his own


@dataclass(frozen=True)
class Cell:
    """One network, its widths from the inputs to the outputs, and the rows of a batch, or of a prediction."""

    widths: tuple[int, ...]
    batch: int
    optimizer: str = "adam"
    hidden: str = "relu"
    loss: str = "cross_entropy"
    predicts: bool = False

    @property
    def key(self) -> str:
        widths = "-".join(map(str, self.widths))
        if self.predicts:
            return f"{widths}, {self.batch} rows, {self.hidden}, {self.output}"
        return f"{widths}, batch {self.batch}, {self.hidden}, {self.loss}, {self.optimizer}"

    @property
    def table(self) -> tuple[int, int]:
        """Hidden layers, and outputs."""
        return len(self.widths) - 2, self.widths[-1]

    @property
    def parameters(self) -> int:
        return sum((n + 1) * m for n, m in zip(self.widths[:-1], self.widths[1:], strict=True))

    @property
    def output(self) -> str:
        return workloads.OUTPUTS.get(self.loss, "identity")

    @property
    def work(self) -> float:
        """Multiply-adds, roughly; those of a step are three products, forward and both gradients."""
        return (1.0 if self.predicts else 3.0) * self.batch * self.parameters

    def left_out(self) -> str | None:
        """Why it is not measured, or None."""
        if self.work > MOST_WORK:
            return "too much work"
        return "too many parameters" if self.parameters > MOST_PARAMETERS else None

    def workload(self, peer: str) -> Workload:
        """Return it with as many steps as fill a turn of this peer; an epoch has 64 where x stays small."""
        speed = 50e9 if min(self.widths[:-1]) >= 128 else 10e9  # narrow products are far from the peak
        guess = (len(self.widths) - 1) * OVERHEAD[peer] * 1e-6 + self.work / speed + self.parameters * 1e-9
        steps = int(min(max(TURN / guess, FEWEST_STEPS), MOST_STEPS))
        per_epoch = max(2, min(64, MOST_ELEMENTS // (self.batch * max(self.widths[0], self.widths[-1]))))
        per_epoch = min(per_epoch, steps)
        return Workload(
            self.key,
            self.widths,
            self.hidden,
            self.loss,
            self.optimizer,
            1e-4 / max(1.0, max(self.widths[:-1]) / 64),  # nothing may run away, however wide or deep
            self.batch,
            self.batch * per_epoch,
            max(1, steps // per_epoch),
        )


def grid(asked: argparse.Namespace) -> list[Cell]:
    """All cells, the cheap ones first in each table."""
    tables, widths, batches = TABLES, COARSE_WIDTHS, COARSE_BATCHES
    if asked.fine:
        widths, batches = WIDTHS, BATCHES
    if asked.quick:
        tables, widths, batches = QUICK_TABLES, QUICK_WIDTHS, QUICK_BATCHES
    if asked.tables:
        pairs = [part.split("x") for part in asked.tables.split(",")]
        tables = tuple((int(depth), int(outputs)) for depth, outputs in pairs)
    widths = numbers(asked.widths) or widths
    batches = numbers(asked.batches) or batches
    return [
        Cell(
            (*[width] * (depth + 1), outputs),
            batch,
            asked.optimizer,
            asked.hidden,
            loss_of(outputs, asked.loss),
            asked.predict,
        )
        for depth, outputs in tables
        for width in widths
        for batch in batches
    ]


def loss_of(outputs: int, asked: str | None) -> str:
    """The loss that was asked for, where it goes with so many outputs."""
    if asked and (outputs > 1 or asked != "cross_entropy"):
        return asked
    return "cross_entropy" if outputs > 1 else "mse"


def drawn(asked: argparse.Namespace) -> list[Cell]:
    """Networks nobody chose: one to six hidden layers, each of a width of its own; the same for a seed."""
    rng = np.random.default_rng(asked.seed)

    def size(most: float) -> int:
        """Every order of magnitude is as likely."""
        return round(min(most, asked.most or most) ** rng.random())

    optimizers, hidden, several, single = OPTIMIZERS, HIDDEN, SEVERAL, SINGLE
    if asked.varied:
        optimizers, hidden, several = workloads.OPTIMIZERS, workloads.HIDDEN, workloads.LOSSES
        single = tuple(loss for loss in several if loss != "cross_entropy")
    cells: list[Cell] = []
    for _ in range(MOST_DRAWS * asked.drawn):
        if len(cells) == asked.drawn:
            break
        widths = (*[size(WIDEST) for _ in range(rng.integers(2, 8))], size(1000.0))
        losses = several if widths[-1] > 1 else single
        choices = (str(rng.choice(names)) for names in (optimizers, hidden, losses))
        cell = Cell(widths, size(1000.0), *choices, asked.predict)
        if not cell.left_out() and cell.work <= MOST_DRAWN_WORK and cell not in cells:
            cells.append(cell)
    return cells


def numbers(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",")) if text else ()


def prepare(cell: Cell, worker: runner.Worker) -> tuple[dict[str, Any], float]:
    """Make a worker ready: return what there is to tell of it, and the seconds of a first step or call."""
    workload = cell.workload(worker.name)
    found = {"system": worker.name, "threads": worker.threads, "steps": workload.steps, "microseconds": []}
    if cell.predicts:
        worker.ask("prepare_prediction", workload, cell.batch)
        return {**found, "steps": 1}, worker.ask("predict")
    compiled, losses, seconds = worker.ask("prepare_unchecked", workload)
    told = {"compile_seconds": round(compiled, 3), "first_loss": losses[0]}
    return {**found, **told}, seconds / workload.steps


def turn(cell: Cell, worker: runner.Worker, steps: int) -> float:
    """Microseconds of a step or call."""
    seconds = worker.ask("predict") if cell.predicts else worker.ask("fit", TURN)[0]
    return seconds / steps * 1e6


def measure(cell: Cell, workers: list[runner.Worker], turns: int) -> dict[str, Any]:
    """Time a cell: for each system and number of threads the microseconds of a step or call in each turn."""
    systems: dict[int, dict[str, Any]] = {}
    first: dict[int, float] = {}
    failed = {}
    fewest = min(worker.threads for worker in workers)
    for i, worker in enumerate(workers):
        if cell.work < WORTH_THREADS and worker.threads > fewest:
            continue
        try:
            systems[i], first[i] = prepare(cell, worker)
        except runner.WorkerError as error:
            failed[f"{worker.name}/{worker.threads}"] = str(error)
    best = min((first[i] for i in systems if workers[i].name != report.SUBJECT), default=0.0)
    for _ in range(turns):
        for i, system in systems.items():
            if workers[i].name != report.SUBJECT and first[i] > BEHIND * best:
                continue
            time.sleep(runner.PAUSE / 2)
            try:
                system["microseconds"].append(turn(cell, workers[i], system["steps"]))
            except runner.WorkerError as error:
                failed[f"{workers[i].name}/{workers[i].threads}"] = str(error)
    for worker in workers:
        worker.ask("forget")
    found = {"cell": vars(cell), "systems": list(systems.values())}
    return {**found, "failed": failed} if failed else found


def add_turns(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Put the turns of a cell that was measured before in front of those of now."""
    for system in now["systems"] if before else ():
        for old in before["systems"] if before else ():
            if (old["system"], old["threads"]) == (system["system"], system["threads"]):
                system["microseconds"] = old["microseconds"] + system["microseconds"]
    return now


def best_times(measured: dict[str, Any]) -> dict[str, tuple[float, int]]:
    """For each system the median microseconds with the number of threads that served it best, and which."""
    best: dict[str, tuple[float, int]] = {}
    for system in measured["systems"]:
        if system["microseconds"]:
            found = statistics.median(system["microseconds"]), system["threads"]
            best[system["system"]] = min(found, best.get(system["system"], found))
    return best


def ratio(measured: dict[str, Any]) -> tuple[float, str] | None:
    """How many times longer the best peer takes, and who that is."""
    best = best_times(measured)
    mine = best.pop(report.SUBJECT, None)
    if mine is None or not best:
        return None
    name = min(best, key=lambda peer: best[peer])
    return best[name][0] / mine[0], name


def key_of(measured: dict[str, Any]) -> str:
    return Cell(**measured["cell"]).key


def line(measured: dict[str, Any]) -> str:
    """Tell what a cell came to."""
    each = ", ".join(
        f"{peers.ENTRIES[name].label} {report.number(time)} /{threads}"
        for name, (time, threads) in best_times(measured).items()
    )
    found = ratio(measured)
    return f"{f'{found[0]:5.2f}' if found else '    -'}  {key_of(measured)}: {each}"


def off(measured: dict[str, Any]) -> list[str]:
    """Who has another loss in the first epoch than the others."""
    losses = [system["first_loss"] for system in measured["systems"] if "first_loss" in system]
    middle = statistics.median(losses) if losses else 0.0
    return [
        f"{key_of(measured)}: {peers.ENTRIES[system['system']].label} has loss "
        f"{system['first_loss']:.4g} in the first epoch, the median is {middle:.4g}"
        for system in measured["systems"]
        if losses and not abs(system["first_loss"] - middle) <= ALIKE * abs(middle) and system["steps"] >= 64
    ]


def save(path: str, document: dict[str, Any]) -> None:
    """Write the whole file or nothing of it."""
    with open(f"{path}.new", "w") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    os.replace(f"{path}.new", path)


def wanted(cells: list[Cell], done: dict[str, Any], below: float | None) -> list[Cell]:
    """Return the cells that are not measured yet; without such, those whose ratio is below the limit."""
    possible = [cell for cell in cells if not cell.left_out()]
    new = [cell for cell in possible if cell.key not in done]
    if new or below is None:
        return new
    found = {key: ratio(measured) for key, measured in done.items()}
    return [cell for cell in possible if (at := found[cell.key]) and at[0] < below]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--peers", help=f"comma between; default {','.join(DEFAULT)}, and onnx; dnn is always there")
    add("--threads", default="1,2", help="numbers of threads to try; the better one counts (1,2)")
    add("--widths", help=f"default {','.join(map(str, COARSE_WIDTHS))}")
    add("--batches", help=f"default {','.join(map(str, COARSE_BATCHES))}")
    add("--tables", help=f"depth x outputs; default {','.join(f'{d}x{o}' for d, o in TABLES)}")
    add("--fine", action="store_true", help="more widths and batches")
    add("--optimizer", choices=workloads.OPTIMIZERS, default="adam", help="adam")
    add("--hidden", choices=workloads.HIDDEN, default="relu", help="activation of hidden layers (relu)")
    add("--loss", choices=workloads.LOSSES, help="cross_entropy; with one output mse")
    add("--predict", action="store_true", help="time calls of predict instead of steps")
    add("--drawn", type=int, metavar="N", help="no grid, but N networks that are drawn")
    add("--varied", action="store_true", help="draw among more activations, losses and optimizers")
    add("--most", type=int, metavar="N", help="no layer of a drawn network is wider, nor a batch larger")
    add("--seed", type=int, default=0, help="which networks are drawn (0)")
    add("--turns", type=int, default=3, help="timed turns for each cell and run (3)")
    add(
        "--seconds",
        type=float,
        help="stop after the cell in which so many seconds are over; run again to go on",
    )
    add(
        "--below",
        type=float,
        metavar="R",
        help="when all is measured, add turns to the cells whose ratio is below R",
    )
    add("--json", metavar="FILE", default="build/sweep.json", help="where the run is kept (build/sweep.json)")
    add("--plot", metavar="FILE", help="write the picture")
    add("--no-measuring", action="store_true", help="only show what the file has")
    add("--quick", action="store_true", help="a smoke run: eight cells, one turn, no figures to quote")
    asked = parser.parse_args()
    if asked.most is not None and asked.most < 2:
        parser.error("--most must be 2 or more")
    return asked


def run(asked: argparse.Namespace, cells: list[Cell], document: dict[str, Any]) -> None:
    """Measure what is wanted, and write the file after each cell."""
    done = document["cells"]
    todo = wanted(cells, done, asked.below)
    if not todo:
        return
    begin = time.monotonic()
    from .__main__ import chosen_peers

    names = chosen_peers(asked.peers or ",".join(DEFAULT_PREDICT if asked.predict else DEFAULT))
    limit = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = sorted({min(max(t, 1), limit) for t in numbers(asked.threads)})
    names = [name for name in names if asked.predict or peers.ENTRIES[name].trains]
    workers = runner.start_workers(names, threads, print)
    try:
        document["machine"] = report.machine()
        document["versions"] = {name: version for w in workers for name, version in w.versions.items()}
        for cell in todo:
            measured = measure(cell, workers, 1 if asked.quick else asked.turns)
            done[cell.key] = add_turns(done.get(cell.key), measured)
            print(line(done[cell.key]), flush=True)
            save(asked.json, document)
            if asked.seconds is not None and time.monotonic() - begin > asked.seconds:
                break
    finally:
        for worker in workers:
            worker.stop()


def main() -> None:
    asked = arguments()
    cells = drawn(asked) if asked.drawn else grid(asked)
    document: dict[str, Any] = {"cells": {}}
    if os.path.exists(asked.json) and not asked.quick:
        with open(asked.json) as file:
            document = json.load(file)
    os.makedirs(os.path.dirname(asked.json) or ".", exist_ok=True)
    if not asked.no_measuring:
        run(asked, cells, document)
    done = {cell.key: document["cells"][cell.key] for cell in cells if cell.key in document["cells"]}
    ratios = {key: found for key, measured in done.items() if (found := ratio(measured))}
    left = sum(not cell.left_out() and cell.key not in done for cell in cells)
    out = sum(cell.left_out() is not None for cell in cells)
    print(
        f"\n{len(ratios)} cells measured, {left} to go; {out} left out: a step of more than {MOST_WORK:.0e} "
        f"multiply-adds, or more than {MOST_PARAMETERS:.0e} parameters"
    )
    slow = sorted((found[0], key) for key, found in ratios.items() if found[0] < 1)
    if ratios:
        print(f"median {statistics.median(found[0] for found in ratios.values()):.2f}")
    print(f"{len(slow)} below 1" + (":" if slow else ""))
    for _, key in slow:
        print(line(done[key]))
    for measured in done.values():
        for text in off(measured):
            print(f"warning: {text}")
        for who, why in measured.get("failed", {}).items():
            print(f"warning: {key_of(measured)}: {who} failed: {why}")
    if asked.plot and ratios:
        machine = document.get("machine", {})
        if asked.drawn:
            points = [(cell.work, *ratios[cell.key]) for cell in cells if cell.key in ratios]
            failed = heatmap.scatter(asked.plot, points, machine)
        else:
            shown = [(cell.table, cell.widths[0], cell.batch, ratios.get(cell.key)) for cell in cells]
            failed = heatmap.draw(asked.plot, shown, machine)
        print(failed or f"wrote {asked.plot}")


if __name__ == "__main__":
    main()
