"""History: what each epoch of a fit measured, and why it ended.

Matplotlib is imported when a plot is asked for, never before.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dnn._checks import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, KeysView, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray


class DivergenceWarning(UserWarning):
    """Training ran into a loss or gradient that is not finite, and stopped with the last finite weights."""


# Shown beside the losses and metrics only when asked for: they have another scale.
_NOT_PLOTTED = ("rate", "grad_norm", "seconds")


def _listed(values: NDArray[np.float64]) -> list[float]:
    """The same as a list; of a value that never changes, as most rates, there is one object."""
    bits = values.view(np.int64)
    if len(bits) > 1 and bits[0] == bits[-1] and (bits == bits[0]).all():
        return [float(values[0])] * len(bits)
    numbers: list[float] = values.tolist()
    return numbers


class History:
    """What a `fit` returns.

    ``history["loss"]`` is one of its curves, a list with a number for each epoch; ``"val_loss" in history``,
    a loop over the names, `keys` and ``dict(history)`` work as with a dict. A name that is not there raises a
    KeyError, which says what is.

    Attributes
    ----------
    history : dict of str to list of float
        One list for each of loss, val_loss (with validation), the metrics and their val_ twins, rate (the
        last learning rate of the epoch), grad_norm (of the last step of the epoch; 0 if its rows weigh
        nothing) and seconds (since training began; epochs of some microseconds that nobody watches are timed
        together); one value for each epoch. The loss of a step is the one before its update.
    epochs : list of int
        Numbers of the epochs, from `initial_epoch` on; the first is 0, as for callbacks. What is printed or
        drawn counts from 1.
    stopped_because : str
        "epochs", "tol", "stop_at_loss", "early_stopping", "max_time", "callback", "interrupted" or
        "diverged"; with L-BFGS also "gtol", "ftol", "max_fun" or "line_search".
    message : str
        The same as a sentence, with numbers.
    best_epoch : int or None
        The epoch whose weights came back: that of the best value of what is watched, which is the
        validation loss unless early stopping says otherwise. None where none came back.
    arithmetic : str
        The instruction set, and the type that the factors of products had while training: "avx512 float32",
        or "avx512 bfloat16" with ``precision="medium"`` where the processor has it and a layer is large
        enough for it; on processors with AMX "amx bfloat16", "amx 2 x bfloat16" with "high", and "amx 3 x
        bfloat16" with "highest" where products are large. "" where nothing was begun.
    """

    def __init__(
        self,
        history: Mapping[str, Sequence[float] | NDArray[np.float64]],
        *,
        epochs: Sequence[int] | NDArray[np.int64],
        stopped_because: str,
        message: str,
        best_epoch: int | None = None,
        arithmetic: str = "",
    ) -> None:
        self._columns, self._numbers = history, epochs
        self._lists: dict[str, list[float]] = {}
        self.stopped_because = stopped_because
        self.message = message
        self.best_epoch = best_epoch
        self.arithmetic = arithmetic

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.keys():
            raise KeyError(f"{name!r} was not measured; there are {', '.join(self) or 'no curves'}")
        if "history" in self.__dict__:
            return self.history[name]
        # Made when somebody looks, and of what is looked at: the shortest epochs take 0.2 us each.
        if name not in self._lists:
            self._lists[name] = _listed(np.asarray(self._columns[name], np.float64))
        return self._lists[name]

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> KeysView[str]:
        """The names of the curves."""
        return self.history.keys() if "history" in self.__dict__ else self._columns.keys()

    @functools.cached_property
    def history(self) -> dict[str, list[float]]:
        return {name: self[name] for name in self._columns}

    @functools.cached_property
    def epochs(self) -> list[int]:
        epochs: list[int] = np.asarray(self._numbers, np.int64).tolist()
        return epochs

    def __repr__(self) -> str:
        n = len(self.epochs)
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self._measured().items())
        return f"<History of {counted(n, 'epoch')}{': ' if last else ''}{last}; {self.message}{self._kept()}>"

    def _kept(self) -> str:
        """Whose weights came back, if they are not those of the last epoch."""
        if self.best_epoch is None or self.best_epoch in self.epochs[-1:]:
            return ""
        if self.best_epoch not in self.epochs:
            return f"; the weights are those of epoch {self.best_epoch + 1}"
        at = self.epochs.index(self.best_epoch)
        measured = {name: values for name, values in self._measured().items() if name.startswith("val_")}
        values = ", ".join(f"{name} {values[at]:.4g}" for name, values in measured.items())
        return f"; the weights are those of epoch {self.best_epoch + 1}{': ' if values else ''}{values}"

    def _measured(self) -> dict[str, list[float]]:
        return {name: values for name, values in self.history.items() if name not in _NOT_PLOTTED and values}

    def _repr_html_(self) -> str:
        from html import escape

        head = "".join(
            f"<th>{title}</th>" for title in ("", "first", "last", "lowest", "highest", "last epochs")
        )
        body = ""
        for name, values in self.history.items():
            if not values:
                continue
            finite = [value for value in values if math.isfinite(value)] or [math.nan]
            cells = [values[0], values[-1], min(finite), max(finite)]
            numbers = "".join(f"<td>{value:.4g}</td>" for value in cells)
            body += f"<tr><th>{escape(name)}</th>{numbers}<td>{_sparkline(values)}</td></tr>"
        n = len(self.epochs)
        title = f"{counted(n, 'epoch')}; {escape(self.message + self._kept())}"
        return f"<table><caption>{title}</caption><tr>{head}</tr>{body}</table>"

    def plot(self, *names: str, ax: Axes | None = None) -> Axes:
        """Draw the course of the losses and metrics over the epochs, counted from 1. Needs matplotlib.

        Parameters
        ----------
        *names : str
            Keys of `history`; none draws all losses and metrics.
        ax : matplotlib.axes.Axes, optional
            Where to draw. None makes a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            `ax.figure.savefig("curves.png")` writes it to a file.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If a name is not in `history`.

        Examples
        --------
        >>> import dnn
        >>> model = dnn.Sequential([dnn.Dense(1)], seed=1)
        >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=5, optimizer="sgd", verbose=0)
        >>> history.plot("loss").get_xlabel()  # doctest: +SKIP
        'epoch'
        """
        from dnn import _checks

        for name in names:
            _checks.name_in(name, "curve", self.history)
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError as error:
                raise ImportError("History.plot needs matplotlib: pip install matplotlib") from error
            _, ax = plt.subplots()
        from matplotlib.ticker import MaxNLocator

        curves: dict[str, Any] = {name: self.history[name] for name in names} or self._measured()
        for name, values in curves.items():
            # A validation curve has the colour of its twin, dashed.
            twin = list(curves).index(name[4:]) if name.startswith("val_") and name[4:] in curves else None
            at = list(curves).index(name) if twin is None else twin
            # A point alone is no line.
            look: dict[str, Any] = {"marker": "o"} if len(values) == 1 else {}
            look["linestyle"] = "-" if twin is None else "--"
            ax.plot([epoch + 1 for epoch in self.epochs], values, f"C{at % 10}", label=name, **look)
        if self.best_epoch is not None:
            ax.axvline(self.best_epoch + 1, color="0.6", linewidth=1, label="best epoch")
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.legend()
        return ax


def _sparkline(values: list[float], width: int = 120, height: int = 20) -> str:
    """The last 200 `values` as a small line in SVG."""
    shown = [value for value in values[-200:] if math.isfinite(value)]
    if len(shown) < 2:
        return ""
    low, span = min(shown), (max(shown) - min(shown)) or 1.0
    points = " ".join(
        f"{width * at / (len(shown) - 1):.1f},{height - 1 - (height - 2) * (value - low) / span:.1f}"
        for at, value in enumerate(shown)
    )
    line = f'<polyline points="{points}" fill="none" stroke="currentColor"/>'
    return f'<svg width="{width}" height="{height}">{line}</svg>'


def last_of(history: History) -> dict[str, float]:
    """What was measured in the last epoch, if there was one."""
    return {name: float(values[-1]) for name, values in history._columns.items() if len(values)}


def history_of(measured: Mapping[str, Any]) -> History:
    """The history that the extension measured."""
    return History(
        measured["history"],
        epochs=measured["epochs"],
        stopped_because=measured["stopped_because"],
        message=measured["message"],
        best_epoch=measured["best_epoch"],
        arithmetic=measured["arithmetic"],
    )
