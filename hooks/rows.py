"""Typed functions for `queries/hooks.sql`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.events.reader import Position
from shared.store.pool import Row, Transaction, records


def lease(
    transaction: Transaction, *, incarnation: str, in_hand: Sequence[int], most: int, lease_s: float
) -> list[Row]:
    """Make an incarnation the server of subscribers that have none, beside those that it has in hand."""
    return transaction.rows("lease_hooks", incarnation=incarnation, in_hand=list(in_hand), most=most, lease_s=lease_s)


def renew(transaction: Transaction, *, incarnation: str, ids: Sequence[int], lease_s: float) -> Mapping[int, int]:
    """Keep what an incarnation serves. Returns the version of each that it still does."""
    rows = transaction.rows("renew_hooks", incarnation=incarnation, ids=list(ids), lease_s=lease_s)
    return {row["id"]: row["version"] for row in rows}


def release(transaction: Transaction, *, incarnation: str) -> None:
    """Give back what an incarnation serves."""
    transaction.rows("release_hooks", incarnation=incarnation)


def waiting(transaction: Transaction, hook_id: int) -> Counter[str]:
    """Return how many events of which conversations wait."""
    rows = transaction.rows("waiting_conversations", hook_id=hook_id)
    return Counter({row["conversation"]: row["events"] for row in rows})


def due(transaction: Transaction, hook_id: int, *, most: int) -> list[Row]:
    """Return events that are due again: (conversation, xid, event_id, attempts, first_at, next_at)."""
    return transaction.rows("due_hook_retries", hook_id=hook_id, most=most)


@dataclass(kw_only=True)
class SubscriberSettlement:
    """What is written about one subscriber.

    Attributes:
        position: everything up to here is delivered or kept; None: unchanged. attempts: for the log. kept: events that
            wait or are dead. done: positions of kept events that are delivered. taken, failed: whether some event was.
        gone: the subscriber wants nothing more.
    """

    position: Position | None = None
    attempts: list[Mapping[str, Any]] = field(default_factory=list)
    kept: list[Mapping[str, Any]] = field(default_factory=list)
    done: list[Position] = field(default_factory=list)
    taken: bool = False
    failed: bool = False
    gone: bool = False


def settle(
    transaction: Transaction, settlement: SubscriberSettlement, *, hook_id: int, incarnation: str, version: int
) -> Row | None:
    """Write it. Returns for how long the subscriber has taken nothing (`failing_s`), None when it is not this
    incarnation's any more.
    """
    position = settlement.position
    return transaction.row(
        "settle_hook",
        hook_id=hook_id,
        incarnation=incarnation,
        version=version,
        xid=None if position is None else position.xid,
        event_id=None if position is None else position.id,
        taken=settlement.taken,
        failed=settlement.failed,
        attempts=records(settlement.attempts),
        kept=records(settlement.kept),
        done_xids=[one.xid for one in settlement.done],
        done_ids=[one.id for one in settlement.done],
    )


def hurry(transaction: Transaction, hook_id: int) -> None:
    """Let everything that waits for a subscriber be due now."""
    transaction.execute("hurry_hook_retries", hook_id=hook_id)


def disable(transaction: Transaction, *, hook_id: int, incarnation: str, reason: str) -> None:
    """End a subscriber, with an event."""
    transaction.execute("disable_hook", hook_id=hook_id, incarnation=incarnation, reason=reason)
