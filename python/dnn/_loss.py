"""Loss: the distance of output y and target t that training makes small, as a frozen dataclass.

Says what a loss is called, what its targets are and which outputs it fits. Computes nothing.
"""

from __future__ import annotations

from typing import Any, ClassVar

from dnn._dataclass import dataclass


@dataclass(frozen=True)
class Loss:
    """Base of all losses."""

    __slots__ = ()
    name: ClassVar[str]
    # What targets are; `_targets` checks it: any, distribution, unit, signs, not_negative, positive,
    # not_zero.
    targets: ClassVar[str] = "any"
    # The output activations it fits, or () for all but those in `unfit`; what it needs of them in words; and
    # which to suggest.
    fits: ClassVar[tuple[str, ...]] = ()
    unfit: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[str] = ""
    suggested: ClassVar[str] = ""
    # Whether it is a function of the user.
    is_function: ClassVar[bool] = False

    @property
    def heads(self) -> int:
        """Outputs for each target."""
        return 1

    def called(self) -> Any:
        """The function that the extension calls, where it is one of the user."""
        return None
