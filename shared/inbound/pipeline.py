"""Processes a kind's journal of raw events in batches, and isolates those that cannot be processed.

A channel journals an event before anything is done with it (`shared.store.inbound.journal`), answers its provider, and
wakes the pipeline. Each batch is one transaction: what was made of the events, and the mark that they were processed.
An error about a row makes the pipeline go through the batch one by one; the row that fails alone is finished with the
reason. An error about the database is waited out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from shared.batching import RateLimiter
from shared.clock import monotonic
from shared.conversations import arrival
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.inbound_events import Arrived
from shared.logs import logger
from shared.process.beats import LoopBeat
from shared.process.metrics import Metrics
from shared.store import inbound
from shared.store.pool import Transaction
from shared.store.store import Store, ping

log = logger(__name__)

T = TypeVar("T")

BATCH_MOST: Final = 50
"""Events of one transaction: enough to share a commit under load, few enough that one by one costs little after a
failure.
"""
_POLL_S: Final = 1.0
"""How often rows that another instance journalled are looked for; our own wake the pipeline at once."""
_AWAY_S: Final = 0.5
"""Wait in seconds after an attempt that found the database away: a failover takes seconds, and events wait in the
journal meanwhile.
"""
_APART_S: Final = 0.08
"""Least interval between batches, unless the last one was full: the first event waits for nothing, and under load one
transaction reads many.
"""
_TRANSACTION_S: Final = 20.0
"""Seconds for one batch: four times an ordinary transaction's, since a batch may rename people and apply edits."""
BEAT_LIMIT_S: Final = _TRANSACTION_S + 10
"""Longest silence of the loop: one whole transaction, and the wait after it."""
_TIMEOUTS_MOST: Final = 5
"""Attempts of one row by itself that may end without an answer from a database that answers others. One may be a
coincidence, for example a failover in between; each takes up to `_TRANSACTION_S`.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalRow:
    """One raw event: `attempts` counts earlier processing, which an operator repeats."""

    id: int
    source: str
    connection_id: int | None
    body: bytes
    received_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Processed(Generic[T]):
    """What a handler made of a batch.

    Attributes:
        result: handed to `committed` after the commit. outcomes: by journal id what could not be understood; rows
            without one went well. arrived: messages of companies that keep conversations (`inbound.insert`).
    """

    result: T
    outcomes: Mapping[int, str]
    arrived: Sequence[Arrived]


class JournalPipeline(Generic[T]):
    """Processes one kind's journal, beside other instances that do the same.

    Args:
        store: this process's own. kind: whose journal. metrics: gets `journal_lag_seconds` and `journal_rows_failed`.
        handle: writes what a batch says, in the given transaction; may be run again from the start, so it must have no
            effect outside the database. An exception that is not `StoreUnavailable` is about one of its rows.
            committed: called with the handler's result after the commit.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        *,
        kind: str,
        handle: Callable[[Transaction, Sequence[JournalRow]], Processed[T]],
        committed: Callable[[T], None],
    ) -> None:
        self._store, self._kind, self._handle, self._committed = store, kind, handle, committed
        self._wake = asyncio.Event()
        self._stopping = False
        self._most = BATCH_MOST
        self._lag_s = 0.0
        self._timeouts: tuple[int, int] = (0, 0)
        """The row that ended without an answer when it was alone, and how often in a row."""
        self._failed_rows = metrics.counter(
            "journal_rows_failed",
            "Raw events that could not be processed; they stay in the journal with the reason.",
        )
        metrics.gauge(
            "journal_lag_seconds",
            "Age of the oldest raw event that waits to be processed.",
            read=lambda: self._lag_s,
        )

    @property
    def lag_s(self) -> float:
        """Age of the oldest raw event that waited at the last look, in seconds."""
        return self._lag_s

    def wake(self) -> None:
        """Wake the loop: events were journalled."""
        self._wake.set()

    def stop(self) -> None:
        """Take no further batch; `run` returns when the one under way is written."""
        self._stopping = True
        self._wake.set()

    async def run(self, beat: LoopBeat) -> None:
        """Process until `stop`."""
        limiter = RateLimiter()
        while not self._stopping:
            beat.beat()
            await limiter.start(_APART_S)
            try:
                if rows := await self.process():
                    if rows >= self._most:
                        # A full batch: more waits already, and a pause would only delay it.
                        limiter.reset()
                    continue
            except StoreUnavailable as error:
                log.warning("journal_not_processed", reason=str(error), next_batch=self._most)
                await asyncio.sleep(_AWAY_S)
                continue
            try:
                await asyncio.wait_for(self._wake.wait(), _POLL_S)
            # Not woken: look all the same, since another instance may have journalled events and died.
            except TimeoutError:
                continue
            finally:
                # After the wait and before the next look: an event that is journalled from here on wakes the loop
                # again.
                self._wake.clear()

    async def process(self) -> int:
        """Process one batch. Returns how many rows it had. Raises `StoreUnavailable`."""
        taken: list[int] = []
        most = self._most
        try:
            rows = await self._attempt(most, taken)
        except StoreUnavailable as error:
            # perhaps the batch was too much for one transaction's time
            self._most = max(1, most // 4)
            if most == 1 and taken and await self._is_stuck(taken[0]):
                await self._fail(taken[0], error)
                return 1
            raise
        except Exception as error:  # some row is poison: find it, so that it stops no other
            log.warning("journal_batch_failed", exc_info=error, rows=most)
            return await self._one_by_one(most)
        self._timeouts = (0, 0)
        # Back to full batches by degrees, since the reason may last.
        self._most = min(BATCH_MOST, most * 2)
        return rows

    async def _one_by_one(self, most: int) -> int:
        done = 0
        while done < most:
            taken: list[int] = []
            try:
                rows = await self._attempt(1, taken)
            # Not this row's fault; the rows before it are committed, and the loop waits.
            except StoreUnavailable:
                raise
            except Exception as error:  # whatever it is, it is this row's
                # It failed before a row was locked: a bug of ours, or of the statement. No row can be blamed.
                if not taken:
                    raise
                await self._fail(taken[0], error)
                rows = 1
            if not rows:
                break
            done += rows
        return done

    async def _attempt(self, most: int, taken: list[int]) -> int:
        """Process up to `most` rows in one transaction, and return how many there were. `taken` gets their ids, also
        when it fails.
        """
        rows, lag_s, processed = await self._store.call_by(monotonic() + _TRANSACTION_S, self._work, most, taken)
        hit("processor.committed")
        # what is left is younger than what was processed just now, unless there was more of it than fitted
        self._lag_s = lag_s if rows >= most else 0.0
        if processed is not None:
            self._committed(processed.result)
        return rows

    def _work(self, transaction: Transaction, most: int, taken: list[int]) -> tuple[int, float, Processed[T] | None]:
        rows = [JournalRow(**row) for row in inbound.take(transaction, self._kind, most=most)]
        # Before the handler runs: after its failure the caller needs to know which rows it was about.
        taken[:] = [row.id for row in rows]
        if not rows:
            return 0, 0.0, None
        lag_s = inbound.backlog(transaction, self._kind).oldest_s
        processed = self._handle(transaction, rows)
        # last, since it locks conversations
        arrival.note(transaction, processed.arrived)
        hit("processor.written")
        # In the handler's transaction: either both are committed, or the row is processed again.
        inbound.finish(transaction, {row.id: processed.outcomes.get(row.id, "") for row in rows})
        return len(rows), lag_s, processed

    async def _is_stuck(self, journal_id: int) -> bool:
        """Count an attempt of this row alone that got no answer. Return whether the row is at fault: the database
        answers others.
        """
        row, times = self._timeouts
        self._timeouts = (journal_id, times + 1 if row == journal_id else 1)
        if self._timeouts[1] < _TIMEOUTS_MOST:
            return False
        try:
            # Only if the database answers now is the row at fault, and not an outage.
            await self._store.call(ping)
        except StoreUnavailable:
            return False
        return True

    async def _fail(self, journal_id: int, error: Exception) -> None:
        log.error("journal_row_failed", exc_info=error, journal_id=journal_id)
        await self._store.call(inbound.finish, {journal_id: f"failed: {type(error).__name__}"})
        self._failed_rows.inc()
        self._timeouts = (0, 0)
