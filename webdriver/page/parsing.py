"""The page's events in the shapes of every channel: messages, and the state of ours. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from shared import content as types
from shared.channels import chat_ids
from shared.errors import BulkheadError
from shared.inbound_events import Contact
from shared.messages import InboundMessage, Receipt
from shared.states import MessageState
from webdriver.page import vcards

REVOKE: Final = "revoke"
"""Type of a message that withdraws another one."""

ACKS: Final[Mapping[int, tuple[MessageState, str] | None]] = {
    -7: (MessageState.FAILED, "md_downgrade"),
    -6: (MessageState.FAILED, "inactive"),
    -5: (MessageState.FAILED, "content_unuploadable"),
    -4: (MessageState.FAILED, "content_too_big"),
    -3: (MessageState.FAILED, "content_gone"),
    -2: (MessageState.FAILED, "expired"),
    -1: (MessageState.FAILED, "failed"),
    0: None,  # only the page has it
    1: (MessageState.SENT, ""),
    2: (MessageState.DELIVERED, ""),
    3: (MessageState.READ, ""),
    4: (MessageState.READ, ""),  # played
    5: (
        MessageState.SENT,
        "",
    ),  # another device of our own has it: it passed the server, and proves nothing about the receiver
}
"""wa-js's acks: the message's state and, for a failure, its code."""

_UNREADABLE_YET: Final = frozenset({"ciphertext", ""})
"""Types of a message that the page has not decrypted; it reports it again, with the same id, when it has."""
_NOTHING: Final = frozenset({"protocol", "reaction", "revoked"})
"""Types of rows in the page that are no message: they have events of their own."""

_MEDIA: Final[Mapping[str, str]] = {
    "image": types.IMAGE,
    "video": types.VIDEO,
    "ptv": types.VIDEO,
    "audio": types.AUDIO,
    "ptt": types.AUDIO,
    "document": types.DOCUMENT,
    "sticker": types.STICKER,
}
_SYSTEM: Final = frozenset(
    {"gp2", "notification", "notification_template", "group_notification", "broadcast_notification", "e2e_notification"}
)
_AUTHORLESS: Final = frozenset({"system", "call"})
"""Types of ours without an author."""
_DETAILS: Final = (
    "caption",
    "quoted",
    "forwarded",
    "viewOnce",
    "edit",
    "editedAt",
    "media",
    "lat",
    "lng",
    "loc",
    "url",
    "vcards",
    "selected",
    "subtype",
)
"""What the bridge adds to a message when it is there; an unknown type says which of them it had."""


class EventUnreadable(BulkheadError):
    """Raised when an event of the page has not the fields that it must have."""


def chat_id(address: str) -> str:
    """Return the page's id for a chat as a client named it: digits are a number, with an @ it is the page's own."""
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
    # everything here comes from a page whose next build may name it otherwise: one error class for all of that
    with _readable("message"):
        kind = str(raw["type"])
        if kind in _UNREADABLE_YET or kind in _NOTHING:
            return None
        chat, own = str(raw["chat"]), bool(raw["fromMe"])
        type_, content = _content(kind, raw)
        return InboundMessage(
            connection_id=connection_id,
            provider_id=str(raw["id"]),
            chat_id=canonical(chat),
            sender=str(raw["author"] or (raw["from"] if own else chat)),
            type=type_,
            content=content | ({"quoted": str(raw["quoted"])} if raw.get("quoted") else {}),
            at=_instant(raw["t"]),
            sender_name=_text(raw["notifyName"]),
            from_me=own,
            # a status for all of a person's contacts is not written to us
            may_trigger=not own and type_ not in _AUTHORLESS and not chat.endswith("@broadcast"),
            context={"forwarded": True} if raw.get("forwarded") else {},
        )


def read(connection_id: int, kind: str, raw: Mapping[str, Any], at: datetime) -> InboundMessage | None:
    """Return the message in an event of the page, None while there is nothing to read in it.

    Args:
        kind: see `PageEvent`. at: when it came, for events that have no time of their own.
    Raises:
        EventUnreadable: a field is missing or of another type, or the kind is unknown.
    """
    match kind:
        case "message":
            return inbound(connection_id, raw)
        case "edit":
            return edited(connection_id, raw)
        case "revoke":
            return revoked(connection_id, raw, at)
        case "reaction":
            return reacted(connection_id, raw)
        case _:
            raise EventUnreadable(f"an event of kind {kind}")


def edited(connection_id: int, raw: Mapping[str, Any]) -> InboundMessage:
    """Return the message of an `edit` event, with its present text. Raises `EventUnreadable`."""
    with _readable("edit"):
        message = inbound(connection_id, raw)
        if message is None:
            raise EventUnreadable("edit event: nothing to read")
        body = message.content.get("body", message.content.get("caption", ""))
        return replace(
            message,
            # an edit without an id of its own is identified by its text
            provider_id=str(raw.get("edit") or f"edit:{raw['id']}:{hash_of(str(body))}"),
            type=types.EDIT,
            content={"target": str(raw["id"]), "body": body},
            at=_instant(raw.get("editedAt") or raw["t"]),
            context={},
        )


def revoked(connection_id: int, raw: Mapping[str, Any], now: datetime) -> InboundMessage:
    """Return the message of a `revoke` event, in the chat and by the side that revoked.

    A message is revoked once by its author, so its id names that revoke. Raises `EventUnreadable`.
    """
    with _readable("revoke"):
        target, made = str(raw["target"]), str(raw["id"])
        # a row that was found revoked has no event of its own: only its author's revoke is shown so
        if not chat_of(made):
            made = target
        # another person's revoke, which changes nothing, must not take the id of the author's
        by_other = "" if _side(made) == _side(target) else f":{made}"
        found = _about(connection_id, made, REVOKE, {"target": target}, at=now)
        return replace(found, provider_id=f"revoke:{target}{by_other}", sender=str(raw["author"]) or found.sender)


def reacted(connection_id: int, raw: Mapping[str, Any]) -> InboundMessage:
    """Return the message of a `reaction` event; an empty emoji removes the reaction. Raises `EventUnreadable`."""
    with _readable("reaction"):
        content = {"emoji": _text(raw["emoji"]), "target": str(raw["target"])}
        # wa-js has milliseconds for reactions, and seconds for messages
        at = _instant(float(raw["t"]) / 1000)
        found = _about(connection_id, str(raw["id"]), types.REACTION, content, at=at)
        return replace(found, sender=str(raw["sender"]) or found.sender)


def person(message: InboundMessage) -> Contact | None:
    """Return the author of a message, None when it was ourselves or there is none."""
    if message.from_me or message.type == "system" or not message.sender:
        return None
    user_id = canonical(message.sender)
    phone = "" if "@" in user_id else user_id
    return Contact(
        connection_id=message.connection_id, user_id=user_id, phone=phone, name=message.sender_name, at=message.at
    )


def _about(connection_id: int, made: str, type_: str, content: Mapping[str, Any], *, at: datetime) -> InboundMessage:
    """Return a line about another message. Its chat and its side are those of `made`, the id of what was done: the
    id of the target is the choice of the one who does it.
    """
    chat, own = _side(made)
    if not chat or not chat_of(str(content["target"])):
        raise ValueError("it names no message")
    return InboundMessage(
        connection_id=connection_id,
        provider_id=made,
        chat_id=canonical(chat),
        sender="" if own else chat,
        type=type_,
        content=content,
        at=at,
        from_me=own,
        may_trigger=not own,
    )


def _side(message_id: str) -> tuple[str, bool]:
    """Return the chat in a serialized message id, and whether it is from us: WhatsApp's ids begin with that."""
    return chat_of(message_id), message_id.startswith("true_")


def _content(kind: str, raw: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our type for one of the page's, and the content in the shape of `shared.content`."""
    if kind in _MEDIA:
        return _MEDIA[kind], _media(kind, raw)
    if kind in _SYSTEM:
        return "system", {"kind": _text(raw.get("subtype", "")) or kind, "body": _text(raw["body"])}
    if reader := _READERS.get(kind):
        type_, read = reader
        return type_, read(raw)
    return "unknown", {"type": kind, "keys": sorted(name for name in _DETAILS if raw.get(name))}


def _location(raw: Mapping[str, Any]) -> dict[str, Any]:
    # the page joins both into one text
    name, _, address = _text(raw.get("loc", "")).partition("\n")
    place = {
        "latitude": float(raw["lat"]),
        "longitude": float(raw["lng"]),
        "name": name,
        "address": address,
        "url": _text(raw.get("url", "")),
    }
    return {key: value for key, value in place.items() if value != ""}


_READERS: Final[Mapping[str, tuple[str, Callable[[Mapping[str, Any]], dict[str, Any]]]]] = {
    "chat": (types.TEXT, lambda raw: {"body": _text(raw["body"])}),
    "location": (types.LOCATION, _location),
    "vcard": (types.CONTACTS, lambda raw: {"contacts": vcards.contacts([_text(raw["body"])])}),
    "multi_vcard": (types.CONTACTS, lambda raw: {"contacts": vcards.contacts(map(_text, raw["vcards"]))}),
    "buttons_response": ("button", lambda raw: {"text": _text(raw["body"]), "payload": _text(raw.get("selected", ""))}),
    "template_button_reply": (
        "button",
        lambda raw: {"text": _text(raw["body"]), "payload": _text(raw.get("selected", ""))},
    ),
    "list_response": (
        types.INTERACTIVE,
        lambda raw: {"kind": "list_reply", "id": _text(raw.get("selected", "")), "title": _text(raw["body"])},
    ),
    "call_log": ("call", lambda raw: {}),
}
"""Our type for each of the page's that is neither a file nor a line without an author, and how its content is read."""


PAGE_TYPES: Final = _UNREADABLE_YET | _NOTHING | _SYSTEM | _MEDIA.keys() | _READERS.keys()
"""The page's types that are known here."""


def _media(kind: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    details = raw.get("media") or {}
    media = {
        "id": str(raw["id"]),
        "mimetype": _text(details.get("mimetype", "")),
        "size": int(details.get("size") or 0),
        "filename": _text(details.get("filename", "")),
        "sha256": _text(details.get("filehash", "")),
        "voice": kind == "ptt",
    }
    found: dict[str, Any] = {"media": {key: value for key, value in media.items() if value}}
    if media["voice"]:
        found["voice"] = True
    if kind == "document" and media["filename"]:
        found["filename"] = media["filename"]
    if caption := _text(raw.get("caption", "")):
        found["caption"] = caption
    if raw.get("viewOnce"):
        found["view_once"] = True
    return found


def hash_of(text: str) -> str:
    """Return a short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(value: object) -> str:
    # PostgreSQL's text holds no NUL, and a customer must not be able to stop the journal
    return str(value or "").replace("\0", "")


def _instant(seconds: object) -> datetime:
    return datetime.fromtimestamp(float(str(seconds)), UTC)


@contextmanager
def _readable(kind: str) -> Iterator[None]:
    try:
        yield
    # the last three for instants out of range, and for a field that is an object where a text is expected
    except (KeyError, TypeError, ValueError, OverflowError, OSError, AttributeError) as error:
        raise EventUnreadable(f"{kind} event: {type(error).__name__}") from error


def canonical(address: str) -> str:
    """Return the one name of a chat or a user: an account can have a number and an id of the page's own."""
    return chat_ids.admitted(address)


def receipt(connection_id: int, message_id: str, ack: int, at: datetime) -> Receipt | None:
    """Return the receipt in an ack of our message, None when the ack proves nothing."""
    # an ack that a later build adds proves nothing either
    found = ACKS.get(ack)
    if found is None:
        return None
    state, code = found
    return Receipt(
        connection_id=connection_id,
        state=state,
        at=at,
        provider_id=message_id,
        # the id was chosen by us and stored as the token, so it finds the row before its outcome is settled
        token=message_id,
        code=code,
        extra={"ack": ack},
    )
