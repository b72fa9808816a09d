"""Figures of numbers that moved in from a single-process server: typed functions for `queries/moving.sql`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shared.store.pool import Transaction


def newest_message(transaction: Transaction) -> int:
    """Return the id of the newest message."""
    return int(transaction.one("newest_message_id")["id"])


def figures(transaction: Transaction, connection_ids: Iterable[int], *, after: int) -> dict[str, Any]:
    """Return (failed, ended, oldest_s) of messages of connections with ids beyond `after`, and which is `paused`."""
    return dict(transaction.one("moved_figures", connection_ids=list(connection_ids), after=after))


@dataclass(frozen=True, kw_only=True, slots=True)
class MessagesLeft:
    """Messages of a connection. `sending`: being sent right now. `due`: that wait and could be sent."""

    sending: int
    due: int


def left(transaction: Transaction, connection_id: int) -> MessagesLeft:
    """Return how many messages of a connection have not been sent."""
    return MessagesLeft(**transaction.one("messages_left", connection_id=connection_id))
