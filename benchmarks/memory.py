"""`python -m benchmarks.memory`: how much memory a fit takes beside its data.

Each workload runs in a process of its own. Told are the growth of the peak, the model included, and the
sum of what a fit has to hold: parameters, state of the optimizer, activations of a batch (of 512 rows at
most, which go through together). On Linux only, where the system tells the peak and forgets it when asked to.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .report import table
from .workloads import WORKLOADS, Workload

ROWS_TOGETHER = 512  # as `BLOCK_ROWS` in rust/core/src/batches.rs
MIB = 2**20


def needed(workload: Workload) -> int:
    """Bytes of parameters, optimizer state and activations, without any padding."""
    parameters = sum(w.size for w in workload.weights())
    copies = 3 if workload.optimizer == "adam" else 1
    rows = min(workload.batch_size, workload.rows, ROWS_TOGETHER)
    return 4 * (copies * parameters + rows * sum(workload.widths))


def grown(name: str) -> int:
    """Bytes by which the peak grows, in this process, which must be new."""
    from .peers.dnn_peer import Dnn

    workload = WORKLOADS[name].shortened(20)
    # A first network brings in what is loaded once: code, the thread pool, the allocator's reserve.
    small = WORKLOADS["xor-full"].shortened(2)
    first = Dnn(small, *small.data(), 1)
    first.reset()
    first.fit()
    x, y = workload.data()
    peer = Dnn(workload, x, y, 1)
    weights = sum(w.nbytes for w in peer.initial)
    # What made data and weights had a peak of its own: the system is told to begin with what is held now.
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    peer.reset()
    peer.fit()
    # The model itself was made by `Dnn`.
    return status("VmHWM") - before + weights


def status(name: str) -> int:
    """Bytes that this process holds, or has held at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def measured(name: str) -> tuple[int, int]:
    """Bytes that a fit of this workload takes, in a process of its own, and those that it needs."""
    command = [sys.executable, "-m", "benchmarks.memory", name]
    taken = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return taken, needed(WORKLOADS[name].shortened(20))


def main() -> None:
    if len(sys.argv) > 1:
        print(grown(sys.argv[1]))
        return
    rows = [["", "data MiB", "needed MiB", "taken MiB", "taken / needed"]]
    for name in ("tabular", "mnist-small", "mnist-mlp", "wide"):
        taken, need = measured(name)
        workload = WORKLOADS[name].shortened(20)
        data = 4 * workload.rows * workload.widths[0]
        figures = [f"{data / MIB:.1f}", f"{need / MIB:.1f}", f"{taken / MIB:.1f}", f"{taken / need:.2f}"]
        rows.append([name, *figures])
    print(table(rows))


if __name__ == "__main__":
    main()
