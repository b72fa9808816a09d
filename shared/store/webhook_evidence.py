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


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedOutage:
    """A time in which a host could not receive webhooks; in seconds before now, since clocks of hosts differ."""

    began_ago_s: float
    ended_ago_s: float
    is_death: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Elsewhere:
    """What is known about the webhooks of a kind on other hosts.

    Attributes:
        outages: those that ended within the time that was asked for. uncovered_s: since some host last said that it
            lives; what it has refused since then, nothing says.
    """

    outages: Sequence[SharedOutage]
    uncovered_s: float


def share_outages(transaction: Transaction, *, host: str, kind: str, outages: Sequence[SharedOutage]) -> None:
    """Share outages of this host with the others."""
    transaction.execute(
        "share_webhook_outages",
        host=host,
        kind=kind,
        began=[one.began_ago_s for one in outages],
        ended=[one.ended_ago_s for one in outages],
        deaths=[one.is_death for one in outages],
    )


def elsewhere(transaction: Transaction, *, host: str, kind: str, since_s: float) -> Elsewhere:
    """Return what other hosts have said about outages that ended in the last `since_s` seconds."""
    rows = transaction.rows("webhook_outages_elsewhere", host=host, kind=kind, since_s=since_s)
    return Elsewhere(
        outages=[
            SharedOutage(began_ago_s=row["began_ago_s"], ended_ago_s=row["ended_ago_s"], is_death=row["is_death"])
            for row in rows
            if row["is_outage"]
        ],
        uncovered_s=max((row["ended_ago_s"] for row in rows if not row["is_outage"]), default=0.0),
    )


def prune(transaction: Transaction) -> None:
    """Delete what is too old to matter, a batch at a time."""
    transaction.execute("prune_webhook_evidence")
    transaction.execute("prune_webhook_outages")


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
