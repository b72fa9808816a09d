"""What came in: the raw journal and the normalised messages; typed functions for `queries/inbound.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.messages import InboundMessage
from shared.store.pool import Row, Transaction, records


@dataclass(frozen=True, kw_only=True, slots=True)
class RawEvent:
    """One event as it came: `source` names the provider's door, `connection_id` is None when only the body tells."""

    source: str
    body: bytes
    connection_id: int | None = None


def journal(transaction: Transaction, kind: str, events: Sequence[RawEvent]) -> list[int]:
    """Keep raw events. Returns their journal ids."""
    rows = transaction.rows(
        "journal_events",
        kind=kind,
        sources=[event.source for event in events],
        connection_ids=[event.connection_id for event in events],
        bodies=[event.body for event in events],
    )
    return [row["id"] for row in rows]


def take(transaction: Transaction, kind: str, *, most: int) -> list[Row]:
    """Lock a batch of raw events that nobody has processed, oldest first: (id, source, connection_id, body, received_at, attempts).

    The commit of what is made of them does not wait for the disk: a crash of PostgreSQL that takes it takes the mark that they were processed with it,
    and they are processed again.
    """
    transaction.execute("commit_unforced")
    return [{**row, "body": bytes(row["body"])} for row in transaction.rows("take_journal", kind=kind, most=most)]


def finish(transaction: Transaction, outcomes: dict[int, str]) -> None:
    """Mark raw events as processed; `outcomes` says by id how it went ("" for well)."""
    transaction.execute("finish_journal", ids=list(outcomes), outcomes=list(outcomes.values()))


def insert(transaction: Transaction, messages: Sequence[tuple[InboundMessage, int | None]]) -> list[Row]:
    """Keep normalised messages, each with its journal id. Returns (id, connection_id, provider_id) of those that were new."""
    rows = [
        {
            "connection_id": message.connection_id,
            "journal_id": journal_id,
            "provider_id": message.provider_id,
            "chat_id": message.chat_id,
            "sender": message.sender,
            "sender_name": message.sender_name,
            "from_me": message.from_me,
            "type": message.type,
            "content": message.content,
            "context": message.context,
            "at": message.at.isoformat(),
        }
        for message, journal_id in messages
    ]
    return transaction.rows("insert_inbound", rows=records(rows))


def heard_since(transaction: Transaction, source: str, since: datetime, *, ago_s: float = 0.0) -> bool:
    """Return whether anything came through a source's door after an instant, and at least `ago_s` ago: the proof that its webhooks are alive."""
    row = transaction.row("last_event_at", source=source, since=since, ago_s=ago_s)
    return bool(row and row["at"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """Raw events that wait to be processed: how many, and for how long the oldest has waited, in seconds (0 when none does)."""

    events: int
    oldest_s: float


def backlog(transaction: Transaction, kind: str) -> Backlog:
    """Return what waits to be processed."""
    row = transaction.one("journal_backlog", kind=kind)
    return Backlog(events=row["events"], oldest_s=row["oldest_s"])
