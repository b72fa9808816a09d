"""Deletes what was kept long enough, a small batch in each transaction: typed functions for `queries/retention.sql`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.store.pool import Row, Transaction


@dataclass(frozen=True, slots=True)
class Batch:
    """What one look came to.

    Attributes:
        deleted: rows that are gone. after: id to go on from; None: nothing further is old enough.
    """

    deleted: int
    after: int | None


def prune_metrics(transaction: Transaction, *, age_s: float, after: int, most: int) -> Batch:
    """Look at the next `most` figures of processes with ids beyond `after`, and delete those older than `age_s` seconds.

    Rows are looked at in the order in which they were written, so that neither an index on their time nor the young ones are read.
    """
    return _batch(transaction.one("prune_metrics", age_s=age_s, after=after, most=most), most)


def prune_events(transaction: Transaction, *, age_s: float, after: int, most: int) -> Batch:
    """As `prune_metrics`, for what the orchestrator saw."""
    return _batch(transaction.one("prune_process_events", age_s=age_s, after=after, most=most), most)


def prune_journal(transaction: Transaction, *, age_s: float, after: int, most: int) -> Batch:
    """As `prune_metrics`, for raw inbound events; those that wait, or could not be read, stay."""
    return _batch(transaction.one("prune_journal", age_s=age_s, after=after, most=most), most)


def prune_session_events(transaction: Transaction, *, age_s: float, after: int, most: int) -> Batch:
    """As `prune_metrics`, for what happened to browser sessions."""
    return _batch(transaction.one("prune_session_events", age_s=age_s, after=after, most=most), most)


TABLES: Final = {
    "process_metrics": prune_metrics,
    "process_events": prune_events,
    "inbound_journal": prune_journal,
    "session_events": prune_session_events,
}
"""What grows for ever and is kept for a time only. Messages and their history are not among it."""


def _batch(row: Row, most: int) -> Batch:
    goes_on = row["looked"] == most and row["all_old"]
    return Batch(deleted=row["deleted"], after=row["last"] if goes_on else None)
