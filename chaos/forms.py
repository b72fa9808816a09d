"""The types of messages that the load sends, as data: the body for the API and the content that the provider must
receive; pure.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageForm:
    """One message to send.

    Attributes:
        type: the API's name. body: for the API, without the connection. content: as `ledger.content_of` reads it on the
            provider's side. file: SHA-256 of a file that arrives without a text, and identifies the message.
    """

    type: str
    body: Mapping[str, Any]
    content: Mapping[str, Any]
    file: str = ""


def _text(text: str, _: random.Random) -> MessageForm:
    return MessageForm(type="text", body={"message": text}, content={"body": text})


def _location(text: str, dice: random.Random) -> MessageForm:
    # four digits, so that the numbers are equal again after JSON, PostgreSQL and the page
    place = {"latitude": round(dice.uniform(-80, 80), 4), "longitude": round(dice.uniform(-170, 170), 4)}
    return MessageForm(type="location", body={**place, "name": text}, content=place)


_JPEG: Final = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9"
_MP4: Final = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
_OGG: Final = b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead\x01\x01\x00\x00\x80\xbb\x00\x00\x00\x00\x00"
_WEBP: Final = b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00"
"""The smallest file of each kind; every message appends its own text."""


def _file(type_: str, start: bytes, text: str, **more: str) -> MessageForm:
    # unique content, so that the hash reveals a file that was exchanged for another one
    content = start + f"of {text}\n".encode()
    digest = hashlib.sha256(content).hexdigest()
    body = {"data": base64.b64encode(content).decode(), **more}
    return MessageForm(type=type_, body=body, content={"sha256": digest}, file="" if "caption" in more else digest)


def _document(text: str, _: random.Random) -> MessageForm:
    return _file("document", b"invoice ", text, caption=text, filename="invoice.txt")


def _image(text: str, _: random.Random) -> MessageForm:
    return _file("image", _JPEG, text, caption=text)


def _video(text: str, _: random.Random) -> MessageForm:
    return _file("video", _MP4, text, caption=text)


def _audio(text: str, _: random.Random) -> MessageForm:
    return _file("audio", _OGG, text)


def _sticker(text: str, _: random.Random) -> MessageForm:
    return _file("sticker", _WEBP, text)


def _contacts(text: str, _: random.Random) -> MessageForm:
    return MessageForm(type="contacts", body={"contacts": [{"name": text, "phones": ["+1 555 010 0300"]}]}, content={})


def _interactive(text: str, dice: random.Random) -> MessageForm:
    # a random id for the same reason: the judge compares it
    button = f"choice-{dice.randrange(1_000_000)}"
    return MessageForm(
        type="interactive",
        body={
            "interactive": {
                "type": "button",
                "body": {"text": text},
                "action": {"buttons": [{"type": "reply", "reply": {"id": button, "title": "Yes"}}]},
            }
        },
        content={"buttons": [button]},
    )


def _template(text: str, _: random.Random) -> MessageForm:
    components = [{"type": "body", "parameters": [{"type": "text", "text": text}]}]
    return MessageForm(
        type="template",
        body={"name": "order_update", "language": "en_US", "components": components},
        content={"name": "order_update", "language": "en_US"},
    )


_Make = Callable[[str, random.Random], MessageForm]
FORMS: Final[Mapping[str, tuple[_Make, float]]] = {
    "text": (_text, 10.0),
    "location": (_location, 1.0),
    "document": (_document, 1.0),
    "image": (_image, 0.5),
    "video": (_video, 0.5),
    "audio": (_audio, 0.5),
    "sticker": (_sticker, 0.5),
    "contacts": (_contacts, 0.5),
    "interactive": (_interactive, 1.0),
    "template": (_template, 1.0),
}
"""Every type with its weight in the load."""
BROWSER_TYPES: Final = frozenset({"text", "location", "document"})
"""Types that a browser session sends too, and that the page's ledger shows with their unique text."""


def draw(text: str, dice: random.Random, types: frozenset[str] = frozenset(FORMS)) -> MessageForm:
    """Return a message that contains `text`, of one of `types`."""
    able = [name for name in FORMS if name in types]
    (name,) = dice.choices(able, [FORMS[name][1] for name in able])
    return FORMS[name][0](text, dice)
