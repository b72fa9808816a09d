"""The lease of one life of a process: until when it may send, by clocks of this machine alone.

Another host reclaims what a process has in hand when its lease in the database has run out. The process counts from
before it asked for the lease, the database from when it was asked, so that the process's own end always comes first:
what it has not begun to send by then, it does not send (docs/adr/0160-a-lease-covers-the-longest-send.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from shared.clock import Monotonic

BEATS: Final = 3
"""Heartbeats that a lease lasts beyond the longest send: two may be lost."""


def boot_time() -> float:
    """Return seconds since boot. Unlike `monotonic`, it goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """What this process knows about its lease.

    Args:
        for_s: how long one renewal lasts. clock: seconds that go on while the machine is suspended. wall: seconds since
            1970.
    """

    def __init__(self, for_s: float, *, clock: Monotonic = boot_time, wall: Callable[[], float] = time.time) -> None:
        self.for_s, self._clock, self._wall = for_s, clock, wall
        self._begun: tuple[float, float] | None = None

    def asking(self) -> tuple[float, float]:
        """Return the instant from which a renewal that is asked for now counts; pass it to `renewed`."""
        return self._clock(), self._wall()

    def renewed(self, asked: tuple[float, float]) -> None:
        """Record that the database has granted what was asked for at `asked`."""
        self._begun = asked

    def left_s(self) -> float:
        """Return the seconds until the lease ends; 0: it has ended, or none was granted yet."""
        if self._begun is None:
            return 0.0
        # The greater of two: a machine that was stopped by its hypervisor learns of it by a jump of the wall clock. One
        # that jumps without that ends the lease too early, until the next heartbeat.
        passed = max(self._clock() - self._begun[0], self._wall() - self._begun[1])
        return max(0.0, self.for_s - passed)

    def covers(self, for_s: float) -> bool:
        """Whether the lease lasts for `for_s` more seconds."""
        return self.left_s() >= for_s
