"""Bodies of send calls: one encoder for each message type, by table. Pure.

Content was checked before it was accepted (`shared.compose`); here it is only written as Meta wants it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from shared import content
from shared.channels.chat_ids import ChatIdForm, ChatInvalid
from shared.channels.registry import channel_named
from shared.errors import BulkheadError
from shared.messages import OutboundMessage

_DEEPEST: Final = 64
"""Levels of nesting. Carousels, the deepest of Meta's objects, have about ten; the limit ends the recursion before
Python's own limit does, with a code in place of a crash.
"""
_FILED: Final = frozenset({"media", content.IMAGE, content.VIDEO, content.DOCUMENT})
"""Names under which a file may stand: `media` in our own content; the others are Meta's, in headers and parameters."""
_NONE: Final[Mapping[str, str]] = {}


class PayloadRefused(BulkheadError):
    """Raised when no body can be made of a message. The text never repeats its content.

    Attributes:
        code: for the history.
    """

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """A file in our storage that a message carries, to be uploaded first.

    Attributes:
        type: what it is sent as (`image`, …). sha256: its digest. mimetype: "" when the message does not say.
    """

    type: str
    sha256: str
    mimetype: str = ""
    filename: str = ""


def files(message: OutboundMessage) -> list[PayloadFile]:
    """Return the files that a message carries from our storage, also in headers and parameters. Raises
    `PayloadRefused`.
    """
    return list(_files(message.content, "", 0, message.type))


def build(message: OutboundMessage, ids: Mapping[str, str] = _NONE) -> bytes:
    """Return the JSON body that sends `message`.

    Args:
        ids: the provider's ids of `files(message)`, by digest.
    Raises:
        PayloadRefused: no body can be made of it.
    """
    if message.type not in channel_named(message.connection_type).operations:
        raise PayloadRefused("unsupported_type", f"type {message.type} cannot be sent on this channel")
    with encoding():
        if message.type in _CALLS:
            return _encoded({"messaging_product": "whatsapp", **_CALLS[message.type](message.content)})
        quoted = message.content.get("quoted")
        return _encoded(
            {
                "messaging_product": "whatsapp",
                **_addressed(message),
                **({"context": {"message_id": quoted}} if quoted else {}),
                # comes back in every status webhook of this message: the proof of a send in doubt
                "biz_opaque_callback_data": message.token,
                "type": message.type,
                message.type: BUILDERS[message.type](_uploaded(message.content, ids, "", 0)),
            }
        )


@contextmanager
def encoding() -> Iterator[None]:
    """Refuse content that lacks what a body needs, in place of ending the process: only a row written by hand can."""
    try:
        yield
    # what a builder meets when a field is missing or of another type. The class only: the text would repeat content
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise PayloadRefused("invalid_content", f"the content cannot be encoded ({type(error).__name__})") from None


def _encoded(body: Mapping[str, Any]) -> bytes:
    return _ENCODER.encode(body).encode()


def _addressed(message: OutboundMessage) -> Mapping[str, str]:
    try:
        chat = channel_named(message.connection_type).chat(message.chat_id, known=True)
    except ChatInvalid as problem:
        raise PayloadRefused("invalid_recipient", str(problem)) from None
    match chat.form:
        case ChatIdForm.PHONE:
            # without the plus Meta may take the number for one of the business's own country
            return {"recipient_type": "individual", "to": f"+{chat.id}"}
        case ChatIdForm.SHORT_CODE:
            return {"recipient_type": "individual", "to": chat.id}
        case ChatIdForm.BUSINESS_SCOPED:
            # Meta takes a business-scoped user id under `recipient`, and a number under `to`
            return {"recipient_type": "individual", "recipient": chat.id}
        case _:
            return {"recipient_type": "group", "to": chat.id}


def _files(node: Any, type: str, depth: int, sent_as: str) -> Iterator[PayloadFile]:
    """Find objects that name a file of ours; `type` is the name under which they stand, `sent_as` the message's own
    type.
    """
    if depth > _DEEPEST:
        raise PayloadRefused("invalid_content", "the content is nested too deeply")
    if isinstance(node, Mapping):
        # by name and not by key alone: a `sha256` in free parameters of a template is text
        if type in _FILED and isinstance(sha256 := node.get("sha256"), str):
            mimetype, filename = node.get("mimetype"), node.get("filename")
            yield PayloadFile(
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
            # `media` is our object, read by the builders below; of Meta's own only `document` has a file name
            kept = ("filename", "mimetype") if name == "media" else ("filename",) if name == "document" else ()
            return {"id": ids[sha256]} | {key: node[key] for key in kept if node.get(key)}
        return {key: _uploaded(value, ids, key, depth + 1) for key, value in node.items()}
    if isinstance(node, list):
        return [_uploaded(value, ids, name, depth + 1) for value in node]
    return node


def _text(given: Mapping[str, Any]) -> Mapping[str, Any]:
    # Meta would fetch the first address in the text and show it: only when it was asked for
    return {"body": given["body"], "preview_url": given.get("preview") is True}


def _media(given: Mapping[str, Any]) -> dict[str, Any]:
    media = given["media"]
    made = {name: media[name] for name in ("id", "link") if name in media}
    return made | ({"caption": given["caption"]} if given.get("caption") else {})


def _document(given: Mapping[str, Any]) -> Mapping[str, Any]:
    name = given.get("filename") or given["media"].get("filename")
    return _media(given) | ({"filename": name} if name else {})


def _audio(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return _media(given) | ({"voice": True} if given.get("voice") else {})


def _location(given: Mapping[str, Any]) -> Mapping[str, Any]:
    labels = {name: given[name] for name in ("name", "address") if given.get(name)}
    return {"latitude": given["latitude"], "longitude": given["longitude"], **labels}


def _contacts(given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [_with_a_part(contact) for contact in given["contacts"]]


def _with_a_part(contact: Mapping[str, Any]) -> Mapping[str, Any]:
    name = {part: value for part, value in contact["name"].items() if value}
    # Meta wants at least one part beside the whole
    return {**contact, "name": name if len(name) > 1 else name | {"first_name": name["formatted_name"]}}


def _reaction(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"message_id": given["target"], "emoji": given["emoji"]}


def _interactive(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in given.items() if name != "quoted"}


def _template(given: Mapping[str, Any]) -> Mapping[str, Any]:
    components = given.get("components")
    return {
        "name": given["name"],
        "language": {"code": given["language"]},
        **({"components": _components(components)} if components else {}),
    }


def _components(given: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return components as Meta spells them: types in small letters, indexes as texts; those of cards too."""
    return [
        {
            **component,
            "type": component["type"].lower(),
            **({"index": str(component["index"])} if "index" in component else {}),
            **(
                {"cards": [{**card, "components": _components(card["components"])} for card in component["cards"]]}
                if "cards" in component
                else {}
            ),
        }
        for component in given
    ]


def _read(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"status": "read", "message_id": given["target"]}


def _typing(given: Mapping[str, Any]) -> Mapping[str, Any]:
    if not given.get("target"):
        raise PayloadRefused(
            "target_missing",
            "on this channel typing is shown as the beginning of an answer: it names the message that is answered",
        )
    # Meta has no typing call of its own: it is a field of the read mark, for 25 s or until the answer is sent
    return {**_read(given), "typing_indicator": {"type": "text"}}


# made once, since to make an encoder costs more than to use it. No NaN, which is not JSON. Content comes from JSON in
# PostgreSQL and cannot be circular
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)
BUILDERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    content.TEXT: _text,
    content.IMAGE: _media,
    content.VIDEO: _media,
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
"""Types that are no messages, but marks on one that came in."""
