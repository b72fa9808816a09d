"""What the page of a browser session holds, compared with what we have; typed functions for `queries/pages.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from shared.store.pool import Transaction

_MARGIN_S: Final = 10.0
"""Seconds by which the page's clock and the database's may differ; machines with NTP differ by far less."""


def received(transaction: Transaction, *, connection_id: int, until: datetime) -> None:
    """Record that everything which the page reported until an instant is in the database; an earlier instant changes
    nothing.
    """
    transaction.execute("note_page_position", connection_id=connection_id, until=until)


def position(transaction: Transaction, connection_id: int) -> datetime | None:
    """Return until when everything that the page reported is in the database, None when it never reported anything."""
    row = transaction.row("page_position", connection_id=connection_id)
    return row["heard_until"] if row else None


def known(transaction: Transaction, *, connection_id: int, ids: Sequence[str]) -> set[str]:
    """Return those of these message ids that we have, in either direction; ours count from the moment at which the id
    was chosen.
    """
    return (
        {row["id"] for row in transaction.rows("known_to_us", connection_id=connection_id, ids=list(ids))}
        if ids
        else set()
    )


def is_our_reaction(
    transaction: Transaction, *, connection_id: int, chat_id: str, target: str, emoji: str, at: datetime
) -> bool:
    """Whether a reaction that the page shows as made at an instant is one that we sent, by a process that may be dead
    by now.
    """
    found = transaction.one(
        "is_our_reaction",
        connection_id=connection_id,
        chat_id=chat_id,
        target=target,
        emoji=emoji,
        at=at,
        margin_s=_MARGIN_S,
    )
    return bool(found["ours"])


_EVERY_ID: Final = (1 << 63) - 1


def unread_sends(
    transaction: Transaction,
    *,
    connection_id: int,
    types: Sequence[str],
    days: int,
    most: int,
    below: int | None = None,
) -> tuple[list[str], int | None]:
    """Return the ids of our messages of these types, at most `days` old, that the receiver has not read, newest first.

    Args:
        most: size of a page. below: what the page before returned beside its ids; None: the first page.
    Returns:
        The provider's ids, and the `below` of the next page; None: there is none.
    """
    rows = transaction.rows(
        "unread_sends",
        connection_id=connection_id,
        types=list(types),
        days=days,
        most=most,
        below=_EVERY_ID if below is None else below,
    )
    return [row["id"] for row in rows], rows[-1]["row_id"] if len(rows) == most else None
