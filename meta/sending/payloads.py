"""Bodies of send calls: one builder for each message type, by table. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meta.sending.interactive import interactive
from meta.sending.shapes import (
    PayloadRefused,
    anything,
    choice,
    date,
    flag,
    link,
    listing,
    mapping,
    matching,
    number,
    record,
    text,
    wrong,
)
from shared import content
from shared.channels.chat_ids import ChatInvalid, Form
from shared.channels.registry import channel_named
from shared.messages import OutboundMessage

__all__ = ["BUILDERS", "File", "PayloadRefused", "build", "files"]

CAPTION_MOST: Final = 1024
_ID_MOST: Final = 512
_VOICE: Final = "audio/ogg"
_DEEPEST: Final = 64
_FILED: Final = frozenset({"media", content.IMAGE, content.VIDEO, content.DOCUMENT})
"""Names under which a file may stand."""
_NONE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class File:
    """A file in our storage that a message carries, to be uploaded first.

    Attributes:
        type: what it is sent as (`image`, …). sha256: its digest. mimetype: "" when the message does not say.
    """

    type: str
    sha256: str
    mimetype: str = ""
    filename: str = ""


def files(message: OutboundMessage) -> list[File]:
    """Return the files that a message carries from our storage, also in headers and parameters. Raises `PayloadRefused`."""
    return list(_files(message.content, "", 0, message.type))


def build(message: OutboundMessage, ids: Mapping[str, str] = _NONE) -> bytes:
    """Return the JSON body that sends `message`.

    Args:
        ids: the provider's ids of `files(message)`, by digest.
    Raises:
        PayloadRefused: no body can be made of it.
    """
    if message.type in _CALLS:
        return _encoded({"messaging_product": "whatsapp", **_CALLS[message.type](message.content)})
    builder = BUILDERS.get(message.type)
    if builder is None:
        raise PayloadRefused("unsupported_type", f"type {message.type} cannot be sent on this channel")
    quoted = message.content.get("quoted")
    body = {
        "messaging_product": "whatsapp",
        **_addressed(message),
        **({"context": {"message_id": text(_ID_MOST)(quoted, "quoted")}} if quoted else {}),
        "biz_opaque_callback_data": message.token,
        "type": message.type,
        message.type: builder(_uploaded(message.content, ids, "", 0)),
    }
    return _encoded(body)


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return _ENCODER.encode(body).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise PayloadRefused("invalid_content", f"the content is no JSON ({type(error).__name__})") from None


def _addressed(message: OutboundMessage) -> Mapping[str, str]:
    try:
        chat = channel_named(message.connection_type).chat(message.chat_id, known=True)
    except ChatInvalid as problem:
        raise PayloadRefused("invalid_recipient", str(problem)) from None
    match chat.form:
        case Form.PHONE:
            # without the plus Meta may take the number for one of the business's own country
            return {"recipient_type": "individual", "to": f"+{chat.id}"}
        case Form.SHORT_CODE:
            return {"recipient_type": "individual", "to": chat.id}
        case Form.BUSINESS_SCOPED:
            return {"recipient_type": "individual", "recipient": chat.id}
        case _:
            return {"recipient_type": "group", "to": chat.id}


def _files(node: Any, type: str, depth: int, sent_as: str) -> Iterator[File]:
    """Find objects that name a file of ours; `type` is the name under which they stand, `sent_as` the message's own type."""
    if depth > _DEEPEST:
        raise PayloadRefused("invalid_content", "the content is nested too deeply")
    if isinstance(node, Mapping):
        if type in _FILED and isinstance(sha256 := node.get("sha256"), str):
            mimetype, filename = node.get("mimetype"), node.get("filename")
            yield File(
                sent_as if type == "media" else type,
                sha256,
                mimetype if isinstance(mimetype, str) else "",
                filename if isinstance(filename, str) else "",
            )
            return
        for name, value in node.items():
            yield from _files(value, name, depth + 1, sent_as)
    elif isinstance(node, list):
        for value in node:
            yield from _files(value, type, depth + 1, sent_as)


def _uploaded(node: Any, ids: Mapping[str, str], name: str, depth: int) -> Any:
    """Return content with the provider's ids in place of our digests."""
    if depth > _DEEPEST:
        raise PayloadRefused("invalid_content", "the content is nested too deeply")
    if isinstance(node, Mapping):
        if name in _FILED and isinstance(sha256 := node.get("sha256"), str):
            if sha256 not in ids:
                raise PayloadRefused("media_unknown", "a file that was not uploaded")
            kept = ("filename", "mimetype") if name == "media" else ("filename",) if name == "document" else ()
            return {"id": ids[sha256]} | {key: node[key] for key in kept if node.get(key)}
        return {key: _uploaded(value, ids, key, depth + 1) for key, value in node.items()}
    if isinstance(node, list):
        return [_uploaded(value, ids, name, depth + 1) for value in node]
    return node


def _text(given: Mapping[str, Any]) -> Mapping[str, Any]:
    # Meta would fetch the first address in the text and show it; nobody asked for that
    return {"body": text(4096)(given.get("body"), "body"), "preview_url": given.get("preview") is True}


_MEDIA: Final = record(
    {"id": text(255), "link": link, "mimetype": text(255), "filename": text(240)}, exactly_one=("id", "link")
)


def _media(given: Mapping[str, Any], *, caption: bool = False) -> dict[str, Any]:
    media = _MEDIA(given.get("media"), "media")
    made = {name: media[name] for name in ("id", "link") if name in media}
    if said := given.get("caption"):
        if not caption:
            raise wrong("caption", "this type carries none")
        made["caption"] = text(CAPTION_MOST)(said, "caption")
    return made


def _document(given: Mapping[str, Any]) -> Mapping[str, Any]:
    made = _media(given, caption=True)
    name = given.get("filename") or given["media"].get("filename")
    return made | ({"filename": text(240)(name, "filename")} if name else {})


def _audio(given: Mapping[str, Any]) -> Mapping[str, Any]:
    made = _media(given)
    if not given.get("voice"):
        return made
    mimetype = given["media"].get("mimetype")
    if mimetype and mimetype.partition(";")[0] != _VOICE:
        raise wrong("voice", f"a voice note is {_VOICE} with Opus, not {mimetype[:60]}")
    return made | {"voice": flag(given["voice"], "voice")}


_LOCATION: Final = record(
    {"latitude": number(-90, 90), "longitude": number(-180, 180), "name": text(1000), "address": text(1000)}
)


def _location(given: Mapping[str, Any]) -> Mapping[str, Any]:
    place = {
        name: given[name] for name in ("latitude", "longitude", "name", "address") if given.get(name) not in (None, "")
    }
    for name in ("latitude", "longitude"):
        if name not in place:
            raise wrong(name, "is missing")
    checked: Mapping[str, Any] = _LOCATION(place, "location")
    return checked


_WHERE: Final = text(60, 0)
_WORD: Final = text(1000, 0)
_NAME: Final = record(
    dict.fromkeys(("formatted_name", "first_name", "middle_name", "last_name", "prefix", "suffix"), text(300, 0)),
    needed=("formatted_name",),
    more=False,
)
_CONTACT: Final = record(
    {
        "name": _NAME,
        "phones": listing(
            record({"phone": text(60), "type": _WHERE, "wa_id": text(32)}, needed=("phone",), more=False), 0, 20
        ),
        "emails": listing(
            record(
                {"email": matching(r"[^@\s]{1,64}@[^@\s]{1,255}", "an e-mail address"), "type": _WHERE},
                needed=("email",),
                more=False,
            ),
            0,
            20,
        ),
        "urls": listing(record({"url": link, "type": _WHERE}, needed=("url",), more=False), 0, 20),
        "addresses": listing(
            record(
                {**dict.fromkeys(("street", "city", "state", "zip", "country", "country_code"), _WORD), "type": _WHERE},
                more=False,
            ),
            0,
            20,
        ),
        "org": record(dict.fromkeys(("company", "department", "title"), _WORD), more=False),
        "birthday": date,
    },
    needed=("name",),
    more=False,
)
_CONTACTS: Final = listing(_CONTACT, 1, 5)


def _contacts(given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [_with_a_part(contact) for contact in _CONTACTS(given.get("contacts"), "contacts")]


def _with_a_part(contact: Mapping[str, Any]) -> Mapping[str, Any]:
    name = {part: value for part, value in contact["name"].items() if value}
    if "formatted_name" not in name:
        raise wrong("contacts.name", "formatted_name is empty")
    # Meta wants at least one part beside the whole
    return {**contact, "name": name if len(name) > 1 else name | {"first_name": name["formatted_name"]}}


def _reaction(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "message_id": text(_ID_MOST)(given.get("target"), "target"),
        "emoji": text(40, 0)(given.get("emoji"), "emoji"),
    }


def _interactive(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return interactive({name: value for name, value in given.items() if name != "quoted"}, "interactive")


_PARAMETER_MEDIA: Final = record({"id": text(255), "link": link}, exactly_one=("id", "link"))
_PARAMETER: Final = record(
    {
        "type": text(64),
        "text": text(4096, 0),
        "image": _PARAMETER_MEDIA,
        "video": _PARAMETER_MEDIA,
        "document": _PARAMETER_MEDIA,
    },
    needed=("type",),
)
_COMPONENT: Final = record(
    {
        "type": choice(
            "header", "body", "button", "carousel", "limited_time_offer", "order_status", "HEADER", "BODY", "BUTTON"
        ),
        "sub_type": text(64),
        "index": anything,
        "parameters": listing(_PARAMETER, 0, 100),
        "cards": listing(mapping, 1, 10),
    },
    needed=("type",),
)
_LANGUAGE: Final = matching(r"[A-Za-z]{2,3}(_[A-Za-z0-9]{2,4})?", "a language like en_US")
_TEMPLATE: Final = record({"name": text(512), "components": listing(_COMPONENT, 0, 20)}, needed=("name",))


def _template(given: Mapping[str, Any]) -> Mapping[str, Any]:
    language = given.get("language")
    code = language.get("code") if isinstance(language, Mapping) else language
    named = {name: given[name] for name in ("name", "components") if given.get(name) is not None}
    made: dict[str, Any] = _TEMPLATE(named, "template") | {
        "language": {"code": matching(r"[A-Za-z]{2,3}(_[A-Za-z0-9]{2,4})?", "a language like en_US")(code, "language")}
    }
    for index, component in enumerate(made.get("components", ())):
        component["type"] = component["type"].lower()
        if component["type"] == "button":
            component["index"] = _button_index(component.get("index"), f"template.components[{index}]")
    return made


def _button_index(given: Any, place: str) -> str:
    written = str(given) if isinstance(given, int | str) and not isinstance(given, bool) else ""
    if not written.isdecimal() or len(written) > 2:
        raise wrong(place, "a button names its index, 0 to 99")
    return written


def _read(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"status": "read", "message_id": text(_ID_MOST)(given.get("target"), "target")}


def _typing(given: Mapping[str, Any]) -> Mapping[str, Any]:
    if not given.get("target"):
        raise PayloadRefused(
            "target_missing",
            "on this channel typing is shown as the beginning of an answer: it names the message that is answered",
        )
    return {**_read(given), "typing_indicator": {"type": "text"}}


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)
BUILDERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    content.TEXT: _text,
    content.IMAGE: lambda given: _media(given, caption=True),
    content.VIDEO: lambda given: _media(given, caption=True),
    content.AUDIO: _audio,
    content.DOCUMENT: _document,
    content.STICKER: _media,
    content.LOCATION: _location,
    content.CONTACTS: _contacts,
    content.REACTION: _reaction,
    content.INTERACTIVE: _interactive,
    content.TEMPLATE: _template,
}
"""What makes the object of one message type, by type."""
_CALLS: Final[Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]] = {
    content.READ: _read,
    content.TYPING: _typing,
}
"""What is no message to anybody, but a word about one that came in."""
