"""THE registry of connection types: every row, in the order in which lists show them."""

from __future__ import annotations

from typing import Final

from shared.channels.channel import ConnectionType
from shared.channels.instagram import INSTAGRAM
from shared.channels.messenger import MESSENGER
from shared.channels.whatsapp_cloud import D360, META_DIRECT, META_EMBEDDED
from shared.channels.whatsapp_web import WWEBJS
from shared.errors import BulkheadError
from shared.kinds import ProcessKind, kind_named

CHANNELS: Final[tuple[ConnectionType, ...]] = (WWEBJS, META_DIRECT, META_EMBEDDED, D360, MESSENGER, INSTAGRAM)


# a KeyError as well: callers that look up names in registries handle both alike
class UnknownConnectionType(BulkheadError, KeyError):
    """Raised when a connection type has no row."""

    def __str__(self) -> str:
        """Return the sentence: `KeyError` would quote it."""
        return str(self.args[0])


_BY_NAME: Final = {channel.name: channel for channel in CHANNELS}


def channel_named(connection_type: str) -> ConnectionType:
    """Return the row of a connection type. Raises `UnknownConnectionType` when there is none."""
    try:
        return _BY_NAME[connection_type]
    except KeyError:
        raise UnknownConnectionType(
            f"Unknown connection type {connection_type!r}; known: {', '.join(_BY_NAME)}"
        ) from None


def connection_types() -> tuple[str, ...]:
    """Return every connection type."""
    return tuple(_BY_NAME)


def channels_of(kind: str) -> tuple[ConnectionType, ...]:
    """Return the rows that a process kind serves."""
    return tuple(channel for channel in CHANNELS if channel.kind == kind)


def kind_for(connection_type: str) -> ProcessKind:
    """Return the process kind that serves a connection type. Raises `UnknownConnectionType`."""
    return kind_named(channel_named(connection_type).kind)
