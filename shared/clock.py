"""Clocks by purpose, as constructor arguments: policy never reads the time itself, so that tests can replay
histories."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Monotonic = Callable[[], float]
"""Seconds that only go forward; for durations and deadlines. `time.monotonic` in production."""


def monotonic() -> float:
    """Return seconds on the clock that deadlines (`_by`) are measured on."""
    return time.monotonic()


def utc_now() -> datetime:
    """Return the time of the wall clock, for values that are stored or shown; never for durations."""
    return datetime.now(UTC)


def left(by: float, now: float | None = None) -> float:
    """Return the seconds until the deadline `by`, never below zero."""
    return max(0.0, by - (monotonic() if now is None else now))


def read_timestamp(text: str) -> datetime:
    """Parse an instant in ISO 8601. Raises `ValueError` for any other text, and for one without a time zone."""
    try:
        at = datetime.fromisoformat(text.strip())
        if at.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        # stored and compared in one time zone only
        return at.astimezone(UTC)
    # the first or last day of the calendar, moved beyond it by its time zone
    except OverflowError as error:
        raise ValueError("no such instant in UTC") from error


def suspended_s() -> float:
    """Return the seconds that the machine was suspended since boot; `monotonic` does not count them."""
    # CLOCK_MONOTONIC stands still during a suspend, CLOCK_BOOTTIME does not (clock_gettime(2))
    return time.clock_gettime(time.CLOCK_BOOTTIME) - monotonic()
