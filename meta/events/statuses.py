"""What WhatsApp's statuses say about messages of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from meta import errors
from meta.events.parts import Unreadable, clean, identifier, instant, mapping, name, objects
from shared.messages import Receipt
from shared.states import MessageState

STATUSES: Final[Mapping[str, MessageState]] = {
    "sent": MessageState.SENT,
    "delivered": MessageState.DELIVERED,
    "read": MessageState.READ,
    "played": MessageState.READ,  # a voice note was heard: more than read, and the highest state that we have
    "failed": MessageState.FAILED,
}
"""Meta's statuses and ours."""

_KEPT: Final = ("pricing", "conversation", "errors", "recipient_participant_id")


def receipts(status: Mapping[str, Any], connections: Sequence[int], received_at: datetime) -> tuple[str, list[Receipt]]:
    """Return the status's own word, and what it says to each connection.

    Raises:
        Unreadable: its word is not one that we know, or its id is no text.
    """
    word = status.get("status")
    state = STATUSES.get(word) if isinstance(word, str) else None
    if state is None or not isinstance(word, str):
        raise Unreadable("status: not one that we know")
    provider_id, token = identifier(status, "id"), name(status.get("biz_opaque_callback_data"))
    code, detail = _failure(status) if state is MessageState.FAILED else ("", "")
    extra = {"status": word} | {key: clean(status[key]) for key in _KEPT if key in status}
    at = instant(status.get("timestamp"), received_at)
    return word, [
        Receipt(
            connection_id=connection_id,
            state=state,
            at=at,
            provider_id=provider_id,
            token=token,
            code=code,
            detail=detail,
            extra=extra,
        )
        for connection_id in connections
    ]


def _failure(status: Mapping[str, Any]) -> tuple[str, str]:
    """Return code and detail of a failed status."""
    error = next(iter(objects(status.get("errors"))), {})
    code = error.get("code")
    if not isinstance(code, int) or isinstance(code, bool):
        return "unknown", ""
    words = mapping(error.get("error_data")).get("details") or error.get("message") or error.get("title")
    return str(code), errors.describe(words, trace=error.get("fbtrace_id"))
