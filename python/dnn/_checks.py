"""Checks of hyper-parameters: a value and its name come in, the value comes out as a plain Python type.

Every refusal names the argument, what was given and what is needed. Never touches arrays of data (`_arrays`
does).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

LARGEST = 2**63 - 1


def shown(value: object) -> str:
    """`value` for a message: its repr, cut to a length that still reads as one line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python shows no whole numbers of thousands of digits
        text = f"a {type(value).__name__} of too many digits to show"
    return text if len(text) <= 60 else text[:57] + "..."


def counted(n: int, one: str, many: str = "") -> str:
    """So many of something, as in "1 row" or "2 rows"; `many` where the plural has more than an s."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def integer(value: object, name: str, low: int, high: int = LARGEST) -> int:
    """`value` as an int from `low` to `high`."""
    need = f"a whole number from {low} to {high}" if high != LARGEST else f"a whole number, {low} or more"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be {need}, got {shown(value)}")
    try:
        # Whatever was given: what is no integer is a TypeError, which is what is asked.
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be {need}, got {shown(value)} ({type(value).__name__})") from None
    if number > LARGEST:  # a bound that is of no consequence to anyone else
        need = f"a whole number from {low} to {high}"
    if not low <= number <= high:
        raise ValueError(f"{name} must be {need}, got {shown(number)}")
    return number


def number(
    value: object,
    name: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> float:
    """`value` as a finite float within the bounds that are given."""
    bounds = [("above", above), ("at least", at_least), ("below", below), ("at most", at_most)]
    need = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
    need = f"a finite number {need}".rstrip()
    if isinstance(value, (bool, np.bool_, str, bytes, np.complexfloating)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be {need}, got {shown(value)} ({type(value).__name__})")
    if isinstance(value, np.ndarray) and value.ndim > 0:
        raise TypeError(f"{name} must be {need}, got an array of shape {value.shape}")
    if isinstance(value, np.ndarray) and value.dtype.kind not in "iufO":
        raise TypeError(f"{name} must be {need}, got an array of {value.dtype}")
    try:
        result = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        raise ValueError(f"{name} must be {need}, got {shown(value)}") from None
    except (TypeError, ValueError):  # an array of a string, a duration, a decimal that is a signal
        raise TypeError(f"{name} must be {need}, got {shown(value)} ({type(value).__name__})") from None
    fits = (
        math.isfinite(result)
        and (above is None or result > above)
        and (at_least is None or result >= at_least)
        and (below is None or result < below)
        and (at_most is None or result <= at_most)
    )
    if not fits:
        raise ValueError(f"{name} must be {need}, got {result!r}")
    return result


def boolean(value: object, name: str) -> bool:
    """`value` as a bool; numbers and strings are refused, since `"no"` would count as true."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {shown(value)} ({type(value).__name__})")
    return bool(value)


def name_in(
    value: str,
    kind: str,
    known: Collection[str],
    aliases: Mapping[str, str] | None = None,
    hints: Mapping[str, str] | None = None,
) -> str:
    """The canonical spelling of the name `value`; unknown names are refused with the nearest known ones."""
    aliases = aliases or {}
    if value in known:
        return value
    if value in aliases:
        return aliases[value]
    if hints and value.lower() in hints:
        raise ValueError(f"unknown {kind} {value!r}; {hints[value.lower()]}")
    import difflib  # only when something is wrong: the import costs more than the check

    near = difflib.get_close_matches(value.lower(), [*known, *aliases], n=3)
    meant = f"did you mean {' or '.join(repr(name) for name in near)}? " if near else ""
    raise ValueError(f"unknown {kind} {value!r}; {meant}known: {', '.join(sorted(known))}")


def sequence(value: Any, name: str, example: str) -> list[Any]:
    """`value` as a list; a string, mapping or single object is refused; `example` is what to write."""
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name} must be a list, got {shown(value)}; write {example}")
    return list(value)
