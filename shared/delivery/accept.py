"""Acceptance: a message is accepted when its row is committed, and only then hinted.

Requests that arrive together share one transaction (group commit), so that durability costs one fsync for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Final

from shared.batching import GroupCommit, RateLimiter
from shared.conversations import takeover
from shared.errors import QueueUnavailable
from shared.fail_points import hit
from shared.kinds import kind_named
from shared.logs import logger
from shared.process.metrics import Metrics
from shared.queues.hints import Hints
from shared.store import messages
from shared.store.messages import Accepted, NewMessage
from shared.store.pool import Transaction
from shared.store.store import Store

log = logger(__name__)

MOST_AT_ONCE: Final = 200
"""Messages of one transaction at most: its locks, and the wait of its first caller, last as long as the whole batch."""
_COMMIT_INTERVAL_S: Final = 0.006
_HINT_INTERVAL_S: Final = 0.01
"""Minimum seconds between commits (hint batches): the first message is immediate, and under load each round trip
carries many (measured: docs/benchmarks.md)."""


def accept_batch(
    transaction: Transaction, batch: Sequence[NewMessage], worlds: Mapping[str, str] = MappingProxyType({})
) -> list[Accepted]:
    """Write new messages, as `messages.accept` does; humans who reply take over their conversations with it."""
    accepted = messages.accept(transaction, batch, worlds)
    takeover.on_accepted(transaction, zip(batch, accepted, strict=True))
    return accepted


class Acceptor:
    """Commits new messages and writes their hints.

    Args:
        store, hints: this process's own. metrics: gets `accept_batch_size` and `hints_lost`. worlds: to which world
            each connection type sends, kept with each message.
    """

    def __init__(
        self, store: Store, hints: Hints, metrics: Metrics, worlds: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._store, self._hints, self._worlds = store, hints, worlds
        self._commits: GroupCommit[NewMessage, Accepted] = GroupCommit(
            self._commit,
            interval_s=_COMMIT_INTERVAL_S,
            capacity=MOST_AT_ONCE,
            # callers behind an unresponsive PostgreSQL are refused after one query's time, and what they gave up is not
            # written
            max_queued_s=store.query_s,
            on_refused=lambda error: log.error("accept_failed", exc_info=error),
        )
        self._unhinted: dict[str, list[int]] = {}
        self._hintable = asyncio.Event()
        self._hinting: asyncio.Task[None] | None = None
        # a thread of its own, since redis-py blocks: a frozen Redis must hold up neither the event loop nor the store's
        # threads
        self._hinter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hinter")
        self._batch_size = metrics.histogram(
            "accept_batch_size", "Messages that shared one commit.", buckets=(1, 2, 5, 10, 20, 50, 100, 200)
        )
        self._hints_lost = metrics.counter("hints_lost", "Hints that Redis did not accept; the relay finds their rows.")
        self.queue_reachable = True

    async def start(self) -> None:
        """Start to accept messages."""
        self._commits.start("committer")
        self._hinting = asyncio.create_task(self._write_hints(), name="hinter")

    async def accept(self, message: NewMessage) -> Accepted:
        """Commit one message and hint it.

        Returns:
            Its row, or the earlier row of the same idempotency key.
        Raises:
            StoreUnavailable: nothing is promised; with `may_be_done` the row may be there and can be looked up by its
            key.
            psycopg2.Error: the database refuses this very message; waiting does not help.
        """
        return await self._commits.submit(message)

    def hint(self, kind_name: str, row_id: int) -> None:
        """Hint a row that was committed elsewhere, in another transaction than this class makes."""
        self._unhinted.setdefault(kind_name, []).append(row_id)
        self._hintable.set()

    async def close(self) -> None:
        """Stop; messages that are still waiting get `StoreUnavailable`."""
        await self._commits.close()
        if self._hinting is not None:
            self._hinting.cancel()
            await asyncio.gather(self._hinting, return_exceptions=True)
        # a call to a frozen Redis may last until its time limit: exit does not wait, since the relay finds the rows
        self._hinter.shutdown(wait=False, cancel_futures=True)

    async def _commit(self, batch: list[NewMessage]) -> list[Accepted]:
        self._batch_size.observe(len(batch))
        hit("accept.gathered")
        results = await self._store.call(accept_batch, batch, self._worlds)
        hit("accept.committed")
        for message, result in zip(batch, results, strict=True):
            # a scheduled row is found by the relay when it is due
            if not (result.replayed or message.scheduled_for):
                self._unhinted.setdefault(message.process_name, []).append(result.id)
        self._hintable.set()
        return results

    async def _write_hints(self) -> None:
        """Hint what is committed. No caller waits for it: the row is the promise, and hints that queue up while Redis
        is slow share a round trip."""
        limiter = RateLimiter()
        while True:
            await self._hintable.wait()
            await limiter.start(_HINT_INTERVAL_S)
            # cleared and swapped without an await in between: rows committed from now on set it again
            self._hintable.clear()
            unhinted, self._unhinted = self._unhinted, {}
            for kind_name, ids in unhinted.items():
                await asyncio.get_running_loop().run_in_executor(self._hinter, self._give, kind_name, ids)

    def _give(self, kind_name: str, ids: list[int]) -> None:
        try:
            self._hints.give(kind_named(kind_name), ids)
            hit("accept.hinted")
            self.queue_reachable = True
        except QueueUnavailable as error:
            # not repeated: the relay finds the rows, and hints kept here would fill memory while Redis is away
            self._hints_lost.inc(len(ids))
            if self.queue_reachable:
                log.warning("hints_not_written", reason=str(error))
            self.queue_reachable = False
