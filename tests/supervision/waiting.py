"""Waiting for a condition with a deadline."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], *, within_s: float = 10.0, each_s: float = 0.01) -> T:
    """Return the first true value of `condition`, asked each `each_s` seconds; fail when there was none within `within_s`."""
    by = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > by:
            raise AssertionError(f"not within {within_s} s; last value: {value!r}")
        select.select([], [], [], each_s)
    return value
