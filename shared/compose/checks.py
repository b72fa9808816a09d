"""Checks of texts, files and emoji against the limits of a channel. Pure."""

from __future__ import annotations

import unicodedata

from shared.channels.capabilities import Capability, of
from shared.channels.files import limit_of
from shared.channels.registry import channel_named
from shared.compose.refusals import file_too_large
from shared.errors import Refused
from shared.fields import FieldsInvalid
from shared.store.media import StoredFile


def check_text(text: str, connection_type: str, operation: str, field: str = "message") -> None:
    """Raise `Refused` unless a channel takes the text for an operation."""
    if not text.strip():
        raise Refused(
            "text_empty",
            f"The field {field} holds nothing but blanks." if text else f"The field {field} is empty.",
            field=field,
        )
    _check_length(text, of(connection_type)[operation], "characters", connection_type, field)


def check_caption(text: str, connection_type: str, type_: str) -> None:
    """Raise `Refused` unless a channel takes the text under a file."""
    capability = of(connection_type)[type_]
    if not capability.limit("captionCharacters"):
        raise FieldsInvalid(
            [("/caption", f"is nothing that a connection of type {connection_type} can send with {type_}")]
        )
    _check_length(text, capability, "captionCharacters", connection_type, "caption")


def _check_length(text: str, limits: Capability, name: str, connection_type: str, field: str) -> None:
    limit, length, unit = limits.limit(name), len(text), "characters"
    if name == "characters" and (most := limits.limit("bytes")):
        # a channel that counts so; of a type with a file the bytes are the file's
        limit, length, unit = most, len(text.encode()), "bytes"
    if length > limit:
        raise Refused(
            "text_too_long",
            f"The field {field} has {length} {unit}; a connection of type {connection_type} takes {limit}.",
            field=field,
            limit=limit,
            length=length,
        )


def check_file(kept: StoredFile, source: str, type_: str, connection_type: str, *, voice: bool) -> None:
    """Raise `Refused` unless a channel accepts a file as a message type. `source`: field that named it; `voice`: as a voice note."""
    limit = limit_of(connection_type, type_)
    if kept.size > limit.bytes:
        raise file_too_large(source, limit.bytes, kept.size)
    required = channel_named(connection_type).voice if voice else ""
    if limit.takes(kept.mimetype) and required in ("", kept.mimetype):
        return
    allowed = (required,) if required else limit.mimetypes
    takes = f"it takes {', '.join(allowed)}" if allowed else "say by `mimetype` or `filename` what it is"
    kind = "a voice note" if required else type_
    raise Refused(
        "media_type_refused",
        f"The file in {source} is {kept.mimetype}, which a connection of type {connection_type} does not take as {kind}; {takes}.",
        field=source,
        mimetype=kept.mimetype,
        allowed=list(allowed),
    )


def is_emoji(text: str) -> bool:
    """Return whether a text may be an emoji: of signs alone, or a digit made into a key."""
    categories = {unicodedata.category(character) for character in text}
    if text[0] in "0123456789#*":
        return text.endswith("\u20e3") and len(text) <= 3
    return (
        categories <= {"So", "Sk", "Sm", "Mn", "Me", "Cf", "Po", "Pd"}
        and bool(categories & {"So", "Sm", "Po", "Pd"})
        and not text.isascii()
    )
