"""A whole script, `python -m benchmarks.first_model dnn`: import a system, make the digits data, train."""

import sys

from . import peers
from .workloads import WORKLOADS


def main(name: str) -> None:
    workload = WORKLOADS["digits"]
    peer = peers.ENTRIES[name].load()(workload, *workload.data(), 1)
    peer.reset()
    peer.fit()


if __name__ == "__main__":
    main(sys.argv[1])
