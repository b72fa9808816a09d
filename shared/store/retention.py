"""Deletes what was kept long enough, a small batch in each transaction: typed functions for `queries/retention.sql`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from shared.store.pool import Row, Transaction


@dataclass(frozen=True, slots=True)
class Batch:
    """Result of one batch.

    Attributes:
        deleted: rows that are gone. after: id to go on from; None: nothing further is old enough.
    """

    deleted: int
    after: int | None


def prune_journal(transaction: Transaction, *, age_s: float, after: int, most: int) -> Batch:
    """Read the next `most` raw inbound events with ids beyond `after`, and delete those older than `age_s` seconds;
    those that wait, or could not be read, stay.

    Rows are looked at in the order in which they were written, so that neither an index on their time nor the young
    ones are read.
    """
    return _batch(transaction.one("prune_journal", age_s=age_s, after=after, most=most), most)


def prune_messages(transaction: Transaction, *, age_s: float, after: int, most: int) -> Batch:
    """As `prune_journal`, for messages of ours that are finished; open ones stay, however old."""
    return _batch(transaction.one("prune_messages", age_s=age_s, after=after, most=most), most)


def prune_inbound_messages(transaction: Transaction, *, age_s: float, after: int, most: int) -> Batch:
    """As `prune_journal`, for messages that came in, with their files' rows."""
    return _batch(transaction.one("prune_inbound_messages", age_s=age_s, after=after, most=most), most)


def prune_message_index(transaction: Transaction, *, age_s: float, after: int, most: int) -> Batch:
    """As `prune_metrics`, for the index of messages that were deleted."""
    return _batch(transaction.one("prune_message_index", age_s=age_s, after=after, most=most), most)


def prune_names(transaction: Transaction, *, age_s: float) -> int:
    """Forget names by which repeated events are known, and positions in sources of events, that are older than `age_s`
    seconds. Returns how many.
    """
    return (
        transaction.execute("prune_event_names", age_s=age_s)
        + transaction.execute("prune_event_positions", age_s=age_s)
        + transaction.execute("prune_copies")
    )


def prune_rows(transaction: Transaction, *, statement: str, age_s: float, most: int) -> int:
    """Delete old rows by a statement that a kind's row names (`shared.kinds.Retention`). Returns how many; fewer than
    `most`: no more are old.
    """
    return len(transaction.rows(statement, age_s=age_s, most=most))


Prune: TypeAlias = Callable[..., Batch]

TABLES: Final[Mapping[str, tuple[str, Prune]]] = {
    "inbound_journal": ("retention_days", prune_journal),
    "messages": ("message_retention_days", prune_messages),
    "inbound_messages": ("message_retention_days", prune_inbound_messages),
    # after both: only what they have deleted goes
    "message_index": ("message_retention_days", prune_message_index),
}
"""Tables whose old rows are deleted, each with its setting and its statement. What one kind alone writes stands on that
kind's row.
"""
REPEATED_S: Final = 14 * 86400.0
"""Least time, in seconds, for which names of events are kept: twice the seven days for which Meta repeats a webhook
(Graph API, Webhooks). Deleted earlier, a repetition would count as a new event.
"""


def _batch(row: Row, most: int) -> Batch:
    # A full batch of old rows: more may follow. One young row ends the pass, since ids follow the time.
    goes_on = row["looked"] == most and row["all_old"]
    return Batch(deleted=row["deleted"], after=row["last"] if goes_on else None)
