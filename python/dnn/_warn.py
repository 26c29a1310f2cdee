"""Warnings that point at the user's line, however many calls lie between.

In: a message and its category. Out: `warnings.warn` with the level of the first frame that is neither
ours nor scikit-learn's, which wraps the methods of estimators.
"""

from __future__ import annotations

import sys
import warnings

_WITHIN = ("dnn", "sklearn")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called into the package."""
    # `skip_file_prefixes` of `warnings.warn` does this from Python 3.12 on.
    level, frame = 2, sys._getframe(1)
    while frame.f_globals.get("__name__", "").partition(".")[0] in _WITHIN and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
