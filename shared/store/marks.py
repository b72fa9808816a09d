"""Reactions to messages, and files that came with them; typed functions for `queries/marks.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.store.pool import Row, Transaction


def reactions(transaction: Transaction, company_id: str, targets: Sequence[str]) -> Mapping[str, list[tuple[str, str]]]:
    """Return reactions to messages: (sender, emoji) by the provider's id of the message; sender is empty for the
    company itself.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    if targets:
        for row in transaction.rows("reactions_to", company_id=company_id, targets=list(targets)):
            found.setdefault(row["target"], []).append((row["sender"], row["emoji"]))
    return found


def received_files(transaction: Transaction, ids: Sequence[int]) -> Mapping[int, Row]:
    """Return the state of files that came with messages: (state, sha256, mimetype, size, reason) by the message's
    id.
    """
    return {row["message_id"]: row for row in transaction.rows("received_files", ids=list(ids))} if ids else {}


def received(transaction: Transaction, company_id: str, message_id: int) -> Row | None:
    """Return one message of a company that came in, None when it has none with this id."""
    return transaction.row("received_by_id", company_id=company_id, id=message_id)
