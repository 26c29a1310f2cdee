"""Threads: how many a call may use, and who said so.

First the argument `n_threads`, then `set_num_threads`, DNN_NUM_THREADS, OMP_NUM_THREADS, then the CPUs of
this process. Starts none.
"""

from __future__ import annotations

import os

from dnn import _checks

# More threads than this is a slip of the finger, not a machine.
MOST = 1024

_chosen: int | None = None
# Whether somebody has asked for the default, and been told of a variable that is no number: small
# predictions, which need one thread, ask no more than once.
environment_is_checked = False


def set_num_threads(n: int | None) -> None:
    """Set how many threads calls without `n_threads` may use in this process.

    Parameters
    ----------
    n : int or None
        From 1 to 1024; None goes back to DNN_NUM_THREADS, OMP_NUM_THREADS or the CPUs of this process.

    Raises
    ------
    TypeError, ValueError
        If `n` is not such a number.

    Examples
    --------
    >>> import dnn
    >>> dnn.set_num_threads(2)
    >>> dnn.get_num_threads()
    2
    >>> dnn.set_num_threads(None)
    """
    global _chosen
    _chosen = None if n is None else _checks.integer(n, "n", 1, MOST)


def get_num_threads() -> int:
    """How many threads a call without `n_threads` may use. Results don't depend on it.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If DNN_NUM_THREADS or OMP_NUM_THREADS is not a number.

    Examples
    --------
    >>> import dnn
    >>> dnn.get_num_threads() >= 1
    True
    """
    return default()[0]


def default() -> tuple[int, str]:
    """The number of threads of calls that don't say it, and where it comes from."""
    global environment_is_checked
    if _chosen is not None:
        return _chosen, "dnn.set_num_threads"
    for variable in ("DNN_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(variable, "").strip()
        if text:
            found = _from_environment(variable, text)
            environment_is_checked = True
            return found, variable
    environment_is_checked = True
    if hasattr(os, "sched_getaffinity"):
        return min(MOST, len(os.sched_getaffinity(0))), "CPUs this process may use"
    return min(MOST, os.cpu_count() or 1), "CPUs of this machine"


def count(n_threads: int | None) -> int:
    """The number of threads for a call that was given `n_threads`."""
    if type(n_threads) is int and 0 < n_threads <= MOST:  # at once, because predictions take microseconds
        return n_threads
    return default()[0] if n_threads is None else _checks.integer(n_threads, "n_threads", 1, MOST)


def _from_environment(variable: str, text: str) -> int:
    # OpenMP allows a list, one number for each level of nesting; ours is the first.
    first = text.split(",")[0].strip() if variable == "OMP_NUM_THREADS" else text
    if not (first.isascii() and first.isdigit() and 1 <= int(first) <= MOST):
        raise ValueError(
            f"the environment variable {variable} is {text!r}, but must be a number from 1 to {MOST}"
        )
    return int(first)
