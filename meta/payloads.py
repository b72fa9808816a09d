"""Bodies of send calls: one builder for each message type, by table. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from shared import chats
from shared.errors import BulkheadError
from shared.messages import OutboundMessage


class PayloadRefused(BulkheadError):
    """Raised when no body can be made of a message.

    Attributes:
        code: for the history.
    """

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        super().__init__(reason)


def build(message: OutboundMessage) -> bytes:
    """Return the JSON body that sends `message`. Raises `PayloadRefused`."""
    builder = BUILDERS.get(message.type)
    if builder is None:
        raise PayloadRefused("unsupported_type", f"type {message.type} cannot be sent on this channel")
    quoted = message.content.get("quoted")
    body = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **_addressed(message),
        **({"context": {"message_id": quoted}} if quoted else {}),
        "biz_opaque_callback_data": message.token,
        "type": message.type,
        message.type: builder(message.content),
    }
    return _encode(body).encode()


def _addressed(message: OutboundMessage) -> Mapping[str, str]:
    try:
        chat = chats.normalise(message.connection_type, message.chat_id)
    except chats.ChatInvalid as problem:
        raise PayloadRefused("invalid_recipient", str(problem)) from None
    # without the plus Meta may take the number for one of the business's own country
    return {"to": f"+{chat}"} if chat.isdecimal() else {"recipient": chat}


def _text(content: Mapping[str, Any]) -> Mapping[str, Any]:
    body = content.get("body")
    if not isinstance(body, str) or not body:
        raise PayloadRefused("invalid_content", "a text without a body")
    # Meta would fetch the first address in the text and show it; nobody asked for that
    return {"body": body, "preview_url": content.get("preview") is True}


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
BUILDERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]] = {"text": _text}
"""What makes the object of one message type, by type."""
