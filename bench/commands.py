"""Operators' commands in benchmarks, and how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tests.support.bulkhead import Bulkhead

_LIMIT_S: Final = 900.0
"""Longest time for one command."""


def timed(work: Callable[[], object]) -> float:
    """Do something and return the seconds that it took."""
    began = time.monotonic()
    work()
    return round(time.monotonic() - began, 2)


def command(bulkhead: Bulkhead, *words: str) -> None:
    """Run an operator's command. Raises `RuntimeError` with what it said when it fails."""
    done = bulkhead.command(*words, within_s=_LIMIT_S)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
