"""Two worlds that do not mix: what was accepted while a connection type sent to the sandbox never leaves to a real provider, and the reverse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from shared.channels.registry import CHANNELS
from shared.settings import Settings

World: TypeAlias = Literal["sandbox", "live"]

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def worlds(settings: Settings) -> Mapping[str, World]:
    """Return the world of each connection type: `sandbox` where the provider's address is our own sandbox's."""
    return {channel.name: _world_of(str(getattr(settings, channel.address)), settings) for channel in CHANNELS}


def _world_of(address: str, settings: Settings) -> World:
    parts = urlsplit(address)
    is_here = parts.hostname in _LOOPBACK or parts.hostname == settings.bind_address
    return "sandbox" if is_here and parts.port == settings.port("sandbox") else "live"
