"""Operators' decisions about messages: cancel one that still waits, redrive dead letters, resolve messages in doubt.

One typed function for each statement of `queries/interventions.sql`. Each leaves an event in the message's history.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from shared.states import MESSAGE_TRANSITIONS, MessageState, require_transition
from shared.store.messages import TARGETING_TYPES, apply_to_targets
from shared.store.pool import Row, Transaction

Resolution: TypeAlias = Literal["sent", "resend", "failed"]
"""What a human can decide about a message in doubt."""

CANCELLED: Final = "cancelled"
"""Code in the history of a cancelled message."""
REDRIVEN: Final = "redriven"
"""Code in the history of a dead letter that was queued again."""
RESOLUTIONS: Final[Mapping[Resolution, tuple[MessageState, str]]] = {
    "sent": (MessageState.SENT, "resolved_as_sent"),
    "resend": (MessageState.QUEUED, "resolved_as_unsent"),
    "failed": (MessageState.FAILED, "resolved_as_failed"),
}
"""The state that each decision leads to, and its code in the history."""
MOST_AT_ONCE: Final = 1000
"""Most messages that one redrive moves: they are locked and written in one transaction, which must end within the limit
of a query (5 s).
"""
NEWEST: Final = (1 << 63) - 1
"""Above every id (the largest `bigint`): a page that begins here begins with the newest."""


def cancel(transaction: Transaction, *, company_id: str, chat_id: str, message_id: int) -> bool:
    """Cancel a message. Returns False when it is not queued, or there is none."""
    require_transition(MESSAGE_TRANSITIONS, MessageState.QUEUED, MessageState.DELETED)
    return transaction.row("cancel_message", company_id=company_id, chat_id=chat_id, id=message_id) is not None


def for_humans(
    transaction: Transaction,
    *,
    company_id: str | None,
    code: str | None = None,
    phone_index: int | None = None,
    held: bool | None = None,
    before: int = NEWEST,
    most: int,
) -> list[Row]:
    """Return dead letters and messages in doubt that were left to a human, newest first, strictly before the id
    `before`.

    Args:
        company_id, code, phone_index: only those; None: any. held: only those in doubt that are held, or only those
            that failed; None: both.
    """
    return transaction.rows(
        "letters_for_humans",
        company_id=company_id,
        code=code,
        phone_index=phone_index,
        held=held,
        before=before,
        most=most,
    )


def by_reason(transaction: Transaction, *, company_id: str, most: int) -> list[Row]:
    """Return (held, error_code, phone_index, letters, first_at, last_at) of a company's letters, at most `most`, the
    newest; the most frequent reason first.
    """
    return transaction.rows("letters_by_reason", company_id=company_id, most=most)


def redrive(
    transaction: Transaction,
    *,
    company_id: str,
    message_id: int | None = None,
    chat_id: str | None = None,
    code: str | None = None,
    phone_index: int | None = None,
    failed_after: datetime | None = None,
    failed_before: datetime | None = None,
    most: int = MOST_AT_ONCE,
    worlds: Mapping[str, str] = MappingProxyType({}),
) -> list[int]:
    """Queue dead letters of a company again and return their ids, oldest first.

    Args:
        message_id, chat_id, code, phone_index, failed_after, failed_before: only those; None: any. most: how many at
            most.
        worlds: to which world each connection type sends; messages of the other one, and of removed connections, are
            left as they are.
    """
    require_transition(MESSAGE_TRANSITIONS, MessageState.FAILED, MessageState.QUEUED)
    rows = transaction.rows(
        "redrive_messages",
        company_id=company_id,
        id=message_id,
        chat_id=chat_id,
        code=code,
        phone_index=phone_index,
        failed_after=failed_after,
        failed_before=failed_before,
        most=most,
        world_types=list(worlds),
        worlds=list(worlds.values()),
    )
    return [row["id"] for row in rows]


def resolve(
    transaction: Transaction, *, company_id: str, chat_id: str, message_id: int, resolution: Resolution
) -> bool:
    """Apply a human's decision about a message in doubt. Returns False when it was not left to one (any more)."""
    state, code = RESOLUTIONS[resolution]
    require_transition(MESSAGE_TRANSITIONS, MessageState.IN_DOUBT, state)
    row = transaction.row("resolve_held", company_id=company_id, chat_id=chat_id, id=message_id, state=state, code=code)
    # An edit that a human declares as sent changes its target like one that the provider confirmed; the statement
    # behind it leaves out those that did not go out.
    if row is not None and row["type"] in TARGETING_TYPES:
        apply_to_targets(transaction, [message_id])
    return row is not None


Obstacle: TypeAlias = Literal["connection_removed", "other_world"]
"""Why a message cannot be sent, whatever a human decides: its connection was removed, or it was accepted for the other
world than its connection sends to now.
"""


def obstacle_of(row: Row, worlds: Mapping[str, str]) -> Obstacle | None:
    """Return what keeps a message from being sent again, None when nothing does.

    Args:
        row: of `for_humans`. worlds: to which world each connection type sends.
    """
    if row["removed"]:
        return "connection_removed"
    # as the claim compares: rows and types without a world go anywhere
    here = worlds.get(row["connection_type"])
    return "other_world" if row["world"] is not None and here not in (None, row["world"]) else None


def obstacle(
    transaction: Transaction, *, company_id: str, message_id: int, worlds: Mapping[str, str]
) -> Obstacle | None:
    """Return what keeps a message from being sent again, None when nothing does, or there is no such message."""
    row = transaction.row("way_of_message", company_id=company_id, id=message_id)
    return obstacle_of(row, worlds) if row is not None else None


def last_word(transaction: Transaction, message_id: int) -> str:
    """Return the code of what a human did about a message last, empty when none did anything."""
    row = transaction.row(
        "last_intervention", id=message_id, codes=[CANCELLED, REDRIVEN, *(code for _, code in RESOLUTIONS.values())]
    )
    return row["code"] if row else ""
