"""Makes many small pieces of work into few larger ones: what comes while one batch has just begun is gathered for the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

from shared.clock import Monotonic, left, monotonic

_T = TypeVar("_T")


class Spacing:
    """Keeps beginnings apart: the first waits for nothing, each later one until the last lies far enough back, however many tasks ask."""

    def __init__(self, clock: Monotonic = monotonic) -> None:
        self._clock = clock
        self._begun_at = -inf

    async def begin(self, apart_s: float) -> None:
        """Return when `apart_s` seconds have passed since the last beginning, and count this one."""
        # somebody else may have begun meanwhile
        while wait_s := left(self._begun_at + apart_s, self._clock()):
            await asyncio.sleep(wait_s)
        self._begun_at = self._clock()

    def forget(self) -> None:
        """Let the next one begin at once."""
        self._begun_at = -inf


class Gathering(Generic[_T]):
    """A line of things that are taken in batches. Any number of tasks may take; what nobody has taken stays in line when one is cancelled.

    Args:
        apart_s: how far apart batches begin, at least. most: what a batch may weigh; one thing that is heavier goes alone. weight: of one thing.
    """

    def __init__(self, apart_s: float, most: int, weight: Callable[[_T], int] = lambda _: 1) -> None:
        self._apart_s, self._most, self._weight = apart_s, most, weight
        self._line: deque[_T] = deque()
        self._came = asyncio.Event()
        self._spacing = Spacing()
        self._gatherer = asyncio.Lock()

    def put(self, thing: _T) -> None:
        """Add one at the end."""
        self._line.append(thing)
        self._came.set()

    async def batch(self) -> list[_T]:
        """Wait for something, then for its turn, and take what stands in line by then; never empty."""
        # one at a time: a second gatherer would share the same things out into two small batches
        async with self._gatherer:
            await self._came.wait()
            await self._spacing.begin(self._apart_s)
            return self._take()

    def rest(self) -> list[_T]:
        """Take everything that is left, at the end."""
        rest = list(self._line)
        self._line.clear()
        self._came.clear()
        return rest

    def _take(self) -> list[_T]:
        batch = [self._line.popleft()]
        weight = self._weight(batch[0])
        while self._line and (weight := weight + self._weight(self._line[0])) <= self._most:
            batch.append(self._line.popleft())
        if not self._line:
            self._came.clear()
        return batch
