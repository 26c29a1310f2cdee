"""Turns: who may change a model, of several threads and their callbacks.

Training has its turn from the beginning of a `fit` to its end, other changes for as long as they take.
Reading has none: the extension sees to that.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dnn._core import Network

# Seconds between two looks whether who has a turn was left behind.
_PAUSE = 1.0
_LEFT_BEHIND = (
    "{}: the model is in use by a thread of the process that this one was forked from; fork while it is not "
    "in use, or load it here"
)


class Turns:
    """The turns of one model."""

    def __init__(self) -> None:
        # Process and thread of the `fit` that has begun.
        self._trainer: tuple[int, int] | None = None
        self._changes, self._compiles = _Turn(), _Turn()

    @property
    def is_training(self) -> bool:
        """Whether a `fit` has begun, be it in a callback."""
        return self._trainer is not None

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """That of a `fit`: before it touches anything of the model."""
        with self._changes.taken("fit"):
            if self._trainer is not None:
                self._refuse_left_behind("fit")
                raise RuntimeError("fit: the model is already training")
            self._trainer = os.getpid(), threading.get_ident()
        try:
            yield
        finally:
            self._trainer = None

    @contextlib.contextmanager
    def changing(self, what: str, network: Network | None) -> Iterator[None]:
        """That of a call that changes the model: not while it trains, unless a callback runs."""
        with self._changes.taken(what):
            if self._trainer is None or self._trainer[1] == threading.get_ident():
                # The thread of a `fit` may also before it begins to train.
                is_refused = network is not None and network.is_training
            else:
                self._refuse_left_behind(what)
                is_refused = network is None or not network.in_callback
            if is_refused:
                raise RuntimeError(f"{what}: the model is training; do it in a callback")
            yield

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """That of who compiles: what a network was compiled with, and what is noted of it, are one."""
        with self._compiles.taken("compile"):
            yield

    def _refuse_left_behind(self, what: str) -> None:
        """RuntimeError in a process that was forked while another thread trained: that never ends here."""
        if self._trainer is not None and self._trainer[0] != os.getpid():
            raise RuntimeError(_LEFT_BEHIND.format(what))


class _Turn:
    """A lock that a thread may have had that a fork has left behind."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._process = os.getpid()

    @contextlib.contextmanager
    def taken(self, what: str) -> Iterator[None]:
        while not self._lock.acquire(timeout=_PAUSE):
            if self._process != os.getpid():
                raise RuntimeError(_LEFT_BEHIND.format(what))
        self._process = os.getpid()
        try:
            yield
        finally:
            self._lock.release()
