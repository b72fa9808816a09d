"""Turns many small pieces of work into few larger ones: a rate limiter for starts, a queue drained in batches, and
group commit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final, Generic, TypeVar

from shared.clock import Monotonic, left, monotonic
from shared.errors import StoreUnavailable

_T = TypeVar("_T")
_R = TypeVar("_R")

COMMITTERS: Final = 2
"""Commits under way at once: while one waits for the disk, the next batch fills."""


class RateLimiter:
    """Enforces a minimum interval between starts, across tasks; the first is immediate."""

    def __init__(self, clock: Monotonic = monotonic) -> None:
        self._clock = clock
        self._started_at = -inf

    async def start(self, interval_s: float) -> None:
        """Return when `interval_s` seconds have passed since the last start, and record a new one."""
        # another task may have started while this one slept
        while wait_s := left(self._started_at + interval_s, self._clock()):
            await asyncio.sleep(wait_s)
        self._started_at = self._clock()

    def reset(self) -> None:
        """Let the next start be immediate."""
        self._started_at = -inf


class BatchQueue(Generic[_T]):
    """A queue drained in batches, by any number of consumers. Cancelling a consumer loses no item.

    Args:
        interval_s: minimum interval between batches, in seconds. capacity: most weight of one batch; a heavier item
            goes alone.
        weight: of one item; 1 by default.
    """

    def __init__(self, interval_s: float, capacity: int, weight: Callable[[_T], int] = lambda _: 1) -> None:
        self._interval_s, self._capacity, self._weight = interval_s, capacity, weight
        self._items: deque[_T] = deque()
        self._filled = asyncio.Event()
        self._limiter = RateLimiter()
        self._consumer = asyncio.Lock()

    def put(self, item: _T) -> None:
        """Append one item."""
        self._items.append(item)
        self._filled.set()

    async def get_batch(self) -> list[_T]:
        """Wait for an item, then for the interval, and remove what is queued by then; never empty."""
        # one consumer at a time: two would split the same items into two small batches
        async with self._consumer:
            await self._filled.wait()
            await self._limiter.start(self._interval_s)
            # no await from here on: a consumer that is cancelled at an await above has removed nothing
            return self._next_batch()

    def drain(self) -> list[_T]:
        """Remove and return everything that is queued, at shutdown."""
        rest = list(self._items)
        self._items.clear()
        self._filled.clear()
        return rest

    def _next_batch(self) -> list[_T]:
        batch = [self._items.popleft()]
        weight = self._weight(batch[0])
        while self._items and (weight := weight + self._weight(self._items[0])) <= self._capacity:
            batch.append(self._items.popleft())
        if not self._items:
            self._filled.clear()
        return batch


@dataclass(slots=True)
class _Pending(Generic[_T, _R]):
    """One submitted item, its caller's future, and when it was submitted (monotonic)."""

    item: _T
    result: asyncio.Future[_R]
    since: float = field(default_factory=monotonic)

    def resolve(self, result: _R) -> None:
        # a caller may have been cancelled meanwhile; its item is committed all the same
        if not self.result.done():
            self.result.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.result.done():
            self.result.set_exception(error)


class GroupCommit(Generic[_T, _R]):
    """Commits items of concurrent callers in shared transactions; each caller gets its own result or error.

    A batch that is refused for any reason but an unavailable database is committed again item by item, so that the item
    at fault fails alone.

    Args:
        commit: writes items and returns their results, in the same order. interval_s, capacity, weight: see
            `BatchQueue`.
        max_queued_s: an item that was queued longer fails with `StoreUnavailable` and is not written; None: no limit.
        on_refused: called with the error of an item that the database refuses.
    """

    def __init__(
        self,
        commit: Callable[[list[_T]], Awaitable[Sequence[_R]]],
        *,
        interval_s: float,
        capacity: int,
        weight: Callable[[_T], int] = lambda _: 1,
        max_queued_s: float | None = None,
        on_refused: Callable[[Exception], None],
    ) -> None:
        self._commit, self._max_queued_s, self._on_refused = commit, max_queued_s, on_refused
        self._queue: BatchQueue[_Pending[_T, _R]] = BatchQueue(
            interval_s, capacity, lambda pending: weight(pending.item)
        )
        self._committers: list[asyncio.Task[None]] = []
        self._closed = False

    def start(self, name: str) -> list[asyncio.Task[None]]:
        """Start the committers. Returns their tasks; a failure of one is a failure of the process."""
        self._committers = [asyncio.create_task(self._run(), name=f"{name}-{number}") for number in range(COMMITTERS)]
        return self._committers

    async def submit(self, item: _T) -> _R:
        """Return the item's result once its transaction is committed.

        Raises:
            StoreUnavailable: not committed; with `may_be_done` it may be. Any other error: the database refuses this
                very item.
        """
        # no committer is left to resolve the future: the caller would wait for ever
        if self._closed:
            raise StoreUnavailable("the process is stopping", outage="stopping")
        pending: _Pending[_T, _R] = _Pending(item, asyncio.get_running_loop().create_future())
        self._queue.put(pending)
        return await pending.result

    async def close(self) -> None:
        """Stop at once; callers that still wait get `StoreUnavailable`."""
        self._closed = True
        for committer in self._committers:
            committer.cancel()
        await asyncio.gather(*self._committers, return_exceptions=True)
        # after the committers have ended: an item is either in their batch or in the queue, and fails once
        _fail(self._queue.drain(), StoreUnavailable("the process is stopping", outage="stopping"))

    async def _run(self) -> None:
        while True:
            batch = await self._queue.get_batch()
            try:
                await self._commit_batch(self._not_expired(batch))
            except asyncio.CancelledError:
                # PostgreSQL may have received the commit before the cancellation
                _fail(batch, StoreUnavailable("the process is stopping", may_be_done=True, outage="stopping"))
                raise

    def _not_expired(self, batch: list[_Pending[_T, _R]]) -> list[_Pending[_T, _R]]:
        """Fail the items that were queued for too long behind an unresponsive database, and return the others."""
        if self._max_queued_s is None:
            return batch
        # measured when the batch is taken: an unresponsive commit before it may have used up the time
        oldest = monotonic() - self._max_queued_s
        late = StoreUnavailable("PostgreSQL did not answer in time", outage="slow")
        _fail((one for one in batch if one.since <= oldest), late)
        return [one for one in batch if one.since > oldest]

    async def _commit_batch(self, batch: list[_Pending[_T, _R]]) -> None:
        if not batch:
            return
        try:
            results = await self._commit([pending.item for pending in batch])
        except StoreUnavailable as error:
            # not repeated here: only the caller knows whether its own deadline allows another attempt
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - belongs to the caller whose item it is
            if len(batch) == 1:
                self._on_refused(error)
                _fail(batch, error)
                return
            # the batch was one transaction, so nothing of it is written and each item may be committed again
            for pending in batch:
                await self._commit_batch([pending])
        else:
            for pending, result in zip(batch, results, strict=True):
                pending.resolve(result)


def _fail(batch: Iterable[_Pending[_T, _R]], error: Exception) -> None:
    for pending in batch:
        pending.fail(error)
