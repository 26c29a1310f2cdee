"""ModelCheckpoint: the model in a file, again and again while it trains.

What an epoch measured comes in, a file goes out, whole or not at all.
"""

from __future__ import annotations

import errno
import math
import os
from typing import TYPE_CHECKING, Any

from dnn import _checks
from dnn._callbacks import Callback, Logs, Monitor

if TYPE_CHECKING:
    from pathlib import Path


class ModelCheckpoint(Callback):
    """Save the model at the end of epochs; a training goes on from such a file as if it had never stopped.

    The file has weights, state of the optimizer, how often was shuffled, and what early stopping and other
    callbacks have counted. Going on is `model = dnn.load(path)`, then the same `fit` with
    `initial_epoch=model.next_epoch` and without `optimizer=`. Arguments are Keras's.

    Parameters
    ----------
    filepath : str or path
        Where to. May have {epoch} (counted from 1, as Keras does) and names of what is measured, as in
        "best-{epoch:03d}-{val_loss:.3f}.dnn"; without them each file replaces the one before.
    monitor : str, default "val_loss"
        What `save_best_only` compares: loss, val_loss, a metric, ...
    verbose : {0, 1}, default 0
        1 prints a line for each file, on standard error.
    save_best_only : bool, default False
        Whether only an epoch that is better than all before is saved.
    save_weights_only : bool, default False
        Leave out what only training needs, as `save(path, optimizer=False)` does.
    mode : {"auto", "min", "max"}, default "auto"
        Which of two values of `monitor` is better. "auto" is "max" for accuracy, precision, recall, f1, auc,
        r2 and their like, else "min".
    save_freq : "epoch", default "epoch"
        When to save: only the end of an epoch is a point from which training can go on with the same bits.
    initial_value_threshold : float, optional
        With `save_best_only`, a value that the first one saved has to be better than.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range; at the end of an epoch, if `monitor` or a name
        in `filepath` is not among what was measured.
    OSError
        If a file can't be written; the one before is then still there.

    Examples
    --------
    >>> import dnn, os, tempfile
    >>> x, y = [[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 7.0]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.dnn")
    ...     whole = dnn.Sequential([dnn.Dense(1)], seed=1)
    ...     _ = whole.fit(x, y, 2, 10, verbose=0)
    ...     first = dnn.Sequential([dnn.Dense(1)], seed=1)
    ...     _ = first.fit(x, y, 2, 4, callbacks=[dnn.ModelCheckpoint(path)], verbose=0)
    ...     second = dnn.load(path)
    ...     _ = second.fit(x, y, 2, 10, initial_epoch=second.next_epoch, verbose=0)
    >>> bool((second.flat_parameters == whole.flat_parameters).all())
    True
    """

    _saves = True

    def __init__(
        self,
        filepath: str | Path,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        if not isinstance(filepath, (str, os.PathLike)):
            raise TypeError(f"filepath must be a string or path, got {_checks.shown(filepath)}")
        import string  # for few: a millisecond of `import dnn`

        self.filepath = os.fsdecode(filepath)
        try:
            self._names = [
                name for _, name, _, _ in string.Formatter().parse(self.filepath) if name is not None
            ]
        except ValueError as error:
            raise ValueError(f"filepath {self.filepath!r} can't be filled in: {error}") from None
        if save_freq != "epoch":
            raise ValueError(
                f"save_freq must be 'epoch', got {_checks.shown(save_freq)}; training can't go on from the "
                "middle of an epoch with the same bits"
            )
        self.verbose = _checks.integer(verbose, "verbose", 0, 1)
        self.save_best_only = _checks.boolean(save_best_only, "save_best_only")
        self.save_weights_only = _checks.boolean(save_weights_only, "save_weights_only")
        self._monitor = Monitor(monitor, mode, 0.0)
        if initial_value_threshold is not None:
            self._monitor.best = _checks.number(initial_value_threshold, "initial_value_threshold")

    @property
    def best(self) -> float | None:
        """The best value of `monitor` so far, with `save_best_only`."""
        return self._monitor.best if math.isfinite(self._monitor.best) else None

    def on_train_begin(self, logs: Logs) -> None:
        """Refuse what could not be saved, before there is anything to lose."""
        names = self.params.get("measured")
        if names is not None:
            self._path(0, dict.fromkeys(names, 1.0))
            if self.save_best_only:
                self._monitor.check(names, "ModelCheckpoint")
        folder = os.path.dirname(self.filepath) or "."
        if not any(sign in folder for sign in "{}") and not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, "ModelCheckpoint: there is no such folder", folder)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save, if this epoch is to be saved."""
        if self.save_best_only and not self._monitor.is_better(logs, "ModelCheckpoint"):
            return
        path = self._path(epoch, logs)
        self.model.save(path, optimizer=not self.save_weights_only)
        if self.verbose:
            from dnn import _progress

            _progress.say(f"epoch {epoch + 1}: saved {path}")

    def _path(self, epoch: int, logs: Logs) -> str:
        values = {**logs, "epoch": epoch + 1}
        for name in self._names:
            if name not in values:
                raise ValueError(
                    f"filepath {self.filepath!r} wants {{{name}}}, which is not measured; there are: "
                    f"{', '.join(sorted(values))}"
                )
        try:
            return self.filepath.format(**values)
        except (ValueError, KeyError) as error:
            raise ValueError(f"filepath {self.filepath!r} can't be filled in: {error}") from None

    def get_state(self) -> dict[str, Any]:
        """What going on needs: the best value so far."""
        return {"best": self._monitor.best}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` gave."""
        self._monitor.best = float(state["best"])
