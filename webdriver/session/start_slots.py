"""Start slots: many browsers starting at the same time would keep running ones from answering in time."""

from __future__ import annotations

import asyncio


class StartSlot:
    """A place among the sessions that start at the same time."""

    def __init__(self, starts: asyncio.Semaphore) -> None:
        self._starts, self._held = starts, False

    async def acquire(self) -> None:
        """Wait for a place."""
        await self._starts.acquire()
        # noted here, so that a release without a place, or a second release, does not add one to the semaphore
        self._held = True

    def release(self) -> None:
        """Release the place; again does nothing."""
        if self._held:
            self._held = False
            self._starts.release()
