"""Keeps webhooks before they are answered: posts that arrive together share one commit, and whoever waits for it is answered when it is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.gathering import Gathering
from shared.logs import logger
from shared.store import inbound
from shared.store.inbound import RawEvent
from shared.store.store import Store

log = logger(__name__)

_MOST_BYTES: Final = 8 * 1024 * 1024
_LEAST_WEIGHT: Final = _MOST_BYTES // 100
"""What even an empty body counts as: a hundred posts share one commit, at most."""
_APART_S: Final = 0.008
"""Two commits begin at least so far apart: the first post waits for nothing, and under load one commit keeps many."""
_COMMITTERS: Final = 2
"""Commits under way at once: while one waits for the disk the next one gathers."""

LATE_S: Final = 1.0
"""Who has to wait longer may have given up, and posts again at its own pace."""


class _Waiting(NamedTuple):
    """A post that waits to be answered, since a monotonic instant."""

    event: RawEvent
    committed: asyncio.Future[None]
    since: float


class Journal:
    """Writes raw events.

    Args:
        kind: whose journal. kept: called after each commit, so that somebody looks at what came. unheard: told for how long (seconds) somebody waited
            who was refused for want of the database, or answered late: until he comes again, nobody may conclude anything from his silence.
    """

    def __init__(self, store: Store, kind: str, kept: Callable[[], None], unheard: Callable[[float], None]) -> None:
        self._store, self._kind, self._kept, self._unheard = store, kind, kept, unheard
        self._waiting: Gathering[_Waiting] = Gathering(
            _APART_S, _MOST_BYTES, lambda waiting: max(_LEAST_WEIGHT, len(waiting.event.body))
        )
        self._committers: list[asyncio.Task[None]] = []

    def start(self) -> list[asyncio.Task[None]]:
        """Begin to write. Returns the tasks whose failure is the process's failure."""
        self._committers = [
            asyncio.create_task(self._commit_batches(), name=f"journal-{number}") for number in range(_COMMITTERS)
        ]
        return self._committers

    async def keep(self, event: RawEvent) -> None:
        """Return when `event` is committed. Raises `StoreUnavailable` when it is not, or may not be."""
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(_Waiting(event, committed, monotonic()))
        await committed

    async def close(self) -> None:
        """Stop; who still waits gets `StoreUnavailable`."""
        for committer in self._committers:
            committer.cancel()
        await asyncio.gather(*self._committers, return_exceptions=True)
        _settle(self._waiting.rest(), StoreUnavailable("the process is stopping"))

    async def _commit_batches(self) -> None:
        while True:
            batch = await self._waiting.batch()
            hit("journal.gathered")
            try:
                # what comes through after we gave up waiting is posted again, and twice is once
                await self._store.call_each(inbound.journal, self._kind, [waiting.event for waiting in batch])
            except StoreUnavailable as error:
                self._unheard(monotonic() - batch[0].since)
                _settle(batch, error)
                continue
            except asyncio.CancelledError:
                _settle(batch, StoreUnavailable("the process is stopping", may_be_done=True))
                raise
            except (
                Exception
            ) as error:  # one event's own fault (its connection was removed just now) must not refuse the others
                if len(batch) == 1:
                    log.error("webhook_not_journalled", exc_info=error)
                    _settle(batch, error)
                    continue
                await self._one_by_one(batch)
                continue
            hit("journal.committed")
            if (waited_s := monotonic() - batch[0].since) > LATE_S:
                self._unheard(waited_s)
            _settle(batch, None)
            self._kept()

    async def _one_by_one(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            try:
                await self._store.call(inbound.journal, self._kind, [waiting.event])
            except Exception as error:  # given to the one who waits, as above
                if not isinstance(error, StoreUnavailable):
                    log.error("webhook_not_journalled", exc_info=error)
                _settle([waiting], error)
            else:
                _settle([waiting], None)
        self._kept()


def _settle(batch: list[_Waiting], error: Exception | None) -> None:
    for waiting in batch:
        if waiting.committed.done():
            continue
        if error is None:
            waiting.committed.set_result(None)
        else:
            waiting.committed.set_exception(error)
