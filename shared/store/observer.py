"""What a store reports about its work, for metrics: this layer knows none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol


class StoreObserver(Protocol):
    """Takes what one pool and its transactions measure; called from the event loop or a thread, and never raises."""

    def statement_ran(self, name: str, seconds: float) -> None:
        """Record that a named statement ended, answered or not, after so many seconds."""

    def waited(self, seconds: float) -> None:
        """A caller found every connection in use, and waited so long for one, whether it got it or not."""


class Unobserved:
    """Measures nothing."""

    def statement_ran(self, name: str, seconds: float) -> None:
        """See `StoreObserver`."""

    def waited(self, seconds: float) -> None:
        """See `StoreObserver`."""


UNOBSERVED: Final = Unobserved()


@dataclass(frozen=True, kw_only=True)
class PoolStats:
    """What the pool is doing: counts of connections and of callers."""

    limit: int
    in_use: int
    idle: int
    waiting: int
    opened: int
    discarded: int
    deadlines_passed: int
