"""Which connections reach a stand-in on this machine (the sandbox) in place of their provider."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from shared.channels.registry import channel_named
from shared.settings import Settings


def is_stand_in(settings: Settings, connection_type: str) -> bool:
    """Return whether what answers for the provider of a connection runs on this machine, as the sandbox does."""
    address = str(getattr(settings, channel_named(connection_type).address))
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
