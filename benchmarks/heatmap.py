"""Draws the ratios of a sweep: a table of colours for each depth and number of outputs, or a point each.

In: (depth and outputs, width, batch, ratio and whose) for each cell, or (multiply-adds, ratio, whose). Out: a
picture. It never measures.
"""

from __future__ import annotations

import math
from typing import Any

from . import peers

LIGHT, DARK = "#f5f5f5", "#202020"
SHORT = {"numpy": "N", "torch": "T", "jax": "J", "sklearn": "S", "torch-bf16": "B", "onnx": "O"}
TITLE = "Time of the best peer / of dnn (above 1: dnn is faster)"
NO_PICTURE = "no picture: matplotlib is not installed"
WIDEST = 4.0  # from this ratio on, and its inverse, colours do not change


def draw(
    path: str,
    cells: list[tuple[tuple[int, int], int, int, tuple[float, str] | None]],
    about: dict[str, Any],
) -> str | None:
    """Write the picture; return why not, or None."""
    if (pyplot := plotter()) is None:
        return NO_PICTURE
    tables = list(dict.fromkeys(table for table, *_ in cells))
    widths, batches = sorted({cell[1] for cell in cells}), sorted({cell[2] for cell in cells})
    across = min(len(tables), 2)
    down = -(-len(tables) // across)
    size = (1.3 + across * (0.9 + 0.55 * len(batches)), 1.2 + down * (0.8 + 0.32 * len(widths)))
    figure, axes = pyplot.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    colours = pyplot.get_cmap("RdYlGn")
    for axis in axes.flat[len(tables) :]:
        axis.set_axis_off()
    for table, axis in zip(tables, axes.flat, strict=False):
        shown = {(width, batch): found for of, width, batch, found in cells if of == table}
        for (width, batch), found in shown.items():
            row, column = widths.index(width), batches.index(batch)
            place = (math.log(found[0]) / math.log(WIDEST) + 1) / 2 if found else 0.5
            colour = colours(min(max(place, 0.0), 1.0)) if found else LIGHT
            axis.add_patch(
                pyplot.Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white")
            )
            text = (
                f"{found[0]:.{0 if found[0] >= 10 else 1 if found[0] >= 3 else 2}f} {SHORT[found[1]]}"
                if found
                else "·"
            )
            heavy = "bold" if found and found[0] < 1 else "normal"
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=DARK, fontweight=heavy)
        axis.set_xlim(-0.5, len(batches) - 0.5)
        axis.set_ylim(len(widths) - 0.5, -0.5)
        axis.set_xticks(range(len(batches)), [str(batch) for batch in batches], fontsize=7)
        axis.set_yticks(range(len(widths)), [str(width) for width in widths], fontsize=7)
        axis.set_xlabel("batch", fontsize=8)
        axis.set_ylabel("width", fontsize=8)
        layers = "layer" if table[0] == 1 else "layers"
        outputs = "output" if table[1] == 1 else "outputs"
        axis.set_title(f"{table[0]} hidden {layers}, {table[1]} {outputs}", fontsize=9)
    letters = "N NumPy, T PyTorch, J JAX,\nS scikit-learn, B PyTorch bf16, O ONNX Runtime"
    figure.suptitle(f"{TITLE}\nBest peer: {letters}\n{machine(about)}", fontsize=9)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
    return None


def scatter(path: str, points: list[tuple[float, float, str]], about: dict[str, Any]) -> str | None:
    """Write the picture of networks that have no table; return why not, or None."""
    if (pyplot := plotter()) is None:
        return NO_PICTURE
    from matplotlib import ticker

    figure, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name in sorted({point[2] for point in points}):
        work, ratios = zip(*[point[:2] for point in points if point[2] == name], strict=True)
        axis.scatter(work, ratios, s=14, label=peers.ENTRIES[name].label)
    axis.axhline(1.0, color=DARK, linewidth=1)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(ticker.LogLocator(10, (1, 2, 5)))
    axis.yaxis.set_major_formatter(ticker.ScalarFormatter())
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())
    axis.set_xlabel("multiply-adds", fontsize=8)
    axis.set_ylabel("best peer / dnn", fontsize=8)
    axis.legend(title="best peer", fontsize=8, title_fontsize=8)
    figure.suptitle(f"{TITLE}\n{machine(about)}", fontsize=9)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
    return None


def plotter() -> Any:
    """Matplotlib's pyplot without a window; None where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def machine(about: dict[str, Any]) -> str:
    return f"{about.get('cpu', '')}, {about.get('cpus of this process', '?')} CPUs"
