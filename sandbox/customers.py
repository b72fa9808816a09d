"""Customers' actions, by name: messages of every type on WhatsApp, events around them, and people's actions on
Messenger and Instagram.

Pure functions: each row of the tables builds the content of a webhook, with new ids and instants each time.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.config import Number
from sandbox.media import Media


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """Parameters of a customer's action.

    Attributes:
        sender: digits, a user id, or a scoped id. text, target, emoji: its content, and the message that it refers to.
            media: a file that was put on the shelf for it. filename: of the file.
    """

    sender: str
    text: str = ""
    target: str = ""
    emoji: str = "👍"
    media: Media | None = None
    filename: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


def _now() -> str:
    return str(int(time.time()))


def _file(wish: Wish, **more: Any) -> dict[str, Any]:
    if wish.media is None:
        raise ValueError("this kind needs a file: data or mime_type")
    shown = {"mime_type": wish.media.mime_type, "sha256": wish.media.sha256, "id": wish.media.id}
    return shown | {key: value for key, value in more.items() if value not in ("", None)}


def _target(wish: Wish) -> str:
    if not wish.target:
        raise ValueError("this kind needs a target: the id of the message that is meant")
    return wish.target


def _own(kind: str, own: Callable[[Wish], Any]) -> Callable[[Wish], dict[str, Any]]:
    return lambda wish: {"type": kind, kind: own(wish)}


# values as in the examples of Meta's pages
_PRODUCTS: Final = [{"product_retailer_id": "sku-1", "quantity": 2, "item_price": 30, "currency": "USD"}]
_AD: Final = {
    "source_url": "https://fb.me/ad",
    "source_id": "120",
    "source_type": "ad",
    "body": "Sale",
    "headline": "Now",
    "media_type": "image",
    "ctwa_clid": "c1",
}

MESSAGES: Final[Mapping[str, Callable[[Wish], dict[str, Any]]]] = {
    "text": _own("text", lambda wish: {"body": wish.text or "Hello"}),
    "image": _own("image", lambda wish: _file(wish, caption=wish.text)),
    "video": _own("video", lambda wish: _file(wish, caption=wish.text)),
    "audio": _own("audio", lambda wish: _file(wish, voice=False)),
    "voice": _own("audio", lambda wish: _file(wish, voice=True)),
    "document": _own("document", lambda wish: _file(wish, caption=wish.text, filename=wish.filename or "file.pdf")),
    "sticker": _own("sticker", lambda wish: _file(wish, animated=False)),
    "location": _own(
        "location",
        lambda wish: {"latitude": 37.44, "longitude": -122.16, "name": wish.text or "Here", "address": "1 Main St"},
    ),
    "contacts": _own(
        "contacts",
        lambda _: [
            {"name": {"formatted_name": "Ann Lee"}, "phones": [{"phone": "+15550100999", "wa_id": "15550100999"}]}
        ],
    ),
    "reaction": _own("reaction", lambda wish: {"message_id": _target(wish), "emoji": wish.emoji}),
    # in WhatsApp a reaction without `emoji` removes the reaction
    "unreaction": _own("reaction", lambda wish: {"message_id": _target(wish)}),
    "button": _own("button", lambda wish: {"text": wish.text or "Yes", "payload": "YES"}),
    "button_reply": _own(
        "interactive", lambda wish: {"type": "button_reply", "button_reply": {"id": "yes", "title": wish.text or "Yes"}}
    ),
    "list_reply": _own(
        "interactive",
        lambda wish: {
            "type": "list_reply",
            "list_reply": {"id": "row", "title": wish.text or "Row", "description": "one"},
        },
    ),
    "flow_reply": _own(
        "interactive",
        lambda _: {
            "type": "nfm_reply",
            "nfm_reply": {"name": "flow", "body": "Sent", "response_json": '{"flow_token":"t","answer":"yes"}'},
        },
    ),
    "order": _own(
        "order", lambda wish: {"catalog_id": "194836987003835", "text": wish.text, "product_items": _PRODUCTS}
    ),
    "edit": _own(
        "edit",
        lambda wish: {
            "original_message_id": _target(wish),
            "message": {"type": "text", "text": {"body": wish.text or "Better"}},
        },
    ),
    "revoke": _own("revoke", lambda wish: {"original_message_id": _target(wish)}),
    "unsupported": lambda _: {
        "type": "unsupported",
        "errors": [
            {
                "code": 131051,
                "title": "Message type unknown",
                "message": "Message type unknown",
                "error_data": {"details": "Message type is currently not supported."},
            }
        ],
        "unsupported": {"type": "poll"},
    },
    # a type that no version has: Meta adds types without notice, and readers must accept them
    "new_kind": _own("hologram", lambda _: {"depth": 3}),
    "ad": lambda wish: {"type": "text", "text": {"body": wish.text or "About the ad"}, "referral": _AD},
    "forwarded": lambda wish: {"type": "text", "text": {"body": wish.text or "Look"}, "context": {"forwarded": True}},
    # a system message: its sender is the old number, `wa_id` the new one
    "number_changed": lambda wish: {
        "type": "system",
        "system": {
            "type": "user_changed_number",
            "wa_id": _target(wish),
            "body": f"User changed from {wish.sender} to {wish.target}",
        },
    },
}
"""What a customer can write on WhatsApp. `number_changed` has the new number as target."""
ANSWERS: Final = frozenset({"button", "button_reply", "list_reply", "flow_reply"})
"""Kinds that answer a message of the business; their webhooks name it as context."""


def _echo(number: Number, wish: Wish) -> tuple[str, dict[str, Any]]:
    message = {
        "from": number.display_phone_number,
        "to": wish.sender,
        "id": f"wamid.{secrets.token_hex(12)}",
        "timestamp": _now(),
    }
    what = (
        {"type": "revoke", "revoke": {"original_message_id": wish.target}}
        if wish.target
        else {"type": "text", "text": {"body": wish.text or "By hand"}}
    )
    return "smb_message_echoes", {"message_echoes": [message | what]}


def _history(number: Number, wish: Wish) -> tuple[str, dict[str, Any]]:
    past = [
        {
            "from": sender,
            "id": f"wamid.{secrets.token_hex(12)}",
            # long ago: history is delivered after the connection was made, and must not count as new messages
            "timestamp": "1739230955",
            "type": "text",
            "text": {"body": body},
            "history_context": {"status": "READ"},
        }
        for sender, body in ((number.display_phone_number, "Then"), (wish.sender, wish.text or "Long ago"))
    ]
    chunk = {
        # one chunk that is the whole history: Meta sends several, each with its progress
        "metadata": {"phase": 0, "chunk_order": 1, "progress": 100},
        "threads": [{"id": wish.sender, "messages": past}],
    }
    return "history", {"history": [chunk]}


def _call(number: Number, wish: Wish) -> tuple[str, dict[str, Any]]:
    # a call is two events under one id: the connection and its end
    call = {
        "id": f"wacid.{secrets.token_hex(12)}",
        "from": wish.sender,
        "to": number.display_phone_number,
        "direction": "USER_INITIATED",
    }
    # both events in one webhook: a reader must keep their order
    end = {"event": "terminate", "status": "COMPLETED", "duration": 8}
    return "calls", {"calls": [call | {"event": "connect", "timestamp": _now()}, call | end | {"timestamp": _now()}]}


AROUND: Final[Mapping[str, Callable[[Number, Wish], tuple[str, dict[str, Any]]]]] = {
    "echo": _echo,
    "history": _history,
    "call": _call,
    "address_book": lambda _, wish: (
        # the address book of a coexistence number, which the WhatsApp Business app shares
        "smb_app_state_sync",
        {
            "state_sync": [
                {
                    "type": "contact",
                    "contact": {"full_name": wish.text or "Ann Lee", "phone_number": wish.sender},
                    "action": "add",
                }
            ]
        },
    ),
    "stop_marketing": lambda _, wish: (
        "user_preferences",
        {"user_preferences": [{"wa_id": wish.sender, "value": "stop", "timestamp": _now()}]},
    ),
    "resume_marketing": lambda _, wish: (
        "user_preferences",
        {"user_preferences": [{"wa_id": wish.sender, "value": "resume", "timestamp": _now()}]},
    ),
    "user_id_changed": lambda _, wish: (
        "user_id_update",
        {"user_id_update": [{"user_id": {"previous": wish.sender, "current": _target(wish)}, "timestamp": _now()}]},
    ),
    "group_created": lambda _, wish: (
        "group_lifecycle_update",
        {
            "groups": [
                {
                    "type": "group_create",
                    "group_id": _target(wish),
                    "subject": wish.text or "Group",
                    "timestamp": _now(),
                    "request_id": secrets.token_hex(8),
                }
            ]
        },
    ),
}
"""Events around messages: a webhook field and its value, which concerns the number."""


def _attachment(wish: Wish) -> dict[str, Any]:
    kind = wish.fields.get("attachment", "image")
    return {"type": kind, "payload": {"url": wish.fields.get("url", "")}}


PEOPLE: Final[Mapping[str, Callable[[Wish], dict[str, Any]]]] = {
    "text": lambda wish: {"message": {"mid": _mid(), "text": wish.text or "Hi"}},
    "quick_reply": lambda wish: {
        "message": {"mid": _mid(), "text": wish.text or "Red", "quick_reply": {"payload": "RED"}}
    },
    "attachment": lambda wish: {"message": {"mid": _mid(), "attachments": [_attachment(wish)]}},
    "reply": lambda wish: {"message": {"mid": _mid(), "text": wish.text or "Yes", "reply_to": {"mid": _target(wish)}}},
    # an unsent message keeps its id and loses its content
    "unsend": lambda wish: {"message": {"mid": _target(wish), "is_deleted": True}},
    "edit": lambda wish: {"message_edit": {"mid": _target(wish), "text": wish.text or "Better", "num_edit": 1}},
    "postback": lambda wish: {"postback": {"mid": _mid(), "title": wish.text or "Start", "payload": "START"}},
    "reaction": lambda wish: {
        "reaction": {"mid": _target(wish), "action": "react", "reaction": "love", "emoji": wish.emoji}
    },
    "unreaction": lambda wish: {"reaction": {"mid": _target(wish), "action": "unreact"}},
    "read": lambda wish: {"read": {"mid": wish.target} if wish.target else {"watermark": int(time.time() * 1000)}},
    "delivery": lambda wish: {
        "delivery": {"watermark": int(time.time() * 1000)} | ({"mids": [wish.target]} if wish.target else {})
    },
    "optin": lambda _: {"optin": {"ref": "ref"}},
    "referral": lambda _: {"referral": {"ref": "ref", "source": "SHORTLINK", "type": "OPEN_THREAD"}},
    "pass_thread": lambda _: {"pass_thread_control": {"new_owner_app_id": "1"}},
}
"""What people do on Messenger and Instagram."""


def _mid() -> str:
    return f"m_{secrets.token_urlsafe(24)}"
