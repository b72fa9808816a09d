"""What each connection type can do, as data for clients (`GET /api/v2/connections/…`) and for refusals before anything is queued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from api.problems import Problem
from shared import content
from shared.media.limits import LIMITS

Reason = Literal["", "channel", "not_yet"]
Limits: TypeAlias = Mapping[str, int | list[str]]

TYPING_OFF: Final = "typing_off"
"""To stop showing that something is being written; every other operation is called like its message type."""
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
        reason: why it is not supported: `channel` when the channel has no such operation, `not_yet` when Bulkhead cannot do it yet.
        limits: what a client must stay within, by name: numbers (`characters`, `captionCharacters`, `bytes`, …) and, for files, `mimetypes` (one
            that ends in `/` stands for its whole family; without the list any is taken) and `refusedMimetypes`.
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
_CAPTION: Final = {"captionCharacters": 1024}
_CLOUD: Final[Mapping[str, Limits]] = {
    content.TEXT: {"characters": 4096},
    content.IMAGE: _CAPTION,
    content.VIDEO: _CAPTION,
    content.AUDIO: {},
    content.DOCUMENT: _CAPTION,
    content.STICKER: {},
    content.LOCATION: {},
    content.CONTACTS: {"contacts": 5},
    content.REACTION: {},
    content.INTERACTIVE: {"characters": 4096},
    content.TEMPLATE: {},
    content.READ: {},
    # the Cloud API ends it by itself, and has no call to edit, delete or forward what was sent
    content.TYPING: {"seconds": 25},
}
_BROWSER: Final[Mapping[str, Limits]] = {
    content.TEXT: {"characters": 65536},
    content.IMAGE: _CAPTION,
    content.VIDEO: _CAPTION,
    content.AUDIO: {},
    content.DOCUMENT: _CAPTION,
    content.STICKER: {},
    content.LOCATION: {},
    content.CONTACTS: {"contacts": 5},
    content.REACTION: {},
    content.READ: {},
    content.TYPING: {"seconds": 25},
    TYPING_OFF: {},
    content.FORWARD: {},
    content.EDIT: {"characters": 65536},
    content.DELETE: {},
}
_MESSENGER: Final[Mapping[str, Limits]] = {
    content.TEXT: {"characters": 2000},
    content.IMAGE: {},
    content.VIDEO: {},
    content.AUDIO: {},
    content.DOCUMENT: {},
    content.REACTION: {},
    content.READ: {},
    content.TYPING: {"seconds": 25},
    TYPING_OFF: {},
}
_INSTAGRAM: Final[Mapping[str, Limits]] = {
    # counted in bytes of UTF-8 there
    content.TEXT: {"characters": 1000, "bytes": 1000},
    content.IMAGE: {},
    content.VIDEO: {},
    content.AUDIO: {},
    content.REACTION: {},
    content.READ: {},
    content.TYPING: {"seconds": 25},
    TYPING_OFF: {},
}


def _table(connection_type: str, supported: Mapping[str, Limits]) -> Mapping[str, Capability]:
    files = LIMITS.get(connection_type, {})
    for_files: dict[str, Limits] = {
        name: {
            "bytes": limit.bytes,
            **({"mimetypes": list(limit.mimetypes)} if limit.mimetypes else {}),
            **({"refusedMimetypes": list(limit.but_not)} if limit.but_not else {}),
        }
        for name, limit in files.items()
    }
    return {
        name: Capability(limits={**supported[name], **for_files.get(name, {})})
        if name in supported
        else _CHANNEL_CANNOT
        for name in OPERATIONS
    }


CAPABILITIES: Final[Mapping[str, Mapping[str, Capability]]] = {
    name: _table(name, supported)
    for name, supported in {
        "wwebjs": _BROWSER,
        "meta_direct": _CLOUD,
        "meta_embedded": _CLOUD,
        "360dialog": _CLOUD,
        "messenger": _MESSENGER,
        "instagram": _INSTAGRAM,
    }.items()
}
_UNLISTED: Final[Mapping[str, Capability]] = {
    **dict.fromkeys(OPERATIONS, Capability(reason="not_yet")),
    content.TEXT: Capability(limits={"characters": 1000}),
}
"""A channel that came later and has no row yet."""


def of(connection_type: str) -> Mapping[str, Capability]:
    """Return every operation with what a connection type can do."""
    return CAPABILITIES.get(connection_type, _UNLISTED)


def require(connection_type: str, operation: str) -> Capability:
    """Return what a connection type can do of an operation. Raises `Problem` when it cannot do it at all."""
    capability = of(connection_type)[operation]
    if not capability.supported:
        raise unsupported(connection_type, operation, capability.reason)
    return capability


def unsupported(connection_type: str, operation: str, reason: Reason, detail: str = "") -> Problem:
    """Return the refusal of an operation. `detail`: when it is not the operation as such that cannot be done."""
    why = "the channel has no such operation" if reason == "channel" else "Bulkhead cannot do it yet"
    return Problem(
        "unsupported_operation",
        detail or f"A connection of type {connection_type} cannot do {operation}: {why}.",
        operation=operation,
        connectionType=connection_type,
        reason=reason,
    )
