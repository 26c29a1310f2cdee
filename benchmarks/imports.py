"""`python -m benchmarks.imports`: what `import dnn` costs beside `import numpy`, in fresh processes.

Pairs of processes, one that imports NumPy and one that imports dnn, which imports NumPy. Out: the median of
each, and of the difference within a pair; and which modules take most of it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

NUMPY, OURS = "import numpy", "import dnn"
# As users have it: what was compiled once is kept.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(code: str) -> float:
    """Return how long a new interpreter takes for this, from its start to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)
    return time.perf_counter() - start


def inside(name: str) -> float:
    """Seconds of the import alone, NumPy being there, as the new interpreter itself measures it."""
    code = (
        f"import time, numpy; start = time.perf_counter(); import {name}; print(time.perf_counter() - start)"
    )
    return float(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=ENVIRONMENT
        ).stdout
    )


def slowest(count: int) -> list[tuple[int, str]]:
    """Return the modules that took most by themselves, in microseconds, NumPy's left out."""
    code = "import numpy; import dnn"
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    rows = [line.removeprefix("import time:").split("|") for line in told.stderr.splitlines()[1:]]
    names = [row[2].strip() for row in rows]
    ours = rows[names.index("numpy") + 1 :]
    return sorted(((int(row[0]), row[2].strip()) for row in ours), reverse=True)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.imports",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--pairs", type=int, default=20, help="pairs of processes (20)")
    parser.add_argument("--modules", type=int, default=8, help="how many of the slowest modules to name (8)")
    asked = parser.parse_args()
    for code in (NUMPY, OURS):  # files into the cache of the system, and compiled
        seconds(code)
    pairs, alone = [], []
    for _ in range(asked.pairs):
        pairs.append((seconds(NUMPY), seconds(OURS)))
        alone.append(inside("dnn"))
    numpy, ours = (statistics.median(part) * 1e3 for part in zip(*pairs, strict=True))
    more = [1e3 * (b - a) for a, b in pairs]
    print(f"a process that imports numpy {numpy:.1f} ms, dnn {ours:.1f} ms; medians of {asked.pairs}")
    print(f"difference within a pair {statistics.median(more):.1f} ms, smallest {min(more):.1f}")
    print(f"the import alone, NumPy being there: {statistics.median(alone) * 1e3:.1f} ms")
    print("most of it:", ", ".join(f"{name} {time / 1e3:.1f}" for time, name in slowest(asked.modules)))


if __name__ == "__main__":
    main()
