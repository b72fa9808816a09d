"""What operators read of the inbound journal, and processing it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.store.pool import Row, Transaction


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which raw events are meant; whatever is not given leaves none out.

    Attributes:
        ids: journal ids. since, until: when they came; the latter exclusive. named: only those with an outcome. failed:
            only those that could not be processed at all. waiting: only those that are not processed yet. words: what
            stands in the outcome.
    """

    ids: tuple[int, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    named: bool = False
    failed: bool = False
    waiting: bool = False
    words: str = ""


def rows(transaction: Transaction, kind: str, choice: Choice, *, below: int | None = None, most: int) -> list[Row]:
    """Return raw events without their bodies, newest first, with ids below `below`."""
    return transaction.rows(
        "journal_rows",
        kind=kind,
        ids=list(choice.ids) or None,
        since=choice.since,
        until=choice.until,
        named=choice.named,
        failed=choice.failed,
        waiting=choice.waiting,
        words=choice.words,
        below=below,
        most=most,
    )


def row(transaction: Transaction, journal_id: int) -> Row | None:
    """Return one raw event with its body, None when there is none of this id."""
    found = transaction.row("journal_row", id=journal_id)
    return {**found, "body": bytes(found["body"])} if found else None


def row_of_message(transaction: Transaction, company_id: str, message_id: int) -> Row | None:
    """Return the raw event that a received message came with, None when it is not kept (any more)."""
    found = transaction.row("journal_row_of_message", company_id=company_id, message_id=message_id)
    return {**found, "body": bytes(found["body"])} if found else None


def replay(transaction: Transaction, ids: Sequence[int]) -> list[int]:
    """Let raw events be processed again. Returns those that were processed before; the others wait anyway."""
    return [found["id"] for found in transaction.rows("replay_journal", ids=list(ids))]


def outcomes(transaction: Transaction, ids: Sequence[int]) -> list[Row]:
    """Return (id, is_processed, outcome) of raw events."""
    return transaction.rows("journal_outcomes", ids=list(ids))


def replay_unowned(transaction: Transaction, connection_id: int, problem: str) -> int:
    """Let raw events be processed again that had no owner before a connection was proved; `problem`: their outcome.
    Returns how many.
    """
    return len(transaction.rows("replay_unowned", connection_id=connection_id, problem=problem))
