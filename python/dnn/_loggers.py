"""Callbacks that write down what each epoch measured: a CSV file, TensorBoard, a bar on the terminal.

A writer for TensorBoard is met when one is asked for, never before.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dnn import _checks, _progress
from dnn._callbacks import Callback, Logs

if TYPE_CHECKING:
    from pathlib import Path


class CSVLogger(Callback):
    """Write what each epoch measured to a CSV file, a line for each, at once. Keras's.

    Parameters
    ----------
    filename : str or path
        The file.
    separator : str, default ","
        One character between two values.
    append : bool, default False
        Whether lines of an earlier training stay, as is wanted when one goes on. The header is not repeated;
        columns are those of the file.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type.
    OSError
        If the file can't be written.

    Examples
    --------
    >>> import dnn, os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "log.csv")
    ...     model = dnn.Sequential([dnn.Dense(1)], seed=1)
    ...     _ = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=2, callbacks=[dnn.CSVLogger(path)])
    ...     with open(path) as file:
    ...         print(file.readline().strip())
    epoch,grad_norm,loss,rate,seconds
    """

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False) -> None:
        if not isinstance(filename, (str, os.PathLike)):
            raise TypeError(f"filename must be a string or path, got {_checks.shown(filename)}")
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"separator must be one character, got {_checks.shown(separator)}")
        self.filename = os.fsdecode(filename)
        self.separator = separator
        self.append = _checks.boolean(append, "append")
        self._columns: list[str] | None = None

    def on_train_begin(self, logs: Logs) -> None:
        """Begin the file, or find the columns of the one that is there."""
        import csv

        self._columns = None
        if self.append and os.path.exists(self.filename):
            with open(self.filename, newline="", encoding="utf-8") as file:
                self._columns = next(csv.reader(file, delimiter=self.separator), None)
        elif not self.append:
            with open(self.filename, "w", encoding="utf-8"):
                pass  # a file that can't be written is told before training, not after its first epoch

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write a line."""
        import csv

        values = {"epoch": epoch, **logs}
        with open(self.filename, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if self._columns is None:
                self._columns = ["epoch", *sorted(logs)]
                writer.writerow(self._columns)
            writer.writerow([values.get(name, "") for name in self._columns])


class TensorBoard(Callback):
    """Write what each epoch measured for TensorBoard. Needs tensorboardX or torch with tensorboard.

    As Keras does, training goes to the folder `log_dir`/train and validation to `log_dir`/validation, under
    the same names: epoch_loss, epoch_accuracy, ...; the rate is epoch_rate.

    Parameters
    ----------
    log_dir : str or path, default "logs"
        The folder; show it with `tensorboard --logdir logs`.

    Raises
    ------
    ImportError
        When training begins, if there is no writer.

    Examples
    --------
    >>> import dnn
    >>> callback = dnn.TensorBoard("logs/first-try")
    """

    def __init__(self, log_dir: str | Path = "logs") -> None:
        if not isinstance(log_dir, (str, os.PathLike)):
            raise TypeError(f"log_dir must be a string or path, got {_checks.shown(log_dir)}")
        self.log_dir = os.fsdecode(log_dir)
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: Logs) -> None:
        """Find a writer."""
        self._make = _writer_class()
        self._writers = {}

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the values of this epoch."""
        for name, value in logs.items():
            if name == "seconds":
                continue
            side = "validation" if name.startswith("val_") else "train"
            if side not in self._writers:
                self._writers[side] = self._make(os.path.join(self.log_dir, side))
            self._writers[side].add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Logs) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def _writer_class() -> Any:
    from importlib import import_module

    for module in ("tensorboardX", "torch.utils.tensorboard"):
        try:
            return import_module(module).SummaryWriter
        except ImportError:
            continue
    raise ImportError("dnn.TensorBoard needs a writer: pip install tensorboardX (or torch and tensorboard)")


class ProgressBar(Callback):
    """The bar that `verbose=1` shows, as a callback: also where "auto" would show none.

    Examples
    --------
    >>> import dnn
    >>> model = dnn.Sequential([dnn.Dense(1)], seed=1)
    >>> x, y = [[0.0], [1.0]], [1.0, 3.0]
    >>> history = model.fit(x, y, epochs=5, callbacks=[dnn.ProgressBar()], verbose=0)
    """

    def on_train_begin(self, logs: Logs) -> None:
        """Draw it."""
        self._bar = _progress.Bar(self.params["initial_epoch"], self.params["epochs"])

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Move it."""
        self._bar.update(epoch, logs)

    def on_train_end(self, logs: Logs) -> None:
        """Leave it as it stands."""
        self._bar.close()
