"""Two worlds that do not mix: what was accepted while a connection type sent to the sandbox never leaves to a real
provider, and the reverse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from shared.channels.registry import CHANNELS
from shared.settings import Settings

World: TypeAlias = Literal["sandbox", "live"]


def worlds(settings: Settings) -> Mapping[str, World]:
    """Return the world of each connection type: `sandbox` where the provider's address is our own sandbox's."""
    return {channel.name: _world_of(str(getattr(settings, channel.address)), settings) for channel in CHANNELS}


def _world_of(address: str, settings: Settings) -> World:
    # host and port alone: paths differ between the stand-ins of one sandbox
    here, there = urlsplit(settings.sandbox_url), urlsplit(address)
    return "sandbox" if settings.sandbox_url and (here.hostname, here.port) == (there.hostname, there.port) else "live"
