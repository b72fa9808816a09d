"""Keeps webhooks before they are answered: posts that arrive together share one commit, and whoever waits for it is answered when it is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from shared.crash_points import reach
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.store import inbound
from shared.store.inbound import RawEvent
from shared.store.store import Store

log = logger(__name__)

_MOST_AT_ONCE: Final = 100
_MOST_BYTES: Final = 8 * 1024 * 1024
_COMMITTERS: Final = 2
"""Commits under way at once: while one waits for the disk the next one gathers."""

_Waiting = tuple[RawEvent, asyncio.Future[None]]


class Journal:
    """Writes raw events.

    Args:
        kind: whose journal. kept: called after each commit, so that somebody looks at what came.
    """

    def __init__(self, store: Store, kind: str, kept: Callable[[], None]) -> None:
        self._store, self._kind, self._kept = store, kind, kept
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._committers: list[asyncio.Task[None]] = []

    def start(self) -> list[asyncio.Task[None]]:
        """Begin to write. Returns the tasks whose failure is the process's failure."""
        self._committers = [asyncio.create_task(self._commit_batches(), name=f"journal-{number}") for number in range(_COMMITTERS)]
        return self._committers

    async def keep(self, event: RawEvent) -> None:
        """Return when `event` is committed. Raises `StoreUnavailable` when it is not, or may not be."""
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((event, committed))
        await committed

    async def close(self) -> None:
        """Stop; who still waits gets `StoreUnavailable`."""
        for committer in self._committers:
            committer.cancel()
        await asyncio.gather(*self._committers, return_exceptions=True)
        while not self._waiting.empty():
            _settle([self._waiting.get_nowait()], StoreUnavailable("the process is stopping"))

    async def _commit_batches(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            length = len(batch[0][0].body)
            while len(batch) < _MOST_AT_ONCE and length < _MOST_BYTES and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
                length += len(batch[-1][0].body)
            reach("journal.gathered")
            try:
                # what comes through after we gave up waiting is posted again, and twice is once
                await self._store.call_each(inbound.journal, self._kind, [event for event, _ in batch])
            except StoreUnavailable as error:
                _settle(batch, error)
                continue
            except asyncio.CancelledError:
                _settle(batch, StoreUnavailable("the process is stopping", may_be_done=True))
                raise
            except Exception as error:  # one event's own fault (its connection was removed just now) must not refuse the others
                if len(batch) == 1:
                    log.error("webhook_not_journalled", exc_info=error)
                    _settle(batch, error)
                    continue
                await self._one_by_one(batch)
                continue
            reach("journal.committed")
            _settle(batch, None)
            self._kept()

    async def _one_by_one(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            try:
                await self._store.call(inbound.journal, self._kind, [waiting[0]])
            except Exception as error:  # given to the one who waits, as above
                if not isinstance(error, StoreUnavailable):
                    log.error("webhook_not_journalled", exc_info=error)
                _settle([waiting], error)
            else:
                _settle([waiting], None)
        self._kept()


def _settle(batch: list[_Waiting], error: Exception | None) -> None:
    for _, committed in batch:
        if committed.done():
            continue
        if error is None:
            committed.set_result(None)
        else:
            committed.set_exception(error)
