"""Which files may be sent, by connection type and message type, as data: checked before anything is queued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.content import AUDIO, DOCUMENT, IMAGE, STICKER, VIDEO
from shared.media.errors import MediaRefused

_KB: Final = 1024
_MB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limit:
    """What one channel takes as one type.

    Attributes:
        bytes: most, of a file. mimetypes: those that are taken; one that ends in `/` stands for its whole family, and none at all for any.
        but_not: those that are not taken although their family is.
    """

    bytes: int
    mimetypes: tuple[str, ...] = ()
    but_not: tuple[str, ...] = ()

    def takes(self, mimetype: str) -> bool:
        """Return whether files of this kind are taken."""
        return mimetype not in self.but_not and (
            not self.mimetypes
            or any(mimetype == one or (one.endswith("/") and mimetype.startswith(one)) for one in self.mimetypes)
        )


_CLOUD: Final[Mapping[str, Limit]] = {
    IMAGE: Limit(5 * _MB, ("image/jpeg", "image/png")),
    VIDEO: Limit(16 * _MB, ("video/mp4", "video/3gpp")),
    AUDIO: Limit(16 * _MB, ("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg")),
    # the documented kinds are text, PDF and Office; others often pass, and Meta says so if one does not
    DOCUMENT: Limit(100 * _MB, but_not=("application/octet-stream",)),
    # animated; static ones are smaller, which Meta checks
    STICKER: Limit(500 * _KB, ("image/webp",)),
}
_BROWSER: Final[Mapping[str, Limit]] = {
    IMAGE: Limit(16 * _MB, ("image/jpeg", "image/png", "image/webp", "image/gif")),
    VIDEO: Limit(64 * _MB, ("video/mp4", "video/3gpp", "video/quicktime")),
    AUDIO: Limit(16 * _MB, ("audio/",)),
    DOCUMENT: Limit(100 * _MB),
    STICKER: Limit(1 * _MB, ("image/webp", "image/png", "image/jpeg")),
}
_MESSENGER: Final[Mapping[str, Limit]] = {
    IMAGE: Limit(8 * _MB, ("image/jpeg", "image/png", "image/gif")),
    VIDEO: Limit(25 * _MB, ("video/",)),
    AUDIO: Limit(25 * _MB, ("audio/",)),
    DOCUMENT: Limit(25 * _MB),
}
_INSTAGRAM: Final[Mapping[str, Limit]] = {
    IMAGE: Limit(8 * _MB, ("image/jpeg", "image/png", "image/gif")),
    VIDEO: Limit(25 * _MB, ("video/mp4", "video/ogg", "video/x-msvideo", "video/quicktime", "video/webm")),
    AUDIO: Limit(25 * _MB, ("audio/aac", "audio/mp4", "audio/wav")),
}

LIMITS: Final[Mapping[str, Mapping[str, Limit]]] = {
    "meta_direct": _CLOUD,
    "meta_embedded": _CLOUD,
    "360dialog": _CLOUD,
    "wwebjs": _BROWSER,
    "messenger": _MESSENGER,
    "instagram": _INSTAGRAM,
}
"""By connection type and message type; what is not listed is not taken. Megabytes are 1,048,576 bytes."""

LARGEST: Final = max(limit.bytes for types in LIMITS.values() for limit in types.values())
"""Bytes of the largest file that any channel takes."""


def limit_of(connection_type: str, type: str) -> Limit:
    """Return what a channel takes as a type. Raises `MediaRefused` when it takes no such type."""
    limit = LIMITS.get(connection_type, {}).get(type)
    if limit is None:
        raise MediaRefused(f"a connection of type {connection_type} sends no {type}")
    return limit


def check(connection_type: str, type: str, mimetype: str, size: int) -> None:
    """Return if a channel takes a file.

    Args:
        type: of the message. mimetype: see `shared.media.kinds.mimetype_of`. size: bytes.
    Raises:
        MediaRefused: it does not.
    """
    limit = limit_of(connection_type, type)
    if size == 0:
        raise MediaRefused("the file is empty")
    if not limit.takes(mimetype):
        taken = (
            ", ".join(f"{one}*" if one.endswith("/") else one for one in limit.mimetypes)
            or "any file whose kind can be told"
        )
        raise MediaRefused(
            f"{mimetype} cannot be sent as {type} by a connection of type {connection_type}: it takes {taken}"
        )
    if size > limit.bytes:
        raise MediaRefused(
            f"the file has {size} bytes; as {type} a connection of type {connection_type} takes at most {limit.bytes}"
        )
