"""Takes leased rows from a table and works on a few of them side by side: tasks, files to fetch.

A row that is taken belongs to this incarnation until its lease ends. What dies with the process is taken again: by the
next life of its slot, which gives it back at its start, or by any process when the lease has ended. So the work must be
repeatable.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from shared.clock import Monotonic, left, monotonic
from shared.process.periodic import repeat
from shared.process.service import Child

_T = TypeVar("_T")

_BUSY_FOR_S: Final = 10.0
"""The short interval is kept for so long after a row was taken: work comes in bursts."""
_CLOSE_S: Final = 1.0
"""Longest wait for cancelled work to end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Intervals:
    """Pauses between two queries for rows, in seconds: `busy_s` while there was work lately, else `idle_s`."""

    busy_s: float
    idle_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LeasedRows(Generic[_T]):
    """A table of leased rows.

    Attributes:
        release: gives back what earlier lives of this slot had taken; called once, before the first take. take: leases
            up to so many rows; also called with 0, for what it does on the way. due_in_s: returns in how many seconds
            the next row is due, as `take` saw it; the next look comes then, if that is earlier.
        key: names a row. work: does one row's work and writes its outcome; an error that it raises ends the process.
    """

    release: Callable[[], Awaitable[object]]
    take: Callable[[int], Awaitable[Sequence[_T]]]
    key: Callable[[_T], int]
    work: Callable[[_T], Awaitable[None]]
    due_in_s: Callable[[], float] = lambda: math.inf


class LeasedWork(Generic[_T]):
    """Works on one table's rows.

    Args:
        name: of the loop, for the log and the beats. beat_limit_s: longest time that one query for rows may take.
        capacity: most rows at once.
    """

    def __init__(
        self,
        child: Child,
        name: str,
        rows: LeasedRows[_T],
        *,
        capacity: int,
        intervals: Intervals,
        beat_limit_s: float,
        clock: Monotonic = monotonic,
    ) -> None:
        self._child, self._name, self._rows, self._clock = child, name, rows, clock
        self._capacity, self._intervals, self._beat_limit_s = capacity, intervals, beat_limit_s
        self._in_hand: dict[int, asyncio.Task[None]] = {}
        self._wake, self._stopped = asyncio.Event(), asyncio.Event()
        self._busy_until = 0.0
        self._released = False

    def start(self) -> None:
        """Start to take rows; what earlier lives of this slot had taken is given back first."""
        self._child.spawn(self._run(), self._name)

    def wake(self) -> None:
        """Wake the loop: there may be rows to take."""
        self._wake.set()

    async def drain(self, by: float) -> bool:
        """Take nothing new and finish what is in hand until the monotonic instant `by`. Returns whether nothing is
        left."""
        self._stop()
        if self._in_hand:
            await asyncio.wait(list(self._in_hand.values()), timeout=left(by))
        return not self._in_hand

    async def close(self) -> None:
        """Cancel what is in hand; the next life of the slot, or the end of the lease, gives it back."""
        self._stop()
        running = list(self._in_hand.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_CLOSE_S)

    def _stop(self) -> None:
        self._stopped.set()
        self._child.beats.forget(self._name)

    async def _run(self) -> None:
        await repeat(
            self._name,
            self.look,
            self._intervals.idle_s,
            wake=self._wake,
            stop=self._stopped,
            beat=self._child.beats.loop(self._name, self._beat_limit_s),
        )

    async def look(self) -> float:
        """Take what there is capacity for and start to work on it. Returns the seconds until the next look. Raises
        `StoreUnavailable`."""
        # Once, and only here: the first query may fail and is repeated, and no row of this life is taken before.
        if not self._released:
            await self._rows.release()
            self._released = True
        free = self._capacity - len(self._in_hand)
        taken = await self._rows.take(max(0, free))
        for row in taken:
            self._begin(row)
        if taken or self._in_hand:
            # Work in hand keeps the interval short too: its end may make further rows due.
            self._busy_until = self._clock() + _BUSY_FOR_S
        interval_s = self._intervals.busy_s if self._clock() < self._busy_until else self._intervals.idle_s
        return min(interval_s, max(0.0, self._rows.due_in_s()))

    def _begin(self, row: _T) -> None:
        key = self._rows.key(row)
        task = asyncio.get_running_loop().create_task(self._work(row), name=f"{self._name}-{key}")
        # A strong reference as well: the event loop alone keeps only weak ones to its tasks.
        self._in_hand[key] = task
        # An error that leaves a row's work is a bug, and is classified like any uncaught one.
        self._child.watch(task)
        task.add_done_callback(lambda _: self._end(key))

    async def _work(self, row: _T) -> None:
        await self._rows.work(row)

    def _end(self, key: int) -> None:
        was_full = len(self._in_hand) >= self._capacity
        self._in_hand.pop(key, None)
        if was_full:
            # Rows may wait for the place that is free now.
            self._wake.set()
