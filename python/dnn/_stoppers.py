"""Several `EarlyStopping` at once: which one the core counts, and the counts of the others.

What was asked for and what each epoch measured come in; out goes whether to stop. Weights are the core's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dnn._callbacks import Callback
from dnn._checks import counted

if TYPE_CHECKING:
    from dnn._callbacks import EarlyStopping, Logs


def for_the_core(stoppers: list[EarlyStopping]) -> EarlyStopping:
    """The one whose best weights come back.

    In Keras each of them sets its best weights when training ends, in the order of the list: the last one
    that does so has its way.
    """
    restoring = [stopper for stopper in stoppers if stopper.restore_best_weights]
    return (restoring or stoppers)[-1]


def others(stoppers: list[EarlyStopping]) -> list[Waiting]:
    """What counts for all but the one that the core counts."""
    core = for_the_core(stoppers)
    return [Waiting(stopper) for stopper in stoppers if stopper is not core]


def told(measured: dict[str, Any], callbacks: list[Callback]) -> dict[str, Any]:
    """What the extension measured, with the reason of the one that stopped training."""
    messages = [callback.message for callback in callbacks if isinstance(callback, Waiting)]
    message = next((message for message in messages if message is not None), None)
    if message is None or measured["stopped_because"] != "callback":
        return measured
    return {**measured, "stopped_because": "early_stopping", "message": message}


class Waiting(Callback):
    """Counts the epochs that are no better, by the rule of `EarlyStopping`."""

    def __init__(self, said: EarlyStopping) -> None:
        self._said = said
        self._sign = -1.0 if said.higher else 1.0
        # The lower, the better; what was better last.
        self._best = math.inf
        self._without = 0
        self.message: str | None = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> bool:
        """True if training should end."""
        said = self._said
        value = self._sign * logs[said.monitor]
        self._without += 1
        if value < self._best - said.min_delta:
            self._best = value
            if said.baseline is None or value < self._sign * said.baseline - said.min_delta:
                self._without = 0
            return False
        if said.patience is None or self._without < said.patience or epoch == 0:
            return False
        is_usual = (said.monitor, said.higher) == ("val_loss", False)
        what = "the validation loss" if is_usual else said.monitor
        waited = counted(self._without, "epoch")
        self.message = f"{what} did not improve for {waited}, up to epoch {epoch + 1}"
        return True

    def get_state(self) -> dict[str, Any]:
        """The count, and what was better last; no number before the first epoch."""
        return {"best": self._best if math.isfinite(self._best) else None, "without": self._without}

    def set_state(self, state: dict[str, Any]) -> None:
        """The same again."""
        self._best = math.inf if state["best"] is None else state["best"]
        self._without = state["without"]
