"""Reads the contents of WhatsApp's messages, by type, into the shape that every channel shares
(`shared/content.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from meta.events.values import Unreadable, clean, mapping, name, number, objects, present, text
from shared.content import AUDIO, CONTACTS, DOCUMENT, EDIT, IMAGE, INTERACTIVE, LOCATION, REACTION, STICKER, TEXT, VIDEO

BUTTON: Final = "button"
CALL: Final = "call"
ORDER: Final = "order"
REVOKE: Final = "revoke"
REQUEST_WELCOME: Final = "request_welcome"
SYSTEM: Final = "system"
UNKNOWN: Final = "unknown"
UNSUPPORTED: Final = "unsupported"

_TYPE_MOST: Final = 60
"""Characters of a type's name that are kept; Meta's longest have about 30."""
_KEYS_MOST: Final = 50
"""Names of fields that are kept of an unknown type, to recognise it by; their values stay in the journal."""


@dataclass(frozen=True, slots=True)
class ParsedContent:
    """One message's type and content in our terms. `file`: how the provider names its file: id, url, mimetype, sha256,
    filename.
    """

    type: str
    content: dict[str, Any]
    file: Mapping[str, str] = field(default_factory=dict)


def parse_content(message: Mapping[str, Any]) -> ParsedContent:
    """Return type and content of a message; one of a type that we do not know is `unknown`. Raises `Unreadable` when
    its object lacks something.
    """
    given = message.get("type")
    kind = given if isinstance(given, str) else ""
    # Meta adds types without notice: a new one is kept as a line in the chat, and not lost
    reader = READERS.get(kind)
    if reader is None:
        return unknown(message, kind)
    return reader(message, message.get(kind))


def unknown(message: Mapping[str, Any], kind: str) -> ParsedContent:
    """Return what is kept of a message that we cannot read: its type, and the names of what its own object holds."""
    shown = text(kind)[:_TYPE_MOST]
    keys = sorted(text(key)[:_TYPE_MOST] for key in mapping(message.get(kind)))[:_KEYS_MOST]
    return ParsedContent(UNKNOWN, present(type=shown) | ({"keys": keys} if keys else {}) | _errors(message))


def _own(message: Mapping[str, Any], own: object) -> dict[str, Any]:
    if not isinstance(own, dict):
        raise Unreadable(f"{text(message.get('type'))}: not an object")
    return own


def _text(message: Mapping[str, Any], own: object) -> ParsedContent:
    # also as a bare string: a text must not be lost for a form that differs
    body = own if isinstance(own, str) else _own(message, own).get("body")
    if not isinstance(body, str):
        raise Unreadable("text.body: not a text")
    return ParsedContent(TEXT, {"body": text(body)})


def _media(kind: str) -> Callable[[Mapping[str, Any], object], ParsedContent]:
    def read(message: Mapping[str, Any], own: object) -> ParsedContent:
        return media(kind, _own(message, own), voice=message.get("type") == "voice")

    return read


def media(kind: str, own: Mapping[str, Any], *, voice: bool = False) -> ParsedContent:
    """Return a message that is a file. Raises `Unreadable` when nothing says where the file is."""
    file = {
        "id": name(own.get("id")),
        # `link` is the older name; the id finds the file when the address has expired
        "url": _address(own.get("url")) or _address(own.get("link")),
        "mimetype": text(own.get("mime_type"))[:200],
        "sha256": name(own.get("sha256")),
        "filename": text(own.get("filename"))[:400],
    }
    if not (file["id"] or file["url"]):
        raise Unreadable(f"{kind}: neither id nor url")
    # a recording has type `voice` in old payloads, and `audio` with `voice: true` in new ones
    is_voice = (voice or own.get("voice") is True) and kind == AUDIO
    size = number(own.get("file_size"))
    shown = present(
        id=file["id"],
        mimetype=file["mimetype"],
        sha256=file["sha256"],
        filename=file["filename"],
        size=int(size) if size is not None and size >= 0 else None,
        voice=True if is_voice else None,
    )
    content = {"media": shown} | present(
        # a sticker has no caption on any channel
        caption=text(own.get("caption")) if kind != STICKER else None,
        filename=file["filename"] if kind == DOCUMENT else None,
        voice=True if is_voice else None,
        animated=True if own.get("animated") is True else None,
    )
    return ParsedContent(kind, content, file)


def _address(value: object) -> str:
    given = text(value)
    # 4,096 characters: signed addresses have several hundred; other schemes must not reach the fetcher
    return given if given.startswith(("https://", "http://")) and len(given) <= 4096 else ""


def _location(message: Mapping[str, Any], own: object) -> ParsedContent:
    place = _own(message, own)
    latitude, longitude = number(place.get("latitude")), number(place.get("longitude"))
    if latitude is None or longitude is None:
        raise Unreadable("location: latitude or longitude is no number")
    words = {field: text(place.get(field)) for field in ("name", "address", "url")}
    return ParsedContent(LOCATION, {"latitude": latitude, "longitude": longitude} | present(**words))


def _contacts(message: Mapping[str, Any], own: object) -> ParsedContent:
    if not isinstance(own, list):
        raise Unreadable("contacts: not a list")
    return ParsedContent(CONTACTS, {"contacts": clean(objects(own))})


def _reaction(message: Mapping[str, Any], own: object) -> ParsedContent:
    reaction = _own(message, own)
    # without an emoji it is taken back
    return ParsedContent(
        REACTION, {"emoji": text(reaction.get("emoji"))[:100], "target": _target(reaction, "message_id")}
    )


def _target(own: Mapping[str, Any], key: str) -> str:
    if not (target := name(own.get(key))):
        raise Unreadable(f"{key}: missing")
    return target


def _interactive(message: Mapping[str, Any], own: object) -> ParsedContent:
    reply = _own(message, own)
    # some payloads lack `type`; the name of the object is the same
    kind = text(reply.get("type"))[:_TYPE_MOST] or next((key for key in reply if key.endswith("_reply")), "")
    answer = mapping(reply.get(kind))
    content = present(
        kind=kind,
        id=text(answer.get("id")) or text(answer.get("name")),
        title=text(answer.get("title")) or text(answer.get("body")),
        description=text(answer.get("description")),
    )
    if "response_json" in answer:
        content["response"] = _parsed(answer["response_json"])
    elif kind not in ("button_reply", "list_reply"):
        # a kind of reply that may be new: what the customer chose must not get lost
        content["response"] = clean(answer)
    return ParsedContent(INTERACTIVE, content)


def _parsed(given: Any) -> Any:
    """Return what a flow answered: JSON within JSON; unparsed if it is not JSON."""
    if not isinstance(given, str):
        return clean(given)
    try:
        return clean(json.loads(given))
    except (ValueError, RecursionError):
        return text(given)


def _button(message: Mapping[str, Any], own: object) -> ParsedContent:
    button = _own(message, own)
    return ParsedContent(BUTTON, {"text": text(button.get("text")), "payload": _payload(button.get("payload"))})


def _payload(given: Any) -> Any:
    return text(given) if isinstance(given, str) else clean(given)


def _order(message: Mapping[str, Any], own: object) -> ParsedContent:
    order = _own(message, own)
    known = present(catalog_id=name(order.get("catalog_id")), text=text(order.get("text")))
    return ParsedContent(ORDER, clean(order) | known | {"product_items": clean(objects(order.get("product_items")))})


def _system(message: Mapping[str, Any], own: object) -> ParsedContent:
    change = _own(message, own)
    rest = {key: value for key, value in clean(change).items() if key not in ("type", "body")}
    return ParsedContent(
        SYSTEM, rest | {"kind": text(change.get("type"))[:_TYPE_MOST], "body": text(change.get("body"))}
    )


def _welcome(_message: Mapping[str, Any], _own: object) -> ParsedContent:
    """A person opened the chat for the first time, and has not written yet."""
    return ParsedContent(SYSTEM, {"kind": REQUEST_WELCOME, "body": ""})


def _edit(message: Mapping[str, Any], own: object) -> ParsedContent:
    edit = _own(message, own)
    target = _target(edit, "original_message_id" if "original_message_id" in edit else "message_id")
    # the new content may be nested in `message`, or stand flat beside the target
    new = mapping(edit.get("message")) or edit
    if new is edit and "type" not in edit:
        new = {"type": TEXT, "text": edit.get("text") if "text" in edit else edit.get("body")}
    now = parse_content(new)
    if now.type == TEXT:
        return ParsedContent(EDIT, {"target": target, "body": now.content["body"]})
    # its file was there before: an edit changes words
    return ParsedContent(EDIT, {"target": target, "type": now.type, "content": now.content})


def _revoke(message: Mapping[str, Any], own: object) -> ParsedContent:
    revoke = _own(message, own)
    return ParsedContent(
        REVOKE, {"target": _target(revoke, "original_message_id" if "original_message_id" in revoke else "message_id")}
    )


def _unsupported(message: Mapping[str, Any], own: object) -> ParsedContent:
    kind = text(mapping(own).get("type"))[:_TYPE_MOST] or text(message.get("type"))[:_TYPE_MOST]
    return ParsedContent(UNSUPPORTED, {"kind": kind, "errors": []} | _errors(message))


def _errors(message: Mapping[str, Any]) -> dict[str, Any]:
    reported = [
        present(
            code=number(error.get("code")),
            title=text(error.get("title")),
            message=text(error.get("message")),
            # within `error_data` by Meta's reference, next to the code in what it sends
            details=text(mapping(error.get("error_data")).get("details")) or text(error.get("details")),
        )
        for error in objects(message.get("errors"))
    ]
    return {"errors": reported} if reported else {}


READERS: Final[Mapping[str, Callable[[Mapping[str, Any], object], ParsedContent]]] = {
    "text": _text,
    "image": _media(IMAGE),
    "video": _media(VIDEO),
    "audio": _media(AUDIO),
    "voice": _media(AUDIO),
    "document": _media(DOCUMENT),
    "sticker": _media(STICKER),
    "location": _location,
    "contacts": _contacts,
    "reaction": _reaction,
    "interactive": _interactive,
    "button": _button,
    "order": _order,
    "system": _system,
    REQUEST_WELCOME: _welcome,
    "edit": _edit,
    "revoke": _revoke,
    "unsupported": _unsupported,
}
"""The reader of each type of message. `unknown` has none on purpose: old examples call unsupported messages so, and it
is kept as what it is.
"""
