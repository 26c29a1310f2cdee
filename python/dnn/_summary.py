"""Summary: a model as a table of layers. Layers come in, text goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnn import _activations, _weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dnn._layers import Dense

_TITLES = ("layer", "output shape", "activation", "parameters", "trainable")


class Summary:
    """A model as a table; `print` it, or let a notebook show it."""

    def __init__(self, layers: Sequence[Dense], n_inputs: int | None) -> None:
        self.rows: list[tuple[str, str, str, str, str]] = []
        self.n_parameters: int | None = 0
        self.n_trainable: int | None = 0
        if n_inputs is not None:
            self.rows.append(("Input", f"(rows, {n_inputs})", "", "0", ""))
        width = n_inputs
        for position, layer in enumerate(layers, 1):
            self._add(position, layer, width)
            width = int(layer.units)

    def _add(self, position: int, layer: Dense, width: int | None) -> None:
        weights = None if width is None else sum(slot.size for slot in _weights.slots([layer], width))
        bias = int(layer.units) if layer.use_bias else 0
        trained = "yes" if layer.trainable else "no"
        if layer.trainable and layer.use_bias and not layer.trainable_bias:
            trained = "weights"
        shape = f"(rows, {layer.units})"
        activation = _activations.name_of(layer.activation)
        count = "unknown" if weights is None else f"{weights:,}"
        self.rows.append((f"Dense {position}", shape, activation, count, trained))
        if weights is None or self.n_parameters is None or self.n_trainable is None:
            self.n_parameters = self.n_trainable = None
            return
        self.n_parameters += weights
        self.n_trainable += {"yes": weights, "weights": weights - bias, "no": 0}[trained]

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
