"""Figures of numbers that moved in from a single-process server: typed functions for `queries/moving.sql`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.store.pool import Transaction


def newest_message(transaction: Transaction) -> int:
    """Return the id of the newest message."""
    return int(transaction.one("newest_message_id")["id"])


def figures(transaction: Transaction, connection_ids: Iterable[int], *, after: int) -> dict[str, Any]:
    """Return (failed, ended, oldest_s) of messages of connections with ids beyond `after`."""
    return dict(transaction.one("moved_figures", connection_ids=list(connection_ids), after=after))


def is_sending(transaction: Transaction, connection_id: int) -> bool:
    """Return whether a message of a connection is being sent right now."""
    return bool(transaction.one("messages_in_hand", connection_id=connection_id)["is_sending"])
