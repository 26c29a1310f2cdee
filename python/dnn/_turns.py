"""Turns: who may change a model, of several threads and their callbacks.

Training has its turn from the beginning of a `fit` to its end, other changes for as long as they take.
Reading has none: the extension sees to that.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dnn._core import Network


def refused(what: str, *, in_callbacks: bool = True) -> str:
    """Why a call is refused that would change a model that trains."""
    return f"{what}: the model is training" + ("; do it in a callback" if in_callbacks else "")


class Turns:
    """The turns of one model."""

    def __init__(self) -> None:
        self._trainer: int | None = None  # the thread of the `fit` that has begun
        self._changes = threading.RLock()
        self._compiles = threading.RLock()

    @property
    def is_training(self) -> bool:
        """Whether a `fit` has begun, be it in a callback."""
        return self._trainer is not None

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """That of a `fit`: before it touches anything of the model."""
        with _taken(self._changes, "fit"):
            if self._trainer is not None:
                raise RuntimeError("fit: the model is already training")
            self._trainer = threading.get_ident()
        try:
            yield
        finally:
            self._trainer = None

    @contextlib.contextmanager
    def changing(self, what: str, network: Network | None) -> Iterator[None]:
        """That of a call that changes the model: not while it trains, unless a callback runs.

        What the thread of the `fit` asks for outside of callbacks, the extension refuses.
        """
        with _taken(self._changes, what):
            in_callback = network is not None and network.in_callback
            if self._trainer not in (None, threading.get_ident()) and not in_callback:
                raise RuntimeError(refused(what))
            yield

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """That of who compiles: what a network was compiled with, and what is noted of it, are one."""
        with _taken(self._compiles, "compile"):
            yield


@contextlib.contextmanager
def _taken(lock: threading.RLock, what: str) -> Iterator[None]:
    # The thread that had it may be gone after a fork.
    if not lock.acquire(timeout=60.0):
        raise RuntimeError(f"{what}: another thread is changing the model, or was when this process forked")
    try:
        yield
    finally:
        lock.release()
