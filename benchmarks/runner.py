"""Times the systems, each in its own process, only one of them working at any moment.

In: workloads, peers, numbers of threads. Out: seconds of every fit, losses, compile times, per (peer,
threads). A process is started for each peer and number of threads, because thread pools take their size from
the environment they are born into. Repeats go round: A B C, A B C, ..., so that a machine that slows down
slows down for all.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from . import peers
from .workloads import Workload

PAUSE = 0.12  # seconds before each timed run: OpenBLAS threads spin for about 30 ms after their last work
ENOUGH = 0.15  # seconds: shorter fits are repeated within one turn, and their median is the turn's time
# A number of threads so many times slower than the peer's best one in the warm-up is not timed further.
HOPELESS = 2.5


def work(pipe: Connection, name: str, threads: int) -> None:
    """Live as a worker: answer (ok, answer) to each command, until told to stop."""
    # For pools that ask how many CPUs there are rather than the environment; only Linux can be told.
    if threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        peer_class = peers.ENTRIES[name].load()
        pipe.send((True, peer_class.versions()))
    except Exception as error:
        pipe.send((False, describe(error)))
        return
    peer: Any = None
    predict: Any = None
    while True:
        try:
            command, *arguments = pipe.recv()
        except EOFError:  # whoever asked is gone
            return
        try:
            answer: Any = None
            if command == "stop":
                return
            elif command == "prepare":
                peer = None
                gc.collect()
                (workload,) = arguments
                peer, losses, _ = trained(peer_class, workload.checked(), threads)
                peer, _, warm_up = trained(peer_class, workload, threads)
                answer = peer.compile_seconds, losses, warm_up
            elif command == "prepare_unchecked":
                peer = None
                gc.collect()
                peer, losses, warm_up = trained(peer_class, *arguments, threads)
                answer = peer.compile_seconds, losses, warm_up
            elif command == "forget":
                peer = predict = None
                gc.collect()
            elif command == "fit":
                answer = timed_fits(peer, *arguments)
            elif command == "prepare_prediction":
                workload, rows = arguments
                small = replace(workload, rows=workload.batch_size, epochs=1)
                if peer_class.trains:
                    peer, _, _ = trained(peer_class, small, threads)
                else:
                    peer = peer_class(small, *small.data(), threads)
                predict = peer.predictor(workload.data_for_prediction(rows))
                predict()
            elif command == "predict":
                answer = timed_calls(predict)
            pipe.send((True, answer))
        except Exception as error:
            pipe.send((False, describe(error)))


def trained(
    peer_class: type[peers.Peer], workload: Workload, threads: int
) -> tuple[peers.Peer, list[float], float]:
    """Return a peer after one fit, the losses of that fit, and its seconds."""
    x, y = workload.data()
    peer = peer_class(workload, x, y, threads)
    peer.reset()
    start = time.perf_counter()
    losses = peer.fit()
    return peer, losses, time.perf_counter() - start


def describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip() or '(no message)'}".splitlines()[0]


def timed_fits(peer: peers.Peer, enough: float = ENOUGH) -> tuple[float, list[float]]:
    """Return the median seconds of as many fits as fill a turn, and the losses of the last."""
    seconds: list[float] = []
    gc.collect()
    while sum(seconds) < enough and len(seconds) < 25:
        peer.reset()
        start = time.perf_counter()
        losses = peer.fit()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), losses


def timed_calls(call: Callable[[], Any]) -> float:
    """Seconds of one call: the median of several loops of at least 10 ms."""
    calls = 1
    while (first := timed_loop(call, calls)) < 0.01:
        calls = max(2 * calls, int(calls * 0.012 / max(first, 1e-7)))
    return statistics.median(timed_loop(call, calls) / calls for _ in range(7))


def timed_loop(call: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start


@dataclass
class Worker:
    """A process that runs one peer with one number of threads, seen from outside."""

    name: str
    threads: int
    process: Any
    pipe: Connection
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def start(cls, name: str, threads: int) -> Worker:
        mine, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=work, args=(theirs, name, threads), daemon=True)
        with environment(peers.environment(name, threads)):
            process.start()
        theirs.close()
        return cls(name, threads, process, mine)

    def send(self, *command: Any) -> None:
        self.pipe.send(command)

    def receive(self) -> Any:
        try:
            ok, answer = self.pipe.recv()
        except EOFError:
            raise WorkerError(f"its process ended with exit code {self.process.exitcode}") from None
        if not ok:
            raise WorkerError(answer)
        return answer

    def ask(self, *command: Any) -> Any:
        self.send(*command)
        return self.receive()

    def stop(self) -> None:
        if self.process.is_alive():
            self.send("stop")
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()


class WorkerError(Exception):
    """What went wrong in a worker, in one line."""


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set these variables while a process is started."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass
class Result:
    """What one peer did on one workload with one number of threads."""

    peer: str
    threads: int
    compile_seconds: float = 0.0
    check: list[float] = field(default_factory=list)  # losses of a short training without shuffles
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a part of the median."""
        if len(self.seconds) < 3:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / 2 / self.median


Say = Callable[[str], None]


def start_workers(names: list[str], threads: list[int], say: Say) -> list[Worker]:
    """One worker per peer and number of threads; those that can't start are named and left out."""
    workers = [Worker.start(name, t) for name in names for t in threads]
    ready = []
    for worker in workers:
        try:
            worker.versions = worker.receive()
            ready.append(worker)
        except WorkerError as error:
            say(f"{peers.ENTRIES[worker.name].label} ({worker.threads} threads) can't start: {error}")
    return ready


def training(
    workload: Workload, workers: list[Worker], repeats: int, limit: int, spread: float, say: Say
) -> list[Result]:
    """Time `fit` for all workers: `repeats` rounds, and up to `limit` while some spread is above `spread`."""
    results: dict[int, Result] = {}
    warm_up: dict[int, float] = {}
    for i, worker in enumerate(workers):
        if not peers.ENTRIES[worker.name].trains:
            continue
        try:
            compile_seconds, check, warm_up[i] = worker.ask("prepare", workload)
            results[i] = Result(worker.name, worker.threads, compile_seconds, check)
        except WorkerError as error:
            say(f"{workload.name}: {peers.ENTRIES[worker.name].label} left out: {error}")
    for i in list(results):
        if warm_up[i] > HOPELESS * min(warm_up[j] for j in results if results[j].peer == results[i].peer):
            del results[i]
    for turn in range(limit):
        if turn >= repeats and all(r.spread <= spread for r in results.values()):
            break
        for i, result in list(results.items()):
            time.sleep(PAUSE)
            try:
                seconds, result.losses = workers[i].ask("fit")
                result.seconds.append(seconds)
            except WorkerError as error:
                say(f"{workload.name}: {peers.ENTRIES[result.peer].label} left out: {error}")
                del results[i]
    return list(results.values())


def prediction(workload: Workload, rows: int, workers: list[Worker], repeats: int, say: Say) -> list[Result]:
    """Time one `predict` of this many rows for all workers."""
    results: dict[int, Result] = {}
    for i, worker in enumerate(workers):
        try:
            worker.ask("prepare_prediction", workload, rows)
            results[i] = Result(worker.name, worker.threads)
        except WorkerError as error:
            say(f"{workload.name}, {rows} rows: {peers.ENTRIES[worker.name].label} left out: {error}")
    for _ in range(repeats):
        for i, result in results.items():
            time.sleep(PAUSE)
            result.seconds.append(workers[i].ask("predict"))
    return list(results.values())


def best_of_threads(results: list[Result]) -> dict[str, Result]:
    """For each peer the number of threads that served it best."""
    best: dict[str, Result] = {}
    for result in results:
        if result.peer not in best or result.median < best[result.peer].median:
            best[result.peer] = result
    return best


SAME_ORDER = 2e-3  # relative; float32 and different orders of summation, grown over two epochs
SHUFFLED = 0.3  # relative; different shuffles lead to different losses, most of all late in a training


def disagreements(workload: Workload, results: list[Result]) -> list[str]:
    """Who trained something else.

    Before it is timed, each system trains a few batches for two epochs without shuffling: there the losses
    must be the same. After the timed fit the losses of the last epoch must be alike. The median of all
    decides what is right. Losses a thousand times smaller than the first one all count as zero.
    """
    found = []
    start = statistics.median(r.check[0] for r in results)
    for what, tolerance, losses_of in (
        ("a training without shuffles", SAME_ORDER, lambda r: r.check),
        ("the last epoch", SHUFFLED if workload.shuffle else SAME_ORDER, lambda r: r.losses[-1:]),
    ):
        for i in range(len(losses_of(results[0]))):
            middle = statistics.median(losses_of(r)[i] for r in results)
            for r in results:
                loss = losses_of(r)[i]
                if not abs(loss - middle) <= tolerance * middle + 1e-3 * start:
                    found.append(
                        f"{workload.name}: {peers.ENTRIES[r.peer].label} ({r.threads} threads) has loss "
                        f"{loss:.5g} in {what}, the median is {middle:.5g}: it may train something else"
                    )
    for r in results:
        if len(r.losses) != workload.epochs:
            found.append(f"{workload.name}: {peers.ENTRIES[r.peer].label} trained {len(r.losses)} epochs")
    return found


def first_model(names: list[str], repeats: int) -> dict[str, float]:
    """Seconds from `python script.py` to a trained digits model, imports and compilation included."""
    import subprocess
    import sys

    # As users have it: what was compiled once is kept.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            time.sleep(PAUSE)
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "benchmarks.first_model", name], check=True, env=environment
            )
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(s) for name, s in seconds.items()}
