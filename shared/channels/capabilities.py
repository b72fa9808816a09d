"""What each connection type can do, derived from its row: for clients, and for refusals before anything is queued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from shared import content
from shared.channels.channel import TYPING_OFF, ConnectionType
from shared.channels.registry import CHANNELS, channel_named

Reason = Literal["", "channel", "not_yet"]
Limits: TypeAlias = Mapping[str, int | list[str] | dict[str, int]]

OPERATIONS: Final = (
    content.TEXT,
    content.IMAGE,
    content.VIDEO,
    content.AUDIO,
    content.DOCUMENT,
    content.STICKER,
    content.LOCATION,
    content.CONTACTS,
    content.REACTION,
    content.INTERACTIVE,
    content.TEMPLATE,
    content.READ,
    content.TYPING,
    TYPING_OFF,
    content.FORWARD,
    content.EDIT,
    content.DELETE,
)


@dataclass(frozen=True, kw_only=True)
class Capability:
    """One operation on one connection type.

    Attributes:
        reason: why it is not supported: `channel` when the channel has no such operation, `not_yet` when Bulkhead
            cannot do it yet.
        limits: what a client must stay within, by name: numbers (`characters`, `captionCharacters`, `bytes`, …) and,
            for files, `mimetypes` (one that ends in `/` stands for its whole family; without the list any is taken)
            and `refusedMimetypes`; `bytesOf`: lower limits, by type; `bytesOfStill`: of pictures that do not move.
    """

    reason: Reason = ""
    limits: Limits = field(default_factory=dict)

    @property
    def supported(self) -> bool:
        """Whether it can be asked for now."""
        return not self.reason

    def limit(self, name: str) -> int:
        """Return a limit that is a number, 0 when there is none."""
        value = self.limits.get(name, 0)
        return value if isinstance(value, int) else 0

    def as_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "supported": self.supported,
            **({"reason": self.reason} if self.reason else {}),
            **({"limits": dict(self.limits)} if self.limits else {}),
        }


_CHANNEL_CANNOT: Final = Capability(reason="channel")


def _capabilities(channel: ConnectionType) -> Mapping[str, Capability]:
    # clients see the limits of a file beside those of its caption, under the name of the operation
    for_files: dict[str, Limits] = {
        name: {
            "bytes": limit.bytes,
            **({"bytesOf": dict(limit.bytes_of)} if limit.bytes_of else {}),
            **({"bytesOfStill": dict(limit.bytes_of_still)} if limit.bytes_of_still else {}),
            **({"mimetypes": list(limit.mimetypes)} if limit.mimetypes else {}),
            **({"refusedMimetypes": list(limit.but_not)} if limit.but_not else {}),
        }
        for name, limit in channel.files.items()
    }
    return {
        name: Capability(limits={**channel.operations[name], **for_files.get(name, {})})
        if name in channel.operations
        else _CHANNEL_CANNOT
        # every operation, so that a client finds an answer for each and not an absence
        for name in OPERATIONS
    }


# made once: rows are data, and every message asks for one
_OF: Final = {channel.name: _capabilities(channel) for channel in CHANNELS}


def of(connection_type: str) -> Mapping[str, Capability]:
    """Return every operation with what a connection type can do. Raises `UnknownConnectionType`."""
    return _OF[channel_named(connection_type).name]
