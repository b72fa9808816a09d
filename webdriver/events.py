"""The page's events in the shapes of every channel: messages, and what has become of ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from shared import chats
from shared.errors import BulkheadError
from shared.messages import InboundMessage, Receipt
from shared.states import MessageState

ACKS: Final[Mapping[int, tuple[MessageState, str] | None]] = {
    -7: (MessageState.FAILED, "md_downgrade"),
    -6: (MessageState.FAILED, "inactive"),
    -5: (MessageState.FAILED, "content_unuploadable"),
    -4: (MessageState.FAILED, "content_too_big"),
    -3: (MessageState.FAILED, "content_gone"),
    -2: (MessageState.FAILED, "expired"),
    -1: (MessageState.FAILED, "failed"),
    0: None,  # the page has it, nobody else
    1: (MessageState.SENT, ""),
    2: (MessageState.DELIVERED, ""),
    3: (MessageState.READ, ""),
    4: (MessageState.READ, ""),  # played
    5: (MessageState.SENT, ""),  # another device of our own has it: it passed the server, and says nothing about the receiver
}
"""wa-js's acks: the message's state and, for a failure, its code."""

_TYPES: Final[Mapping[str, str]] = {"chat": "text"}
"""wa-js's message types whose name differs from ours."""

_UNREADABLE_YET: Final = frozenset({"ciphertext", ""})


class EventUnreadable(BulkheadError):
    """Raised when an event of the page has not the fields that it must have."""


def chat_id(address: str) -> str:
    """Return the page's id for a chat as a client named it: digits are a phone number, everything with an @ is the page's own."""
    return address if "@" in address else f"{address.lstrip('+')}@c.us"


def chat_of(message_id: str) -> str:
    """Return the chat in a serialized message id; empty when it is none."""
    parts = message_id.split("_")
    return parts[1] if len(parts) >= 3 and parts[0] in ("true", "false") else ""


def inbound(connection_id: int, raw: Mapping[str, Any]) -> InboundMessage | None:
    """Return the message in a `message` event, None while there is nothing to read in it.

    Raises:
        EventUnreadable: a field is missing or of another type.
    """
    try:
        kind = str(raw["type"])
        if kind in _UNREADABLE_YET:
            return None
        chat, own = str(raw["chat"]), bool(raw["fromMe"])
        # PostgreSQL's text holds no NUL, and a customer must not be able to stop the journal
        body = str(raw["body"]).replace("\0", "")
        context = {name: raw[name] for name in ("quoted", "forwarded") if raw.get(name)}
        return InboundMessage(
            connection_id=connection_id,
            provider_id=str(raw["id"]),
            chat_id=_canonical(chat),
            sender=str(raw["author"] or (raw["from"] if own else chat)),
            type=_TYPES.get(kind, kind),
            content={"body": body} if kind == "chat" else {"body": body, "caption": str(raw.get("caption", "")).replace("\0", "")},
            at=datetime.fromtimestamp(int(raw["t"]), UTC),
            sender_name=str(raw["notifyName"]).replace("\0", ""),
            from_me=own,
            context=context,
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise EventUnreadable(f"message event: {type(error).__name__}") from error


def _canonical(address: str) -> str:
    """One chat has one name, whoever wrote in it."""
    try:
        return chats.canonical(address)
    except chats.ChatInvalid:
        return address  # a form that is new: it names the chat all the same


def receipt(connection_id: int, message_id: str, ack: int, at: datetime) -> Receipt | None:
    """Return what an ack says about a message of ours, None when it says nothing."""
    found = ACKS.get(ack)
    if found is None:
        return None
    state, code = found
    return Receipt(connection_id=connection_id, state=state, at=at, provider_id=message_id, token=message_id, code=code, extra={"ack": ack})
