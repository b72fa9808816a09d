"""Turns webhooks of the journal into rows: receipts, messages, people, account events, and evidence of each endpoint.

The pipeline (`shared/inbound/pipeline.py`) reads the journal, and commits what is written here with the mark that it
was processed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple

from meta.accounts.registry import AccountRegistry
from meta.events import reading
from meta.events.parsed import ConnectionPause, ParsedEvents, merged
from meta.events.values import whole_id
from meta.inbound import account_events
from meta.inbound.event_owners import ConnectionIndex
from shared.clock import monotonic
from shared.delivery.message_spans import apply_receipts
from shared.inbound.pipeline import JournalPipeline, JournalRow, Processed
from shared.inbound_events import Arrived
from shared.logs import logger
from shared.messages import InboundMessage
from shared.process.beats import LoopBeat
from shared.process.metrics import Metrics
from shared.process.tracing import NO_TRACER, Tracer, TraceSpan
from shared.store import connections, erasure, inbound, inbound_media, pauses, webhook_evidence
from shared.store import receipts as store_receipts
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.store.webhook_evidence import DoorEvent

log = logger(__name__)

_PRUNE_S: Final = 30.0
"""Seconds between two deletions of old evidence, a thousand rows at a time. A connection adds one row a second at most,
so that each instance keeps up with some thirty busy numbers.
"""


@dataclass(kw_only=True)
class _Written:
    """What one transaction wrote. `counts`: parts of webhooks by kind. `outcomes`: what was not understood, by journal
    id. `arrived`: messages of companies that keep conversations. `spans`: of statuses.
    """

    new_messages: int = 0
    new_files: int = 0
    account_events: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    outcomes: Mapping[int, str] = field(default_factory=dict)
    paused: dict[int, str] = field(default_factory=dict)
    arrived: list[Arrived] = field(default_factory=list)
    spans: Sequence[TraceSpan] = ()


class _ParsedRow(NamedTuple):
    """One raw event of the journal, read."""

    journal_id: int
    received_at: datetime
    is_replay: bool
    events: ParsedEvents


class WebhookProcessor:
    """Processes one kind's webhooks, next to other instances that do the same.

    Args:
        accounts: the connections. kind: whose journal. files_came: called when there are files to fetch. tracer:
            records what statuses say.
    """

    def __init__(
        self,
        store: Store,
        accounts: AccountRegistry,
        metrics: Metrics,
        *,
        kind: str,
        files_came: Callable[[], None] = lambda: None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._tracer = tracer
        self._accounts, self._kind, self._files_came = accounts, kind, files_came
        self._pipeline = JournalPipeline(store, metrics, kind=kind, handle=self._handle, committed=self._report)
        # monotonic; each instance prunes for itself, and locked rows are skipped
        self._prune_at = 0.0
        self._events = metrics.counter("meta_events", "Parts of webhooks, by what they are.", ("part",))
        self._received = metrics.counter("messages_received", "Messages that came in, each counted once.")

    @property
    def received(self) -> int:
        """Messages that came in since this process started."""
        return int(self._received.labels().value)

    @property
    def lag_s(self) -> float:
        """Age of the oldest raw event that waited at the last look, in seconds."""
        return self._pipeline.lag_s

    def wake(self) -> None:
        """Wake the loop: something was journalled."""
        self._pipeline.wake()

    def stop(self) -> None:
        """Take no further batch; `run` returns when the one in hand is written."""
        self._pipeline.stop()

    async def run(self, beat: LoopBeat) -> None:
        """Process until `stop`."""
        await self._pipeline.run(beat)

    async def process(self) -> int:
        """Process one batch. Returns how many rows it had. Raises `StoreUnavailable`."""
        return await self._pipeline.process()

    def _handle(self, transaction: Transaction, rows: Sequence[JournalRow]) -> Processed[_Written]:
        index = ConnectionIndex(self._accounts.connections(), lambda: connections.of_kind(transaction, self._kind))
        parsed = [
            _ParsedRow(
                row.id,
                row.received_at,
                # an operator, or a proof of a connection, has asked for it again
                row.attempts > 0,
                reading.parse_webhook(row.body, row.received_at, index.for_door(row.connection_id)),
            )
            for row in rows
        ]
        return self._write(transaction, parsed)

    def _write(self, transaction: Transaction, rows: Sequence[_ParsedRow]) -> Processed[_Written]:
        """Write the contents of webhooks. A replayed event happened long ago: it is no evidence about the present and
        pauses nothing.
        """
        done = _Written()
        whole = merged(row.events for row in rows)
        fresh = [row for row in rows if not row.is_replay]
        # in the transaction that marks the rows as processed: a crash repeats all of it or nothing
        found, done.spans = apply_receipts(transaction, whole.receipts, self._tracer)
        ours = {
            (receipt.connection_id, receipt.provider_id)
            for receipt, is_found in zip(whole.receipts, found, strict=True)
            if is_found
        }
        # after the receipts above: a watermark names no message, so it must find those that this batch marked as sent
        store_receipts.apply(transaction, inbound.receipts_up_to(transaction, whole.watermarks))
        # people before messages: a message is filed in the chat of its sender's number, which the same webhook may
        # contain
        inbound.see(transaction, whole.contacts, whole.moves, whole.choices)
        self._write_messages(transaction, rows, ours, done)
        self._write_account_events(transaction, rows, done)
        # sorted: two instances lock connections in the same order, and never wait for each other in a circle
        for connection_id, pause in sorted(merged(row.events for row in fresh).pauses.items()):
            if _pause(transaction, connection_id, pause):
                done.paused[connection_id] = pause.reason
        self._write_door_events(transaction, fresh)
        outcomes = {row.journal_id: outcome for row in rows if (outcome := row.events.outcome())}
        done.counts, done.outcomes = whole.counts, outcomes
        return Processed(done, outcomes, done.arrived)

    @staticmethod
    def _write_messages(
        transaction: Transaction, rows: Sequence[_ParsedRow], ours: Set[tuple[int, str]], done: _Written
    ) -> None:
        """Write messages, and echoes of other installations. `ours`: what receipts found, by the provider's id."""
        arrived = [(message, row.journal_id) for row in rows for message in row.events.messages]
        echoes = [(echo, row.journal_id) for row in rows for echo in row.events.echoes]
        arrived += [one for one in echoes if not _is_in(ours, one[0])]
        erasure.note_copies(
            transaction,
            {
                (echo.connection_id, whole_id(echo.provider_id), journal_id)
                for echo, journal_id in echoes
                if _is_in(ours, echo)
            },
        )
        if not arrived:
            return
        phones = inbound.phones_of(
            transaction,
            [(message.connection_id, message.chat_id) for message, _ in arrived if _is_user_id(message.chat_id)],
        )
        # returns only the rows that were not there: a repeated webhook makes no second message, no file and no event
        new = inbound.insert(
            transaction, [(_in_known_chat(message, phones), journal_id) for message, journal_id in arrived]
        )
        done.new_messages = len(new)
        done.arrived = [row["arrived"] for row in new if row["arrived"]]
        ids = {(row["connection_id"], row["provider_id"]): row["id"] for row in new}
        # by name, so that one message that arrived twice in this batch has one file
        sources = {(source.connection_id, source.provider_id): source for row in rows for source in row.events.media}
        if files := [(ids[name], source) for name, source in sources.items() if name in ids]:
            inbound_media.media_pending(transaction, files)
            done.new_files = len(files)

    def _write_account_events(self, transaction: Transaction, rows: Sequence[_ParsedRow], done: _Written) -> None:
        found = [(event, row.journal_id) for row in rows for event in row.events.account_events]
        if found:
            new = inbound.add_account_events(transaction, self._kind, found)
            done.account_events = len(new)
            # only those that were not there: applying an old event again could undo a newer one
            account_events.apply(transaction, [event for event, _ in found if event.name in new])

    def _write_door_events(self, transaction: Transaction, rows: Sequence[_ParsedRow]) -> None:
        """Record when each connection's webhooks arrived, as evidence that its endpoint receives them."""
        if about := {connection_id for row in rows for connection_id in row.events.door_events}:
            connections.touch(transaction, about)
        proofs = [
            DoorEvent(connection_id=connection_id, received_at=row.received_at, happened_at=happened_at)
            for row in rows
            for connection_id, happened_at in row.events.door_events.items()
            # without an instant of its own it may be as old as the provider's oldest retry
            if happened_at is not None
        ]
        if proofs:
            webhook_evidence.note(transaction, proofs)
            if monotonic() >= self._prune_at:
                webhook_evidence.prune(transaction)
                self._prune_at = monotonic() + _PRUNE_S

    def _report(self, written: _Written) -> None:
        """Count and log what was committed."""
        self._received.inc(written.new_messages)
        if written.new_files:
            # after the commit: before it the fetcher could not see the rows
            self._files_came()
        for kind, count in written.counts.items():
            self._events.labels(kind).inc(count)
        for connection_id, reason in written.paused.items():
            log.warning("connection_paused", connection_id=connection_id, reason=reason)
        for span in written.spans:
            self._tracer.record(span)
        for journal_id, outcome in written.outcomes.items():
            log.warning("webhook_not_understood", journal_id=journal_id, outcome=outcome)
        if written.account_events:
            log.info("account_events_kept", events=written.account_events)


def _pause(transaction: Transaction, connection_id: int, pause: ConnectionPause) -> bool:
    if pause.for_s is None:
        return connections.pause(transaction, connection_id, pause.reason)
    return bool(pauses.pause_for(transaction, connection_id, pause.reason, pause.for_s))


def _is_in(ours: Set[tuple[int, str]], echo: InboundMessage) -> bool:
    return (echo.connection_id, whole_id(echo.provider_id)) in ours


def _is_user_id(chat: str) -> bool:
    """Whether a chat is named by a business-scoped user id."""
    return "." in chat and "@" not in chat


def _in_known_chat(message: InboundMessage, phones: Mapping[tuple[int, str], str]) -> InboundMessage:
    """Return a message in the chat of its sender's number where that is known: a person who hides the number keeps the
    chat.
    """
    number = phones.get((message.connection_id, message.chat_id))
    return message if number is None else replace(message, chat_id=number)
