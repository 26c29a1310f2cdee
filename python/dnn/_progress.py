"""Progress: one line that moves, on terminals and in notebooks, or one line for each epoch.

Prints to standard error, at most ten times a second: enough for an eye, and it costs next to nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from dnn import _checks

# Seconds between two updates of the bar.
INTERVAL = 0.1

_HIDDEN = ("rate", "grad_norm", "seconds")
_BAR_WIDTH = 20


def level(verbose: Any) -> int:
    """0, 1 or 2 for what `verbose` says; "auto" is 1 where a line can move, 0 elsewhere."""
    if isinstance(verbose, bool):
        return int(verbose)
    if verbose == "auto" and isinstance(verbose, str):
        return int(_is_live())
    if isinstance(verbose, str):
        raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
    return _checks.integer(verbose, "verbose", 0, 2)


def _is_live() -> bool:
    """Whether standard error is a terminal or a notebook."""
    stream = sys.stderr
    if stream is None:
        return False
    try:
        return bool(stream.isatty()) or type(stream).__module__.partition(".")[0] == "ipykernel"
    except (AttributeError, OSError, ValueError):  # whatever stands in its place, or it is closed
        return False


class Bar:
    """A line that is written over again: epoch, bar, losses, time passed and left."""

    def __init__(self, first: int, epochs: int) -> None:
        self._first, self._epochs = first, epochs
        self._start = time.monotonic()
        self._length = 0
        self._drawn = self._start
        self._pending: tuple[int, Mapping[str, float]] | None = None
        self._write(f"epoch {first}/{epochs} [{'.' * _BAR_WIDTH}]")

    def update(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Show that `epoch` is done; at once, or with a later update if it comes too soon."""
        self._pending = (epoch, logs)
        if time.monotonic() - self._drawn >= INTERVAL:
            self._draw()

    def close(self) -> None:
        """Show the last epoch and leave the line as it stands."""
        self._draw()
        if self._length:
            _put("\n")

    def _draw(self) -> None:
        if self._pending is None:
            return
        (epoch, logs), self._pending = self._pending, None
        done, total = epoch + 1 - self._first, self._epochs - self._first
        passed = time.monotonic() - self._start
        filled = _BAR_WIDTH * done // total
        bar = "#" * filled + "." * (_BAR_WIDTH - filled)
        left = f", {_duration(passed / done * (total - done))} left" if done < total else ""
        self._drawn = time.monotonic()
        # What matters most comes first: the end of the line is cut off on a narrow terminal.
        self._write(
            f"epoch {epoch + 1}/{self._epochs} [{bar}] {_duration(passed)}{left}  {_numbers(logs, '  ')}"
        )

    def _write(self, text: str) -> None:
        text = text[: _columns() - 1]
        # Spaces wipe what a longer line before left behind; escape sequences would not work everywhere.
        _put("\r" + text.ljust(self._length))
        self._length = len(text)


class Lines:
    """One line for each epoch."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def update(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Print what `epoch` measured."""
        seconds = f", {_duration(logs['seconds'])} in all" if "seconds" in logs else ""
        _put(f"epoch {epoch + 1}/{self._epochs}: {_numbers(logs, ', ')}{seconds}\n")

    def close(self) -> None:
        """Nothing is left open."""


def say(text: str) -> None:
    """One line on standard error."""
    _put(f"{text}\n")


def _numbers(logs: Mapping[str, float], separator: str) -> str:
    return separator.join(f"{name} {value:.4g}" for name, value in logs.items() if name not in _HIDDEN)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds >= 0.95 else f"{1000 * seconds:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 120
    except (AttributeError, OSError, ValueError):
        return 120


def _put(text: str) -> None:
    # A closed pipe must not end a training that may have taken hours, nor one without standard error.
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass
