"""What each connection type can do, as data for clients (`GET /api/v2/connections/…`) and for refusals before anything is queued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Reason = Literal["", "channel", "not_yet"]


@dataclass(frozen=True, kw_only=True)
class Capability:
    """One operation on one connection type.

    Attributes:
        reason: why it is not supported: `channel` when the channel has no such operation, `not_yet` when Bulkhead cannot do it yet.
        limits: what a client must stay within, by name.
    """

    reason: Reason = ""
    limits: Mapping[str, int]

    @property
    def supported(self) -> bool:
        """Whether it can be asked for now."""
        return not self.reason

    def as_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {"supported": self.supported, **({"reason": self.reason} if self.reason else {}), **({"limits": dict(self.limits)} if self.limits else {})}


_NOT_YET: Final = Capability(reason="not_yet", limits={})
_CHANNEL_CANNOT: Final = Capability(reason="channel", limits={})


def _text(characters: int) -> Capability:
    return Capability(limits={"characters": characters})


_META: Final[Mapping[str, Capability]] = {
    "text": _text(4096),
    "image": _NOT_YET,
    "video": _NOT_YET,
    "audio": _NOT_YET,
    "document": _NOT_YET,
    # the Cloud API has no call to edit or delete what was sent
    "edit": _CHANNEL_CANNOT,
    "delete": _CHANNEL_CANNOT,
    "react": _NOT_YET,
}
CAPABILITIES: Final[Mapping[str, Mapping[str, Capability]]] = {
    "wwebjs": {**_META, "text": _text(65536), "edit": _NOT_YET, "delete": _NOT_YET},
    "meta_direct": _META,
    "meta_embedded": _META,
    "360dialog": _META,
}
_UNLISTED: Final[Mapping[str, Capability]] = {**dict.fromkeys(_META, _NOT_YET), "text": _text(4096)}
"""A channel that came later and has no row yet."""


def of(connection_type: str) -> Mapping[str, Capability]:
    """Return every operation with what a connection type can do."""
    return CAPABILITIES.get(connection_type, _UNLISTED)
