"""Numbers on the command line: one type for every count, limit, index and duration of every command."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from math import isfinite
from typing import Final

_MOST: Final = 2**62
"""Within `bigint`, the type of ids: a larger number would fail in the database and not as a wrong argument."""


def whole(low: int, high: int = _MOST) -> Callable[[str], int]:
    """Return a type of whole numbers from `low` to `high`."""

    def number(text: str) -> int:
        # not `int` alone, which also accepts `1_000` and digits of other scripts
        if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()):
            raise ArgumentTypeError(f"{text!r} is no whole number")
        found = int(text) if len(text) < 30 else _MOST + 1
        if not low <= found <= high:
            limits = f"from {low} to {high}" if high != _MOST else f"{low} or more"
            raise ArgumentTypeError(f"{text} is out of range: {limits}")
        return found

    return number


def seconds(text: str) -> float:
    """Return a duration in seconds, zero or more."""
    try:
        found = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not isfinite(found) or found < 0:
        raise ArgumentTypeError(f"{text} is no duration: seconds, 0 or more")
    return found
