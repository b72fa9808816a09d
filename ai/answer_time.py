"""How long one answer may take. An outage of the database is not the answer's time: an answer that a model has given is
stored when the database is back, and sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from shared.clock import Monotonic, left, monotonic
from shared.errors import StoreUnavailable
from shared.process.periodic import AWAY_S

_T = TypeVar("_T")


class AnswerTime:
    """The time of one answer, which can be stopped.

    Args:
        for_s: seconds, from now on.
    """

    def __init__(self, for_s: float, clock: Monotonic = monotonic) -> None:
        self._clock, self._by = clock, clock() + for_s
        self._timeout: asyncio.Timeout | None = None

    def left_s(self) -> float:
        """Return the seconds that are left, never below zero."""
        return left(self._by, self._clock())

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let no time pass while the block runs, and let `limit` not end it."""
        began = self._clock()
        self._reschedule(None)
        try:
            yield
        finally:
            self._by += self._clock() - began
            self._reschedule(self.left_s())

    async def through_outages(
        self,
        call: Callable[[], Awaitable[_T]],
        *,
        query_s: float,
        delayed: Callable[[StoreUnavailable], None],
        away_s: float = AWAY_S,
    ) -> _T:
        """Return the result of `call`, repeated until the database is available; the outage does not count.

        Args:
            call: must be safe to repeat after a commit whose answer was lost. query_s: longest wait of one query.
                delayed: called with each failure.
        """
        while True:
            began = self._clock()
            try:
                return await call()
            except StoreUnavailable as error:
                delayed(error)
                # the query that failed waited for so long at most; what models and tools took before it stays used
                self._by += min(self._clock() - began, query_s)
                with self.stopped():
                    await asyncio.sleep(away_s)

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """End the block with `TimeoutError` when the time is over."""
        try:
            async with asyncio.timeout(self.left_s()) as self._timeout:
                yield
        finally:
            self._timeout = None

    def _reschedule(self, in_s: float | None) -> None:
        # one that has expired ends the block at its next wait, and cannot be changed any more
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(None if in_s is None else asyncio.get_running_loop().time() + in_s)
