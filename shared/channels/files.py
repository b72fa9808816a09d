"""Which files each channel accepts, by its row: checked before a message is queued, and again before an upload."""

from __future__ import annotations

from typing import Final

from shared.channels.channel import FileLimit
from shared.channels.registry import CHANNELS, channel_named
from shared.errors import BulkheadError

LARGEST: Final = max(limit.bytes for channel in CHANNELS for limit in channel.files.values())
"""Bytes of the largest file that any channel accepts."""


class MediaRefused(BulkheadError):
    """Raised when a channel does not accept a file, for its type, its size or its message type."""


def largest_of(type: str) -> int:
    """Return the bytes of the largest file that any channel accepts as a message type. Raises `ValueError` when none
    does."""
    return max(channel.files[type].bytes for channel in CHANNELS if type in channel.files)


def limit_of(connection_type: str, type: str) -> FileLimit:
    """Return what a channel accepts as a message type. Raises `MediaRefused` when it accepts no files as this type."""
    limit = channel_named(connection_type).files.get(type)
    if limit is None:
        raise MediaRefused(f"a connection of type {connection_type} sends no {type}")
    return limit


def check(connection_type: str, type: str, mimetype: str, size: int, *, is_animated: bool | None = None) -> str:
    """Return the mimetype under which a channel's provider is given a file.

    Args:
        type: of the message. mimetype, is_animated: see `shared.media.kinds`. size: bytes.
    Raises:
        MediaRefused: it does not.
    """
    limit = limit_of(connection_type, type)
    if size == 0:
        raise MediaRefused("the file is empty")
    if not limit.takes(mimetype):
        accepted = (
            ", ".join(f"{one}*" if one.endswith("/") else one for one in limit.mimetypes)
            or "any file whose type can be determined"
        )
        raise MediaRefused(
            f"{mimetype} cannot be sent as {type} by a connection of type {connection_type}: it accepts {accepted}"
        )
    if size > (most := limit.most(mimetype, is_animated=is_animated)):
        raise MediaRefused(
            f"the file has {size} bytes; as {type} a connection of type {connection_type} accepts at most {most}"
        )
    return limit.provider_type(mimetype)
