"""Who may start now: a crowd of browsers that start at the same time would keep those that run from answering."""

from __future__ import annotations

import asyncio


class StartSlot:
    """A place among the sessions that start at the same time; given back once."""

    def __init__(self, starts: asyncio.Semaphore) -> None:
        self._starts, self._held = starts, False

    async def take(self) -> None:
        """Wait for a place."""
        await self._starts.acquire()
        self._held = True

    def give_back(self) -> None:
        """Give the place back; again does nothing."""
        if self._held:
            self._held = False
            self._starts.release()
