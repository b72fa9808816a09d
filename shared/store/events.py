"""The stream of events: typed functions for `queries/events.sql`. Followed by `shared.events.reader`; written by the
statements that change things.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from shared.store.pool import Transaction

PARTITIONS_AHEAD: Final = 3
"""Days for which partitions are made in advance: as long as the recorder may be away without a row in a default
partition, from which it would have to be moved under an exclusive lock.
"""


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


def horizon(transaction: Transaction) -> tuple[int, int]:
    """Return the oldest transaction that still runs, and the next one that will begin."""
    row = transaction.one("event_horizon")
    return row["oldest"], row["next"]


def read(
    transaction: Transaction,
    *,
    after: tuple[int, int],
    before: int,
    company_id: str | None = None,
    types: Sequence[str] | None = None,
    most: int,
) -> list[Event]:
    """Return events after a position (xid, id) whose transactions are below `before`, which must not be above the
    horizon; in that order.
    """
    rows = transaction.rows(
        "read_events",
        xid=after[0],
        id=after[1],
        before=before,
        company_id=company_id,
        types=None if types is None else list(types),
        most=most,
    )
    return [Event(**{name: row[name] for name in _FIELDS}) for row in rows]


def make_partitions(transaction: Transaction, *, ahead: int = PARTITIONS_AHEAD) -> int:
    """Make the partitions of today and of `ahead` further days, and move there what went to a default partition.
    Returns how many were made.
    """
    return int(transaction.one("make_event_partitions", ahead=ahead)["made"])


def drop_partitions(transaction: Transaction, parent: str, *, age_s: float) -> int:
    """Drop the partitions of `parent` (`events_messages`, `events_others`) that ended `age_s` seconds ago. Returns how
    many there were.
    """
    return int(transaction.one("drop_event_partitions", parent=parent, age_s=age_s)["dropped"])
