"""Reads the journal: what webhooks say becomes receipts and inbound messages, in one transaction with the mark that they were read.

A row that cannot be read or written is finished with the reason, counted, and never stands in the way of another; its raw body stays.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple

from meta.accounts.registry import Accounts
from meta.events import reading
from meta.events.parsed import ConnectionPause, ParsedEvents, merged
from meta.inbound import account_events
from meta.inbound.event_owners import ConnectionIndex
from shared.batching import RateLimiter
from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.logs import logger
from shared.messages import InboundMessage
from shared.process.beats import LoopBeat
from shared.process.metrics import Metrics
from shared.store import connections, inbound, inbound_media, messages, pauses, webhook_evidence
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.store.webhook_evidence import DoorEvent

log = logger(__name__)

BATCH_MOST: Final = 50
_LOOK_S: Final = 1.0
"""How often rows of another instance are looked for; our own wake us at once."""
_AWAY_S: Final = 0.5
_APART_S: Final = 0.08
"""Two batches begin at least so far apart unless the first was full: the first post waits for nothing, and under load one transaction reads many."""
_TRANSACTION_S: Final = 20.0
_PRUNE_S: Final = 30.0
"""Old evidence of doors is deleted this often, a thousand rows at a time."""
BEAT_LIMIT_S: Final = _TRANSACTION_S + 10
"""Longest silence of the loop: one whole transaction."""


@dataclass(kw_only=True)
class _Batch:
    """What one transaction did."""

    rows: int = 0
    new_messages: int = 0
    new_files: int = 0
    account_events: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    with_problems: list[tuple[int, str]] = field(default_factory=list)
    paused: dict[int, str] = field(default_factory=dict)
    oldest_s: float = 0.0


class _ParsedRow(NamedTuple):
    """One raw event of the journal, read."""

    journal_id: int
    received_at: datetime
    is_replay: bool
    events: ParsedEvents


class Processor:
    """Processes one kind's journal, beside other instances that do the same.

    Args:
        accounts: which number belongs to which connection. kind: whose journal. files_came: called when there are files to fetch.
    """

    def __init__(
        self,
        store: Store,
        accounts: Accounts,
        metrics: Metrics,
        *,
        kind: str,
        files_came: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._accounts, self._kind, self._files_came = store, accounts, kind, files_came
        self._wake = asyncio.Event()
        self._stopping = False
        self._most = BATCH_MOST
        self._lag_s = 0.0
        self._prune_at = 0.0
        self._events = metrics.counter("meta_events", "Parts of webhooks by kind.", ("kind",))
        self._failed_rows = metrics.counter(
            "meta_journal_rows_failed",
            "Raw events that could not be processed; they stay in the journal with the reason.",
        )
        metrics.gauge(
            "meta_journal_lag_seconds",
            "Age of the oldest raw event that waits to be processed.",
            read=lambda: self._lag_s,
        )
        self.received = 0

    @property
    def lag_s(self) -> float:
        """Age of the oldest raw event that waited at the last look, in seconds."""
        return self._lag_s

    def wake(self) -> None:
        """Say that something was journalled just now."""
        self._wake.set()

    def stop(self) -> None:
        """Take no further batch; `run` returns when the one in hand is written."""
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
                        limiter.reset()
                    continue
            except StoreUnavailable as error:
                # perhaps the batch was too much for one transaction's time
                self._most = max(1, self._most // 4)
                log.warning("journal_not_processed", reason=str(error), next_batch=self._most)
                await asyncio.sleep(_AWAY_S)
                continue
            try:
                await asyncio.wait_for(self._wake.wait(), _LOOK_S)
            except TimeoutError:
                continue
            finally:
                self._wake.clear()

    async def process(self) -> int:
        """Process one batch. Returns how many rows it had. Raises `StoreUnavailable`."""
        try:
            batch = await self._store.call_by(monotonic() + _TRANSACTION_S, self._work, self._most, [])
        except StoreUnavailable:
            raise
        except Exception as error:  # some row is poison: find it, so that it stops nobody
            log.warning("journal_batch_failed", exc_info=error, rows=self._most)
            return await self._one_by_one()
        hit("processor.committed")
        self._account(batch)
        self._most = min(BATCH_MOST, self._most * 2)
        return batch.rows

    async def _one_by_one(self) -> int:
        done = 0
        for _ in range(self._most):
            taken: list[int] = []
            try:
                batch = await self._store.call_by(monotonic() + _TRANSACTION_S, self._work, 1, taken)
            except StoreUnavailable:
                raise
            except Exception as error:  # whatever it is, it is this row's, and its raw body stays
                if not taken:
                    raise
                log.error("journal_row_failed", exc_info=error, journal_id=taken[-1])
                self._failed_rows.inc()
                await self._store.call(inbound.finish, {taken[-1]: f"failed: {type(error).__name__}"})
                done += 1
                continue
            self._account(batch)
            done += batch.rows
            if not batch.rows:
                break
        return done

    def _work(self, transaction: Transaction, most: int, taken: list[int]) -> _Batch:
        """Process up to `most` rows in one transaction; may be run again from the start. `taken` tells the caller which rows it was about."""
        rows = inbound.take(transaction, self._kind, most=most)
        done = _Batch(rows=len(rows))
        backlog = inbound.backlog(transaction, self._kind)
        done.oldest_s = backlog.oldest_s
        taken[:] = [row["id"] for row in rows]
        if not rows:
            return done
        index = ConnectionIndex(self._accounts.connections(), lambda: connections.of_kind(transaction, self._kind))
        parsed = [
            _ParsedRow(
                row["id"],
                row["received_at"],
                row["attempts"] > 0,
                reading.parse_webhook(row["body"], row["received_at"], index.for_door(row["connection_id"])),
            )
            for row in rows
        ]
        self._write(transaction, parsed, done)
        hit("processor.written")
        return done

    def _write(self, transaction: Transaction, rows: Sequence[_ParsedRow], done: _Batch) -> None:
        """Write what webhooks hold. What is replayed happened long ago: it proves nothing about now, and pauses nothing."""
        whole = merged(row.events for row in rows)
        fresh = [row for row in rows if not row.is_replay]
        messages.apply_receipts(transaction, whole.receipts)
        messages.apply_receipts(transaction, inbound.receipts_up_to(transaction, whole.watermarks))
        inbound.see(transaction, whole.contacts, whole.moves, whole.choices)
        self._write_messages(transaction, rows, done)
        self._write_account_events(transaction, rows, done)
        for connection_id, pause in sorted(merged(row.events for row in fresh).pauses.items()):
            if _pause(transaction, connection_id, pause):
                done.paused[connection_id] = pause.reason
        self._write_door_events(transaction, fresh)
        outcomes = {row.journal_id: row.events.outcome() for row in rows}
        inbound.finish(transaction, outcomes)
        done.with_problems = [(journal_id, outcome) for journal_id, outcome in outcomes.items() if outcome]
        done.counts.update(whole.counts)

    @staticmethod
    def _write_messages(transaction: Transaction, rows: Sequence[_ParsedRow], done: _Batch) -> None:
        arrived = [(message, row.journal_id) for row in rows for message in row.events.messages]
        if not arrived:
            return
        phones = inbound.phones_of(
            transaction,
            [(message.connection_id, message.chat_id) for message, _ in arrived if _is_user_id(message.chat_id)],
        )
        new = inbound.insert(
            transaction, [(_in_known_chat(message, phones), journal_id) for message, journal_id in arrived]
        )
        done.new_messages = len(new)
        ids = {(row["connection_id"], row["provider_id"]): row["id"] for row in new}
        sources = {(source.connection_id, source.provider_id): source for row in rows for source in row.events.media}
        if files := [(ids[name], source) for name, source in sources.items() if name in ids]:
            inbound_media.media_pending(transaction, files)
            done.new_files = len(files)

    def _write_account_events(self, transaction: Transaction, rows: Sequence[_ParsedRow], done: _Batch) -> None:
        found = [(event, row.journal_id) for row in rows for event in row.events.account_events]
        if found:
            new = inbound.add_account_events(transaction, self._kind, found)
            done.account_events = len(new)
            account_events.apply(transaction, [event for event, _ in found if event.name in new])

    def _write_door_events(self, transaction: Transaction, rows: Sequence[_ParsedRow]) -> None:
        """Keep when connections' webhooks arrived, and what proves their doors."""
        if about := {connection_id for row in rows for connection_id in row.events.door_events}:
            connections.touch(transaction, about)
        proofs = [
            DoorEvent(connection_id=connection_id, received_at=row.received_at, happened_at=happened_at)
            for row in rows
            for connection_id, happened_at in row.events.door_events.items()
            # without an instant of its own it may be as old as the provider's retries
            if happened_at is not None
        ]
        if proofs:
            webhook_evidence.note(transaction, proofs)
            if monotonic() >= self._prune_at:
                webhook_evidence.prune(transaction)
                self._prune_at = monotonic() + _PRUNE_S

    def _account(self, batch: _Batch) -> None:
        self._lag_s = batch.oldest_s if not batch.rows else 0.0 if batch.rows < self._most else batch.oldest_s
        self.received += batch.new_messages
        if batch.new_files:
            self._files_came()
        for kind, count in batch.counts.items():
            self._events.labels(kind).inc(count)
        for connection_id, reason in batch.paused.items():
            log.warning("connection_paused", connection_id=connection_id, reason=reason)
        for journal_id, outcome in batch.with_problems:
            log.warning("webhook_not_understood", journal_id=journal_id, outcome=outcome)
        if batch.account_events:
            log.info("account_events_kept", events=batch.account_events)


def _pause(transaction: Transaction, connection_id: int, pause: ConnectionPause) -> bool:
    if pause.for_s is None:
        return connections.pause(transaction, connection_id, pause.reason)
    return bool(pauses.pause_for(transaction, connection_id, pause.reason, pause.for_s))


def _is_user_id(chat: str) -> bool:
    """Whether a chat is named by a business-scoped user id."""
    return "." in chat and "@" not in chat


def _in_known_chat(message: InboundMessage, phones: Mapping[tuple[int, str], str]) -> InboundMessage:
    """Return a message in the chat of its writer's number where that is known: somebody who hides his number stays in the chat that he had."""
    number = phones.get((message.connection_id, message.chat_id))
    return message if number is None else replace(message, chat_id=number)
