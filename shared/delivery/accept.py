"""Acceptance: a message is accepted when its row is committed, and only then hinted.

Requests that arrive together share one transaction (group commit), so that durability costs one fsync for all of them.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from shared.crash_points import reach
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.kinds import kind_named
from shared.logs import logger
from shared.process.metrics import Metrics
from shared.queues.hints import Hints
from shared.store import messages
from shared.store.messages import Accepted, NewMessage
from shared.store.store import Store

log = logger(__name__)

MOST_AT_ONCE: Final = 200
COMMITTERS: Final = 2
"""Commits under way at once: while one waits for the disk the next one gathers."""


class Acceptor:
    """Writes rows and gives hints.

    Args:
        store, hints: this process's own. metrics: gets `accept_batch_size` and `hints_lost`.
    """

    def __init__(self, store: Store, hints: Hints, metrics: Metrics) -> None:
        self._store, self._hints = store, hints
        self._waiting: asyncio.Queue[tuple[NewMessage, asyncio.Future[Accepted]]] = asyncio.Queue()
        self._committers: list[asyncio.Task[None]] = []
        self._hinter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hinter")
        self._batch_size = metrics.histogram("accept_batch_size", "Messages that shared one commit.", buckets=(1, 2, 5, 10, 20, 50, 100, 200))
        self._hints_lost = metrics.counter("hints_lost", "Hints that Redis did not take; the relay finds their rows.")
        self.queue_reachable = True

    async def start(self) -> None:
        """Begin to take messages."""
        self._committers = [asyncio.create_task(self._commit_batches(), name=f"committer-{number}") for number in range(COMMITTERS)]

    async def accept(self, message: NewMessage) -> Accepted:
        """Commit one message and hint it.

        Returns:
            Its row, or the earlier row of the same idempotency key.
        Raises:
            StoreUnavailable: nothing is promised; with `may_be_done` the row may be there and can be looked up by its key.
        """
        accepted: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((message, accepted))
        return await accepted

    async def close(self) -> None:
        """Stop; messages that are still waiting get `StoreUnavailable`."""
        for committer in self._committers:
            committer.cancel()
        await asyncio.gather(*self._committers, return_exceptions=True)
        while not self._waiting.empty():
            _, accepted = self._waiting.get_nowait()
            if not accepted.done():
                accepted.set_exception(StoreUnavailable("the process is stopping"))
        self._hinter.shutdown(wait=False, cancel_futures=True)

    async def _commit_batches(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < MOST_AT_ONCE and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            self._batch_size.observe(len(batch))
            reach("accept.gathered")
            try:
                results = await self._store.call(messages.accept, [message for message, _ in batch])
            except Exception as error:  # whatever it is, it belongs to those who wait, and the next batch must be tried
                if not isinstance(error, StoreUnavailable):
                    log.error("accept_failed", exc_info=error, messages=len(batch))
                for _, accepted in batch:
                    if not accepted.done():
                        accepted.set_exception(error)
                continue
            reach("accept.committed")
            self._hint([(message, result) for (message, _), result in zip(batch, results, strict=True)])
            for (_, accepted), result in zip(batch, results, strict=True):
                if not accepted.done():
                    accepted.set_result(result)

    def _hint(self, results: list[tuple[NewMessage, Accepted]]) -> None:
        by_kind: dict[str, list[int]] = {}
        for message, accepted in results:
            if not accepted.replayed:
                by_kind.setdefault(message.process_name, []).append(accepted.id)
        for kind_name, ids in by_kind.items():
            # not waited for: the row is the promise, and a slow Redis must not hold up acceptance
            self._hinter.submit(self._give, kind_name, ids)

    def _give(self, kind_name: str, ids: list[int]) -> None:
        try:
            self._hints.give(kind_named(kind_name), ids)
            reach("accept.hinted")
            self.queue_reachable = True
        except QueueUnavailable as error:
            self._hints_lost.inc(len(ids))
            if self.queue_reachable:
                log.warning("hints_not_given", reason=str(error))
            self.queue_reachable = False
