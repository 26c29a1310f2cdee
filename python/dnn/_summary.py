"""Summary: a model as a table of layers. Layers come in, text goes out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dnn import _activations, _layers
from dnn._layers import Activation, Dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dnn._layers import Layer, Placed

_TITLES = ("layer", "output shape", "activation", "parameters", "trainable")


class Summary:
    """A model as a table; `print` it, or let a notebook show it."""

    def __init__(self, layers: Sequence[Layer], n_inputs: int | None) -> None:
        self.rows: list[tuple[str, str, str, str, str]] = []
        self.n_parameters: int | None = 0
        self.n_trainable: int | None = 0
        if n_inputs is not None:
            self.rows.append(("Input", f"(rows, {n_inputs})", "", "0", ""))
        for place in _layers.placed(layers, n_inputs):
            self._add(place)

    def _add(self, place: Placed) -> None:
        layer, width = place.layer, place.layer.width(place.n_in)
        arrays = [array for array in layer.arrays(place.n_in or 1) if not array[0].startswith("running_")]
        is_known = place.n_in is not None or not arrays
        count = sum(math.prod(shape) for _, shape in arrays)
        trained, learns = "", 0
        if arrays:
            trained, learns = ("yes", count) if getattr(layer, "trainable", True) else ("no", 0)
        if isinstance(layer, Activation) and not getattr(
            _activations.resolve(layer.activation), "trainable", True
        ):
            trained, learns = "no", 0
        if trained == "yes" and isinstance(layer, Dense) and layer.use_bias and not layer.trainable_bias:
            trained, learns = "weights", count - int(layer.units)
        self.rows.append(
            (
                f"{type(layer).__name__} {place.name}",
                f"(rows, {'?' if width is None else width})",
                layer.output if isinstance(layer, (Dense, Activation)) else "",
                f"{count:,}" if is_known else "unknown",
                trained,
            )
        )
        if not is_known or self.n_parameters is None or self.n_trainable is None:
            self.n_parameters = self.n_trainable = None
            return
        self.n_parameters += count
        self.n_trainable += learns

    def _totals(self) -> str:
        if self.n_parameters is None or self.n_trainable is None:
            return "parameters are known after the first fit, or with Input(n) in front"
        return f"{self.n_parameters:,} parameters, {self.n_trainable:,} of them trainable"

    def __str__(self) -> str:
        table = [_TITLES, *self.rows]
        widths = [max(len(row[at]) for row in table) for at in range(len(_TITLES))]
        lines = []
        for row in table:
            cells = [
                cell.rjust(w) if at == 3 else cell.ljust(w)
                for at, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        rule = "-" * max(len(line) for line in lines)
        return "\n".join([lines[0], rule, *lines[1:], rule, self._totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cells = [[f"<th>{title}</th>" for title in _TITLES]] + [
            [f"<td>{cell}</td>" for cell in row] for row in self.rows
        ]
        body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
        return f"<table>{body}<caption>{self._totals()}</caption></table>"
