"""The stream of events: typed functions for `queries/events.sql`. Followed by `shared.events.reader`; written by the
statements that change things.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from shared.store.pool import Row, Transaction


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One row of `events`.

    Attributes:
        xid: the transaction that wrote it. written_at: when that began. at: when it happened. type: see
            `shared.events.types`. kind: process kind.
        state: the subject's state after it. data: what else is known, by type.
    """

    id: int
    xid: int
    written_at: datetime
    at: datetime
    type: str
    company_id: str | None
    kind: str | None
    connection_id: int | None
    message_id: int | None
    slot: str | None
    incarnation: str | None
    state: str | None
    attempt: int | None
    code: str | None
    detail: str | None
    data: Mapping[str, Any] | None


_FIELDS: Final = tuple(column.name for column in fields(Event))


@dataclass(frozen=True, kw_only=True, slots=True)
class Horizon:
    """Up to where the stream is final.

    Attributes:
        oldest: the oldest transaction that still runs. next: the next one that will begin. at: when this was asked, by
            the database's clock.
    """

    oldest: int
    next: int
    at: datetime


def horizon(transaction: Transaction) -> Horizon:
    """Return up to where the stream is final now."""
    return Horizon(**transaction.one("event_horizon"))


def read(
    transaction: Transaction,
    *,
    after: tuple[int, int],
    before: int,
    since: datetime | None = None,
    company_id: str | None = None,
    types: Sequence[str] | None = None,
    subjects: Sequence[str] = (),
    most: int,
) -> list[Event]:
    """Return events after a position (xid, id) whose transactions are below `before`, which must not be above the
    horizon; in that order.

    Args:
        since: nothing that was written before this instant is looked for. types, subjects: only these types, and all
            types of these subjects; types None: everything.
    """
    rows = transaction.rows(
        "read_events",
        xid=after[0],
        id=after[1],
        before=before,
        since=since,
        company_id=company_id,
        types=None if types is None else list(types),
        subjects=list(subjects),
        most=most,
    )
    return [Event(**{name: row[name] for name in _FIELDS}) for row in rows]


def at(transaction: Transaction, positions: Sequence[tuple[int, int, int | None]]) -> list[Event]:
    """Return the events at these positions (xid, id, id of the message that it is about), in their order; those that
    are gone are left out. Without the message's id an event of a message is found slowly.
    """
    xids, ids, message_ids = ([one[place] for one in positions] for place in range(3))
    rows = transaction.rows("events_at", xids=xids, ids=ids, message_ids=message_ids)
    return [Event(**{name: row[name] for name in _FIELDS}) for row in rows]


def dropped(transaction: Transaction) -> Mapping[str, tuple[int, int]]:
    """Return by part of the events (`events_messages`, `events_others`) the last event (xid, id) that retention has
    dropped; parts of which nothing was dropped are left out.
    """
    return {row["parent"]: (row["xid"], row["id"]) for row in transaction.rows("dropped_events")}


def messages_of(transaction: Transaction, ids: Sequence[int]) -> Mapping[int, Row]:
    """Return the messages with these ids as they are now; those that are gone are left out."""
    return {row["id"]: row for row in transaction.rows("messages_of_events", ids=list(ids))} if ids else {}


def connections_of(transaction: Transaction, ids: Sequence[int]) -> Mapping[int, Row]:
    """Return (phone_index, connection_type) of connections by id; those that are gone are left out."""
    return {row["id"]: row for row in transaction.rows("connections_of_events", ids=list(ids))} if ids else {}
