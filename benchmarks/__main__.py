"""`python -m benchmarks`: time dnn beside NumPy, scikit-learn, PyTorch, JAX and ONNX Runtime, in one run."""

from __future__ import annotations

import argparse
import os

from . import peers, report, runner
from .workloads import PREDICTION_ROWS, PREDICTION_WORKLOADS, WORKLOADS, Workload


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--workloads", help="names, comma between; default all: " + ",".join(WORKLOADS))
    add(
        "--peers",
        help=f"of {','.join(peers.ENTRIES)}, or all; default {','.join(peers.DEFAULT)}; dnn is always there",
    )
    add("--threads", help="numbers of threads to try; the better one counts; default 1,2")
    add("--repeats", type=int, default=5, help="rounds of timed fits after the warm-up (5)")
    add(
        "--spread",
        type=float,
        default=1.0,
        help="go on while half the quartile distance of any system is above this part",
    )
    add("--max-repeats", type=int, default=25, help="but never beyond so many rounds (25)")
    add(
        "--predict",
        action="store_true",
        help=f"also time prediction of {', '.join(map(str, PREDICTION_ROWS))} rows",
    )
    add("--first-model", action="store_true", help="also time a whole script, imports included, on digits")
    add("--no-training", action="store_true", help="leave the training times out")
    add("--json", metavar="FILE", help="write everything measured")
    add("--plot", metavar="FILE", help="write a picture of the ratios")
    add("--quick", action="store_true", help="a smoke run under 20 seconds: few steps, no figures to quote")
    return parser.parse_args()


def chosen_peers(asked: str | None) -> list[str]:
    """Choose who takes part, dnn first; those that are not installed are named and left out."""
    # All that compute the same: those apart, of another precision, are asked for by name.
    exact = [name for name, entry in peers.ENTRIES.items() if not entry.apart]
    names = exact if asked == "all" else asked.split(",") if asked else list(peers.DEFAULT)
    unknown = [name for name in names if name not in peers.ENTRIES]
    if unknown:
        raise SystemExit(f"unknown peer {unknown[0]!r}; there are {', '.join(peers.ENTRIES)}")
    present = []
    for name in dict.fromkeys(["dnn", *names]):
        if why := peers.ENTRIES[name].missing():
            print(f"without {peers.ENTRIES[name].label}: {why}")
        else:
            present.append(name)
    return present


def chosen_workloads(asked: str | None, quick: bool) -> list[Workload]:
    names = asked.split(",") if asked else ["xor-full", "digits"] if quick else list(WORKLOADS)
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise SystemExit(f"unknown workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    return [WORKLOADS[name].shortened(100) if quick else WORKLOADS[name] for name in names]


def main() -> None:
    asked = arguments()
    names = chosen_peers(asked.peers)
    workloads = chosen_workloads(asked.workloads, asked.quick)
    limit = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = (
        [int(t) for t in asked.threads.split(",")] if asked.threads else [limit] if asked.quick else [1, 2]
    )
    threads = sorted({min(max(t, 1), limit) for t in wanted})
    repeats = 2 if asked.quick else asked.repeats

    workers = runner.start_workers(names, threads, print)
    try:
        versions = {name: version for worker in workers for name, version in worker.versions.items()}
        about = report.machine()
        print(f"\n{report.machine_text(about, versions)}\n")
        measured, warnings = [], []
        for workload in [] if asked.no_training else workloads:
            print(f"{workload.name}: {workload.describe()}", flush=True)
            results = runner.training(
                workload, workers, repeats, max(repeats, asked.max_repeats), asked.spread, print
            )
            if results:
                measured.append((workload, results))
                print(f"    {report.one_line(workload, results)}", flush=True)
                warnings += runner.disagreements(workload, results)
        predicted = []
        named = [workload.name for workload in workloads] if asked.workloads else PREDICTION_WORKLOADS
        for name in named if asked.predict else ():
            workload = WORKLOADS[name]
            for rows in PREDICTION_ROWS:
                print(f"prediction of {rows} rows: {name}", flush=True)
                predicted.append((workload, rows, runner.prediction(workload, rows, workers, repeats, print)))
    finally:
        for worker in workers:
            worker.stop()
    present = [name for name in names if any(worker.name == name for worker in workers)]
    training = [name for name in present if peers.ENTRIES[name].trains]
    first = runner.first_model(training, min(repeats, 3)) if asked.first_model else {}

    if measured:
        print("\nTraining, microseconds per step / threads, and how many times faster dnn is:\n")
        print(report.comparison(report.training_rows(measured), training))
        compiled = {
            w.name: [r.compile_seconds for r in results if r.compile_seconds] for w, results in measured
        }
        if any(compiled.values()):
            text = ", ".join(f"{name} {min(seconds):.1f}" for name, seconds in compiled.items() if seconds)
            print(f"\nJAX's seconds to compile, not part of its times: {text}")
    if predicted:
        print("\nPrediction, microseconds per call / threads:\n")
        print(
            report.comparison(
                [(f"{w.name} {rows}", 1, results) for w, rows, results in predicted if results], present
            )
        )
    if first:
        print("\nSeconds from `python script.py` to a trained digits model, imports included:")
        print(
            "  " + ", ".join(f"{peers.ENTRIES[name].label} {seconds:.2f}" for name, seconds in first.items())
        )
    for warning in warnings:
        print(f"warning: {warning}")
    if measured and not warnings:
        print("\nAll systems trained the same: equal losses without shuffles, like losses in the last epoch.")
    if asked.json:
        report.to_json(asked.json, about, versions, measured, predicted, first, warnings)
        print(f"wrote {asked.json}")
    if asked.plot and measured:
        print(report.plot(asked.plot, about, measured, training) or f"wrote {asked.plot}")


if __name__ == "__main__":
    main()
