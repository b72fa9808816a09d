"""Rows that a process looks up often and that change rarely: kept for a moment, looked up once for all who ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Final, Generic, TypeVar

from shared.clock import Monotonic, monotonic

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")

REMEMBERED_S: Final = 1.0
"""Lifetime of what was found, in seconds: a change takes effect everywhere within it."""
_MOST_REMEMBERED: Final = 10_000
"""Keys that are cached at most, found or not: a few megabytes."""
_LOOKUPS: Final = 4
"""Lookups at once in one process: requests that name what does not exist must not take all of its database
connections.
"""


class Remembered(Generic[_K, _V]):
    """A cache of one kind of row.

    Args:
        look_up: reads one row; what it raises is raised to all who wait for it, and not remembered.
    """

    def __init__(self, name: str, look_up: Callable[[_K], Awaitable[_V]], clock: Monotonic = monotonic) -> None:
        self._name, self._look_up, self._clock = name, look_up, clock
        self._known: dict[_K, tuple[_V, float]] = {}
        self._sought: dict[_K, asyncio.Task[_V]] = {}
        self._lookups = asyncio.Semaphore(_LOOKUPS)

    async def find(self, key: _K) -> _V:
        """Return what belongs to a key, at most `REMEMBERED_S` old."""
        known = self._known.get(key)
        if known is not None and self._clock() < known[1]:
            return known[0]
        # requests for one key that come together share one query
        sought = self._sought.get(key)
        if sought is None:
            sought = self._sought[key] = asyncio.create_task(self._seek(key), name=f"{self._name}-lookup")
            sought.add_done_callback(partial(self._end, key))
        # shielded: a client that goes away must not cancel what others wait for
        return await asyncio.shield(sought)

    def forget(self) -> None:
        """Look everything up the next time: something was changed just now, by this process."""
        self._known.clear()

    def _end(self, key: _K, sought: asyncio.Task[_V]) -> None:
        del self._sought[key]
        # read here: with every client gone, asyncio would log the error as unhandled
        if not sought.cancelled():
            sought.exception()

    async def _seek(self, key: _K) -> _V:
        async with self._lookups:
            # before the query: what changes while it runs is seen a second after this instant at the latest
            began = self._clock()
            found = await self._look_up(key)
        if len(self._known) >= _MOST_REMEMBERED:
            # simpler than the oldest: it fills again within a second
            self._known.clear()
        self._known[key] = (found, began + REMEMBERED_S)
        return found
