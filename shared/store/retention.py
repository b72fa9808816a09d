"""Deletes what was kept long enough, a small batch in each transaction: typed functions for `queries/retention.sql`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.store.pool import Transaction

TABLES: Final = {"process_metrics": "prune_metrics", "process_events": "prune_process_events", "inbound_journal": "prune_journal"}
"""What grows for ever and is kept for a time only, each with its statement. Messages and their history are not among it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one look came to.

    Attributes:
        deleted: rows that are gone. after: id to go on from; None: nothing further is old enough.
    """

    deleted: int
    after: int | None


def prune(transaction: Transaction, table: str, *, age_s: float, after: int, most: int) -> Batch:
    """Look at the next `most` rows of one of `TABLES` with ids beyond `after`, and delete those older than `age_s` seconds.

    Rows are looked at in the order in which they were written, so that neither an index on their time nor the young ones are read.
    """
    row = transaction.one(TABLES[table], age_s=age_s, after=after, most=most)
    goes_on = row["looked"] == most and row["all_old"]
    return Batch(deleted=row["deleted"], after=row["last"] if goes_on else None)
