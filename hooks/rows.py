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


def waiting_after(transaction: Transaction, hook_id: int, position: Position) -> frozenset[Position]:
    """Return which events after a position wait."""
    rows = transaction.rows("waiting_events_after", hook_id=hook_id, xid=position.xid, event_id=position.id)
    return frozenset(Position(row["xid"], row["event_id"]) for row in rows)


def due(transaction: Transaction, hook_id: int, *, in_hand: Sequence[str], most: int, each: int) -> list[Row]:
    """Return events of up to `most` conversations whose first one is due again, in order, up to `each` of each:
    (conversation, xid, event_id, message_id, attempts, first_at). `in_hand`: conversations that are left out.
    """
    return transaction.rows("due_hook_retries", hook_id=hook_id, in_hand=list(in_hand), most=most, each=each)


def next_due_s(transaction: Transaction, hook_id: int, *, in_hand: Sequence[str]) -> float | None:
    """Return the seconds until something is due again, below zero if it is; None: nothing waits. `in_hand`:
    conversations that are left out.
    """
    after_s: float | None = transaction.one("next_hook_retry", hook_id=hook_id, in_hand=list(in_hand))["after_s"]
    return after_s


@dataclass(kw_only=True)
class SubscriberSettlement:
    """What is written about one subscriber.

    Attributes:
        hook_id, version: of its row, as it was read. position: everything up to here is delivered or kept; None:
            unchanged. attempts: for the log. kept: events that wait or are dead. done: positions of kept events that
            are delivered. taken, failed: whether some event was. is_back: one was taken by a subscriber that had taken
            nothing. gone: the subscriber wants nothing more.
    """

    hook_id: int
    version: int
    position: Position | None = None
    attempts: list[Mapping[str, Any]] = field(default_factory=list)
    kept: list[Mapping[str, Any]] = field(default_factory=list)
    done: list[Position] = field(default_factory=list)
    taken: bool = False
    failed: bool = False
    is_back: bool = False
    gone: bool = False

    def include(self, later: SubscriberSettlement) -> None:
        """Add what is written about later events of the same subscriber; the position stays."""
        self.attempts += later.attempts
        self.kept += later.kept
        self.done += later.done
        self.taken, self.failed = self.taken or later.taken, self.failed or later.failed
        self.is_back, self.gone = self.is_back or later.is_back, self.gone or later.gone

    @property
    def weight(self) -> int:
        """Rows that it writes, about."""
        return 1 + len(self.attempts) + len(self.kept) + len(self.done)


def settle(
    transaction: Transaction, settlements: Sequence[SubscriberSettlement], *, incarnation: str
) -> list[Row | None]:
    """Write them in one statement. Returns for each the row with `failing_s`, for how long its subscriber has taken
    nothing; None when that is not this incarnation's any more, or was changed.
    """
    hooks: dict[int, dict[str, Any]] = {}
    for one in settlements:
        # two about one subscriber: a page of the stream, and what was tried again
        row = hooks.setdefault(
            one.hook_id,
            {"id": one.hook_id, "version": one.version, "xid": None, "event_id": None, "taken": False, "failed": False},
        )
        row["taken"], row["failed"] = row["taken"] or one.taken, row["failed"] or one.failed
        if one.position is not None:
            row["xid"], row["event_id"] = one.position.xid, one.position.id
    # a row once: what is read again from an earlier position may be kept twice at the same time
    kept = {
        (one.hook_id, event["xid"], event["event_id"]): {"hook_id": one.hook_id, **event}
        for one in settlements
        for event in one.kept
    }
    rows = transaction.rows(
        "settle_hooks",
        incarnation=incarnation,
        hooks=records(list(hooks.values())),
        attempts=records([{"hook_id": one.hook_id, **attempt} for one in settlements for attempt in one.attempts]),
        kept=records(list(kept.values())),
        done_hooks=[one.hook_id for one in settlements for _ in one.done],
        done_xids=[position.xid for one in settlements for position in one.done],
        done_ids=[position.id for one in settlements for position in one.done],
    )
    written = {row["id"]: row for row in rows}
    return [written.get(one.hook_id) for one in settlements]


def hurry(transaction: Transaction, hook_id: int) -> None:
    """Let everything that waits for a subscriber be due now."""
    transaction.execute("hurry_hook_retries", hook_id=hook_id)


def disable(transaction: Transaction, *, hook_id: int, incarnation: str, reason: str) -> None:
    """End a subscriber, with an event."""
    transaction.execute("disable_hook", hook_id=hook_id, incarnation=incarnation, reason=reason)


def add_export(transaction: Transaction, name: str) -> None:
    """Begin an export of events, from the end of the stream on, unless there is one of this name."""
    transaction.execute("add_event_export", name=name)


def lease_export(transaction: Transaction, name: str, incarnation: str, lease_s: float) -> Row | None:
    """Make an incarnation the one that exports, or keep it so. Returns (xid, event_id), None while another one does."""
    return transaction.row("lease_event_export", name=name, incarnation=incarnation, lease_s=lease_s)


def move_export(transaction: Transaction, name: str, incarnation: str, position: Position, lease_s: float) -> bool:
    """Write how far an export has come. Returns whether it is still this incarnation's."""
    return bool(
        transaction.execute(
            "move_event_export",
            name=name,
            incarnation=incarnation,
            xid=position.xid,
            event_id=position.id,
            lease_s=lease_s,
        )
    )


def end_export(transaction: Transaction, name: str, incarnation: str) -> None:
    """Move an export to the end of the stream."""
    transaction.execute("end_event_export", name=name, incarnation=incarnation)


def release_export(transaction: Transaction, incarnation: str) -> None:
    """Give back what an incarnation exports."""
    transaction.rows("release_event_exports", incarnation=incarnation)
