"""Acceptance: a message is accepted when its row is committed, and only then hinted.

Requests that arrive together share one transaction (group commit), so that durability costs one fsync for all of them.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from shared.clock import monotonic
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.fail_points import hit
from shared.gathering import Gathering, Spacing
from shared.kinds import kind_named
from shared.logs import logger
from shared.process.metrics import Metrics
from shared.queues.hints import Hints
from shared.store import messages
from shared.store.messages import Accepted, NewMessage
from shared.store.store import Store

log = logger(__name__)

MOST_AT_ONCE: Final = 200
_COMMITS_APART_S: Final = 0.006
_HINTS_APART_S: Final = 0.01
"""Two of a kind begin at least so far apart: the first message waits for nothing, and under load each round trip carries many."""
COMMITTERS: Final = 2
"""Commits under way at once: while one waits for the disk the next one gathers."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One message whose sender waits for the commit, until the monotonic instant `by`."""

    message: NewMessage
    accepted: asyncio.Future[Accepted]
    by: float

    def succeed(self, accepted: Accepted) -> None:
        if not self.accepted.done():
            self.accepted.set_result(accepted)

    def fail(self, error: Exception) -> None:
        if not self.accepted.done():
            self.accepted.set_exception(error)


class Acceptor:
    """Writes rows and gives hints.

    Args:
        store, hints: this process's own. metrics: gets `accept_batch_size` and `hints_lost`.
    """

    def __init__(self, store: Store, hints: Hints, metrics: Metrics) -> None:
        self._store, self._hints = store, hints
        self._waiting: Gathering[_Waiting] = Gathering(_COMMITS_APART_S, MOST_AT_ONCE)
        self._unhinted: dict[str, list[int]] = {}
        self._hintable = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._hinter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hinter")
        self._closed = False
        self._batch_size = metrics.histogram(
            "accept_batch_size", "Messages that shared one commit.", buckets=(1, 2, 5, 10, 20, 50, 100, 200)
        )
        self._hints_lost = metrics.counter("hints_lost", "Hints that Redis did not take; the relay finds their rows.")
        self.queue_reachable = True

    async def start(self) -> None:
        """Begin to take messages."""
        self._tasks = [
            asyncio.create_task(self._commit_batches(), name=f"committer-{number}") for number in range(COMMITTERS)
        ]
        self._tasks.append(asyncio.create_task(self._give_hints(), name="hinter"))

    async def accept(self, message: NewMessage) -> Accepted:
        """Commit one message and hint it.

        Returns:
            Its row, or the earlier row of the same idempotency key.
        Raises:
            StoreUnavailable: nothing is promised; with `may_be_done` the row may be there and can be looked up by its key.
            psycopg2.Error: the database refuses this very message; waiting does not help.
        """
        if self._closed:
            raise StoreUnavailable("the process is stopping")
        waiting = _Waiting(message, asyncio.get_running_loop().create_future(), monotonic() + self._store.query_s)
        self._waiting.put(waiting)
        return await waiting.accepted

    async def close(self) -> None:
        """Stop; messages that are still waiting get `StoreUnavailable`."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiting in self._waiting.rest():
            waiting.fail(StoreUnavailable("the process is stopping"))
        self._hinter.shutdown(wait=False, cancel_futures=True)

    async def _commit_batches(self) -> None:
        while True:
            batch = await self._waiting.batch()
            try:
                await self._commit(self._in_time(batch))
            except asyncio.CancelledError:
                for waiting in batch:
                    waiting.fail(StoreUnavailable("the process is stopping", may_be_done=True))
                raise

    @staticmethod
    def _in_time(batch: list[_Waiting]) -> list[_Waiting]:
        """Return those of a batch that have time left; behind a frozen database the others are told so instead of waiting in line for ever."""
        now = monotonic()
        for waiting in batch:
            if waiting.by <= now:
                waiting.fail(StoreUnavailable("PostgreSQL did not answer in time"))
        return [waiting for waiting in batch if waiting.by > now]

    async def _commit(self, batch: list[_Waiting]) -> None:
        """Write a batch in one transaction; when the database refuses it, each message in one of its own, so that it fails alone."""
        if not batch:
            return
        self._batch_size.observe(len(batch))
        hit("accept.gathered")
        try:
            results = await self._store.call(messages.accept, [waiting.message for waiting in batch])
        except StoreUnavailable as error:
            for waiting in batch:
                waiting.fail(error)
        except (
            Exception
        ) as error:  # whatever it is, it belongs to the one who asked for it, and the next batch must be tried
            if len(batch) == 1:
                log.error("accept_failed", exc_info=error)
                batch[0].fail(error)
                return
            for waiting in batch:
                await self._commit([waiting])
        else:
            hit("accept.committed")
            for waiting, result in zip(batch, results, strict=True):
                # a scheduled row is found by the relay when it is due
                if not (result.replayed or waiting.message.scheduled_for):
                    self._unhinted.setdefault(waiting.message.process_name, []).append(result.id)
                waiting.succeed(result)
            self._hintable.set()

    async def _give_hints(self) -> None:
        """Hint what is committed. Nobody waits for it: the row is the promise, and what gathers while Redis is slow goes out in one piece."""
        spacing = Spacing()
        while True:
            await self._hintable.wait()
            await spacing.begin(_HINTS_APART_S)
            self._hintable.clear()
            gathered, self._unhinted = self._unhinted, {}
            for kind_name, ids in gathered.items():
                await asyncio.get_running_loop().run_in_executor(self._hinter, self._give, kind_name, ids)

    def _give(self, kind_name: str, ids: list[int]) -> None:
        try:
            self._hints.give(kind_named(kind_name), ids)
            hit("accept.hinted")
            self.queue_reachable = True
        except QueueUnavailable as error:
            self._hints_lost.inc(len(ids))
            if self.queue_reachable:
                log.warning("hints_not_given", reason=str(error))
            self.queue_reachable = False
