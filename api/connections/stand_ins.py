"""Which connections reach a stand-in on this machine (the sandbox) in place of their provider."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from shared.settings import Settings

_ADDRESSES: Final = {
    "360dialog": "d360_base_url",
    "wwebjs": "whatsapp_web_url",
}
"""Setting with the provider's address by connection type; the others are reached by Meta's Graph API."""


def is_stand_in(settings: Settings, connection_type: str) -> bool:
    """Return whether what answers for the provider of a connection runs on this machine, as the sandbox does."""
    address = getattr(settings, _ADDRESSES.get(connection_type, "graph_base_url"))
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
