"""What webhooks prove about each connection's webhook endpoint; typed functions for `queries/webhook_evidence.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.store.pool import Transaction


@dataclass(frozen=True, kw_only=True, slots=True)
class DoorEvent:
    """An event about one connection.

    Attributes:
        received_at: when its webhook came, by our clock. happened_at: by the provider's clock.
    """

    connection_id: int
    received_at: datetime
    happened_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The first event that proves that an endpoint receives webhooks.

    Attributes:
        received_at: None when there is none. is_read: whether everything that came before it has been processed.
    """

    received_at: datetime | None
    is_read: bool


def note(transaction: Transaction, events: Sequence[DoorEvent]) -> None:
    """Keep what events prove; the provider's clock ahead of ours makes none later than it came."""
    transaction.execute(
        "note_webhook_evidence",
        connection_ids=[event.connection_id for event in events],
        received_at=[event.received_at for event in events],
        # An event cannot happen after it came. With a provider's clock ahead, it would otherwise prove a time that no
        # webhook has covered.
        happened_at=[min(event.happened_at, event.received_at) for event in events],
    )


def prune(transaction: Transaction) -> None:
    """Delete what is too old to matter, a batch at a time."""
    transaction.execute("prune_webhook_evidence")


def first_since(
    transaction: Transaction,
    *,
    kind: str,
    connection_id: int,
    happened_since: datetime,
    received_since: datetime,
    ago_s: float = 0.0,
) -> Evidence:
    """Return the first event about a connection that happened and came after two instants, and came at least `ago_s`
    seconds ago.
    """
    row = transaction.one(
        "webhook_evidence_since",
        kind=kind,
        connection_id=connection_id,
        happened_since=happened_since,
        received_since=received_since,
        ago_s=ago_s,
    )
    return Evidence(received_at=row["received_at"], is_read=row["is_read"])
