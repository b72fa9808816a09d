"""Checks of texts, files and emoji against the limits of a channel. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from shared.channels.capabilities import Capability, of
from shared.channels.files import limit_of
from shared.channels.registry import channel_named
from shared.compose.refusals import file_too_large
from shared.errors import Refused
from shared.fields import FieldsInvalid
from shared.media.kinds import UNKNOWN
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
    # of a type with a file, `bytes` is the limit of the file
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
    """Raise `Refused` unless a channel accepts a file as a message type. `source`: field that named it; `voice`: as a
    voice note."""
    limit = limit_of(connection_type, type_)
    if kept.size > (most := limit.most(kept.mimetype, is_animated=kept.is_animated)):
        raise file_too_large(source, most, kept.size)
    if not limit.takes(kept.mimetype):
        raise _type_refused(kept.mimetype, source, type_, connection_type, limit.mimetypes)
    if voice:
        check_voice(kept.mimetype, source, connection_type)


def check_voice(mimetype: str, source: str, connection_type: str) -> None:
    """Raise `Refused` unless a channel accepts audio of this type as a voice note. `source`: field that named it."""
    required = channel_named(connection_type).voice
    # providers show other audio as a file, not as a voice note
    if required not in ("", mimetype):
        raise _type_refused(mimetype, source, "a voice note", connection_type, (required,))


def _type_refused(mimetype: str, source: str, kind: str, connection_type: str, allowed: Sequence[str]) -> Refused:
    accepted = ", ".join(f"{one}*" if one.endswith("/") else one for one in allowed) or "any known type"
    # a type that cannot be detected is most often one that was not declared
    hint = "; declare what it is by `mimetype` or `filename`" if mimetype == UNKNOWN else ""
    return Refused(
        "media_type_refused",
        f"The file in {source} is {mimetype}, which a connection of type {connection_type} does not accept as {kind}:"
        f" it accepts {accepted}{hint}.",
        field=source,
        mimetype=mimetype,
        allowed=list(allowed),
    )


def is_emoji(text: str) -> bool:
    """Return whether a text is one emoji: one character as people see it, whatever it is put together from."""
    return bool(_grapheme().fullmatch(text) and _pictograph().search(text))


@cache
def _grapheme() -> Any:
    # loaded with the first reaction: only that needs the current data of Unicode
    import regex  # noqa: PLC0415

    return regex.compile(r"\X")


@cache
def _pictograph() -> Any:
    import regex  # noqa: PLC0415

    # a picture, a flag of two letters, or a digit made into a key
    return regex.compile(r"\p{Extended_Pictographic}|\p{RI}\p{RI}|[0-9#*]\N{VARIATION SELECTOR-16}?\u20E3")
