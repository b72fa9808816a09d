"""Proof of progress inside one process: every work loop beats, and the event loop vouches for all of them to the
orchestrator.

A beat comes from the loop that does the work, never from a side thread: a thread that only beats would prove nothing
but its own life.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.clock import Monotonic, monotonic


class LoopBeat:
    """The heartbeat of one work loop; may be used from the thread that runs the loop.

    Args:
        name: for health pages and logs. limit_s: longest silence that still counts as progress, in seconds.
    """

    def __init__(self, name: str, limit_s: float, clock: Monotonic) -> None:
        self.name, self._limit_s, self._clock = name, limit_s, clock
        # A loop that never beats at all goes stale as well: its time begins with the registration.
        self._fresh_until = clock() + limit_s

    def beat(self) -> None:
        """Report one iteration of the loop."""
        self._fresh_until = self._clock() + self._limit_s

    @contextmanager
    def blocking(self, for_s: float) -> Iterator[None]:
        """Declare that the loop will be silent for up to `for_s` seconds more than its limit."""
        self._fresh_until = self._clock() + self._limit_s + for_s
        try:
            # The section may end early or by an error: the ordinary limit applies again from its end.
            yield
        finally:
            self.beat()

    @property
    def is_fresh(self) -> bool:
        """Whether the loop has beaten within its limit."""
        return self._clock() < self._fresh_until


class Beats:
    """All work loops of this process."""

    def __init__(self, clock: Monotonic = monotonic) -> None:
        self._clock = clock
        self._loops: dict[str, LoopBeat] = {}

    def loop(self, name: str, limit_s: float) -> LoopBeat:
        """Register a work loop; from now on it must beat. Arguments as for `LoopBeat`."""
        beat = self._loops[name] = LoopBeat(name, limit_s, self._clock)
        return beat

    def forget(self, name: str) -> None:
        """Remove a loop that has ended."""
        self._loops.pop(name, None)

    def stale(self) -> list[str]:
        """Return the names of loops that make no progress."""
        # A copy, since other threads register and remove loops while this one iterates.
        return [beat.name for beat in list(self._loops.values()) if not beat.is_fresh]
