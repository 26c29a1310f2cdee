"""Turns measurements into what people read: tables on the terminal, a JSON file, a picture.

In: the results of `runner`. Out: text and files. It never measures.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from typing import Any

from . import peers
from .runner import Result, best_of_threads
from .workloads import Workload

SUBJECT = "dnn"


def machine() -> dict[str, Any]:
    """CPU, cores, memory, system, Python."""
    model, flags = platform.processor() or "unknown CPU", ""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                key, _, value = line.partition(":")
                model = value.strip() if key.strip() == "model name" else model
                flags = value if key.strip() == "flags" else flags
    except OSError:
        pass
    known = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "cpu": model,
        "instruction sets": [flag for flag in known if flag in flags.split()],
        "cpus": os.cpu_count(),
        "cpus of this process": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def machine_text(about: dict[str, Any], versions: dict[str, str]) -> str:
    return (
        f"{about['cpu']}, {about['cpus of this process']} CPUs, {' '.join(about['instruction sets'])}\n"
        f"{about['system']}, Python {about['python']}\n"
        + ", ".join(f"{name} {v}" for name, v in sorted(versions.items()))
    )


def number(value: float) -> str:
    """Three digits, thousands apart."""
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows: list[list[str]]) -> str:
    """Columns in line: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def one_line(workload: Workload, results: list[Result]) -> str:
    """Tell the microseconds per step / threads of each system."""
    best = best_of_threads(results)
    return ", ".join(
        f"{peers.ENTRIES[name].label} {number(r.median / workload.steps * 1e6)} /{r.threads}"
        for name, r in best.items()
    )


def comparison(named: list[tuple[str, float, list[Result]]], names: list[str]) -> str:
    """Make a row per measurement: microseconds / threads of each system, and how many times faster dnn is.

    `named` has (row title, what the seconds are divided by, results).
    """
    subject = SUBJECT in names
    head = ["", *(peers.ENTRIES[name].label for name in names)]
    if subject:
        head += [f"x {peers.ENTRIES[name].label}" for name in names if name != SUBJECT] + ["x best"]
    rows = [head]
    for title, divisor, results in named:
        best = best_of_threads(results)
        row = [title]
        for name in names:
            r = best.get(name)
            row.append(f"{number(r.median / divisor * 1e6)} /{r.threads}" if r else "-")
        if subject:
            row += [number(x) if x else "-" for x in ratios(best, names)]
        rows.append(row)
    return table(rows)


def ratios(best: dict[str, Result], names: list[str]) -> list[float | None]:
    """How many times faster dnn is than each peer, and than the best of those that are as exact."""
    others = [name for name in names if name != SUBJECT]
    if SUBJECT not in best:
        return [None] * (len(others) + 1)
    mine = best[SUBJECT].median
    each = [best[name].median / mine if name in best else None for name in others]
    rivals = (x for name, x in zip(others, each, strict=True) if x and not peers.ENTRIES[name].apart)
    return [*each, min(rivals, default=None)]


def training_rows(measured: list[tuple[Workload, list[Result]]]) -> list[tuple[str, float, list[Result]]]:
    return [(workload.name, workload.steps, results) for workload, results in measured]


def to_json(
    path: str,
    about: dict[str, Any],
    versions: dict[str, str],
    measured: list[tuple[Workload, list[Result]]],
    predicted: list[tuple[Workload, int, list[Result]]],
    first: dict[str, float],
    warnings: list[str],
) -> None:
    """Everything measured, every repeat of it."""

    def results_of(results: list[Result], divisor: float) -> dict[str, Any]:
        best = best_of_threads(results)
        names = [SUBJECT, *(name for name in best if name != SUBJECT)]
        each = ratios(best, names)
        return {
            "microseconds": {name: r.median / divisor * 1e6 for name, r in best.items()},
            "threads": {name: r.threads for name, r in best.items()},
            "ratio": {name: x for name, x in zip([*names[1:], "best"], each, strict=True) if x},
            "runs": [
                {
                    "system": r.peer,
                    "threads": r.threads,
                    "seconds": r.seconds,
                    "spread": r.spread,
                    "losses_without_shuffles": r.check,
                    "compile_seconds": r.compile_seconds,
                    "losses": [r.losses[0], r.losses[-1]] if r.losses else [],
                }
                for r in results
            ],
        }

    document = {
        "machine": about,
        "versions": versions,
        "warnings": warnings,
        "training": {
            w.name: {"what": w.describe(), "steps": w.steps, **results_of(r, w.steps)} for w, r in measured
        },
        "prediction": {f"{w.name} {rows}": results_of(r, 1) for w, rows, r in predicted},
        "first_model_seconds": first,
    }
    with open(path, "w") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def plot(
    path: str, about: dict[str, Any], measured: list[tuple[Workload, list[Result]]], names: list[str]
) -> str | None:
    """Draw how much faster dnn is than each peer; without dnn, the time per step. Return why not, or None."""
    try:
        import matplotlib
    except ImportError:
        return "no plot: matplotlib is not installed"
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter

    with_subject = any(r.peer == SUBJECT for _, results in measured for r in results)
    shown = [name for name in names if name != SUBJECT]
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.62 * len(measured)), layout="constrained")
    height = 0.8 / max(1, len(shown))
    for j, name in enumerate(shown):
        ys, xs = [], []
        for i, (workload, results) in enumerate(measured):
            best = best_of_threads(results)
            if name in best and (SUBJECT in best or not with_subject):
                value = best[name].median
                xs.append(value / best[SUBJECT].median if with_subject else value / workload.steps * 1e6)
                ys.append(i - 0.4 + (j + 0.5) * height)
        bars = axes.barh(ys, xs, height * 0.9, label=peers.ENTRIES[name].label, color=f"C{j}")
        axes.bar_label(bars, labels=[number(x) for x in xs], padding=2, fontsize=7)
    axes.set_xscale("log")
    axes.set_yticks(range(len(measured)), [workload.name for workload, _ in measured])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.margins(x=0.12)
    if with_subject:
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xlabel("training time of the peer / training time of dnn (right of 1: dnn is faster)")
    else:
        axes.set_xlabel("microseconds per step")
    axes.set_title(
        f"{about['cpu']}, {about['cpus of this process']} CPUs; best number of threads for each", fontsize=9
    )
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=140)
    pyplot.close(figure)
    return None
