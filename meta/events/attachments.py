"""Reads the contents of Messenger's and Instagram's messages into the shape that every channel shares
(`shared/content.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meta.events import content
from meta.events.content import ParsedContent
from meta.events.values import Unreadable, clean, mapping, name, number, objects, present, text
from shared.content import AUDIO, DOCUMENT, IMAGE, INTERACTIVE, LOCATION, REACTION, STICKER, TEXT, VIDEO

_FILES: Final[Mapping[str, str]] = {"image": IMAGE, "video": VIDEO, "audio": AUDIO, "file": DOCUMENT}
"""Attachments that are files, and our types."""

_EMOJI: Final[Mapping[str, str]] = {
    "love": "❤",
    "like": "👍",
    "dislike": "👎",
    "smile": "😆",
    "laugh": "😆",
    "wow": "😮",
    "sad": "😢",
    "angry": "😠",
}
"""Reactions that come as a word without an emoji."""


def parse_contents(message: Mapping[str, Any]) -> list[ParsedContent]:
    """Return the contents of one message, one for each attachment. A text beside a file is its caption."""
    body = text(message.get("text"))
    if message.get("is_unsupported") is True:
        return [ParsedContent(content.UNSUPPORTED, {"kind": "unsupported", "errors": []})]
    # before the text: a tap has both, and its payload is what the sender chose to act on
    if quick := mapping(message.get("quick_reply")):
        return [ParsedContent(content.BUTTON, {"text": body, "payload": text(quick.get("payload"))})]
    parts = [_attachment(attachment) for attachment in objects(message.get("attachments"))]
    if parts and body:
        return _beside(body, parts)
    if not parts and not isinstance(message.get("text"), str):
        return [content.unknown({"message": message}, "message")]
    return parts or [ParsedContent(TEXT, {"body": body})]


def _beside(body: str, parts: list[ParsedContent]) -> list[ParsedContent]:
    first = parts[0]
    if first.file and first.type != STICKER:
        return [ParsedContent(first.type, first.content | {"caption": body}, first.file), *parts[1:]]
    # a link's preview says nothing beside the words that hold the link
    return [ParsedContent(TEXT, {"body": body}), *(part for part in parts if part.content.get("kind") != "fallback")]


def _attachment(attachment: Mapping[str, Any]) -> ParsedContent:
    kind, payload = text(attachment.get("type"))[:60], mapping(attachment.get("payload"))
    url = text(payload.get("url")) or text(attachment.get("url"))
    if kind in _FILES and url:
        # Messenger sends stickers as images with an id
        is_sticker = kind == "image" and name(payload.get("sticker_id"))
        own = {
            "url": url,
            "filename": payload.get("name") or payload.get("title"),
            "mime_type": payload.get("mime_type"),
        }
        try:
            return content.media(STICKER if is_sticker else _FILES[kind], own)
        # an address that cannot be fetched: kept as unknown, so that the line is not lost
        except Unreadable:
            return content.unknown({"type": kind, kind: payload}, kind)
    if kind == "location":
        place = mapping(payload.get("coordinates"))
        latitude, longitude = number(place.get("lat")), number(place.get("long"))
        if latitude is not None and longitude is not None:
            return ParsedContent(
                LOCATION, {"latitude": latitude, "longitude": longitude} | present(name=text(attachment.get("title")))
            )
    if not kind:
        return content.unknown({"type": "attachment", "attachment": attachment}, "attachment")
    # shares, story mentions, reels, templates: what they are and where they lead
    title = text(attachment.get("title")) or text(payload.get("title"))
    return ParsedContent(
        INTERACTIVE,
        present(kind=kind, id=name(payload.get("id")), title=title) | {"response": clean(payload) | present(url=url)},
    )


def reaction(given: Mapping[str, Any]) -> ParsedContent:
    """Return a reaction or its removal. Raises `Unreadable` when it names no message."""
    target = name(given.get("mid"))
    if not target:
        raise Unreadable("reaction.mid: missing")
    word = text(given.get("reaction"))[:100]
    emoji = "" if given.get("action") == "unreact" else text(given.get("emoji"))[:100] or _EMOJI.get(word, word)
    return ParsedContent(REACTION, {"emoji": emoji, "target": target})


def postback(given: Mapping[str, Any]) -> ParsedContent:
    """Return the tap on a button that we sent earlier."""
    return ParsedContent(content.BUTTON, {"text": text(given.get("title")), "payload": text(given.get("payload"))})


def system(kind: str, given: Mapping[str, Any]) -> ParsedContent:
    """Return an event of a chat that is no message."""
    return ParsedContent(content.SYSTEM, clean(given) | {"kind": kind, "body": ""})
