"""Order: which rows an epoch takes, and when, as the user says.

What was given for all epochs comes in, the row numbers of one epoch go out. Draws nothing at random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dnn import _arrays
from dnn._checks import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def asked(
    given: Any, n_rows: int, options: Mapping[str, Any], *, is_split: bool, is_lbfgs: bool
) -> Order | None:
    """`given` as the order of the epochs of a fit with these options; None for none."""
    if given is None:
        return None
    if is_split:
        raise ValueError(
            "order counts the rows of x, but validation_split takes some of them away; pass "
            "validation_data instead"
        )
    if is_lbfgs:
        raise ValueError("L-BFGS takes all rows in every epoch, so there is no order to give")
    return Order(given, n_rows, options["initial_epoch"], options["epochs"])


class Order:
    """The row numbers of each epoch, checked when its turn comes."""

    def __init__(self, given: Any, n_rows: int, first: int, epochs: int) -> None:
        self._give: Callable[[int], Any]
        self._n_rows = n_rows
        if callable(given):
            self._give, self._title = given, "order({epoch})"
        else:
            table = _arrays.numeric(given, "order")
            if table.ndim != 2:
                raise ValueError(
                    f"order is {table.ndim}-D with shape {table.shape}, but needs (epochs, n): row numbers "
                    "for each epoch; to repeat one order, pass order=lambda epoch: numbers"
                )
            if len(table) < epochs:
                raise ValueError(
                    f"order has rows for {counted(len(table), 'epoch')}, but epochs is {epochs}; give it as "
                    "many, or pass a function of the epoch"
                )
            self._give, self._title = table.__getitem__, "order[{epoch}]"
            for epoch in range(first, epochs):
                self._numbers(epoch)
        # Asked for now, so that what is wrong is told before training; not asked for again.
        self._next: tuple[int, NDArray[np.uint32]] | None = (first, self._numbers(first))
        self.length = len(self._next[1])
        if self.length > n_rows:
            raise ValueError(
                f"{self._title.format(epoch=first)} has {counted(self.length, 'row number')}, but x has "
                f"{counted(n_rows, 'row')}; give at most as many, in more epochs"
            )

    def __call__(self, epoch: int) -> NDArray[np.uint32]:
        """The row numbers of an epoch."""
        known, self._next = self._next, None
        numbers = known[1] if known is not None and known[0] == epoch else self._numbers(epoch)
        if len(numbers) != self.length:
            raise ValueError(
                f"{self._title.format(epoch=epoch)} has {counted(len(numbers), 'row number')}, but the "
                f"first epoch had {self.length}; give as many in every epoch"
            )
        return numbers

    def _numbers(self, epoch: int) -> NDArray[np.uint32]:
        return _arrays.row_numbers(self._give(epoch), self._title.format(epoch=epoch), self._n_rows)
