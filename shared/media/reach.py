"""From where files may be fetched: the internet, and what is nearer only when somebody says so."""

from __future__ import annotations

import ipaddress
import re
from enum import Enum
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

from shared.media.errors import FetchFailed
from shared.settings import Settings

_ADDRESS_MOST: Final = 4096
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reach(Enum):
    """How near an address may be."""

    PUBLIC = "public"
    """Only addresses that the whole internet can reach."""
    LOOPBACK = "loopback"
    """Those, and this machine's own: where the sandbox is."""
    PRIVATE = "private"
    """Any."""


def reach_of(settings: Settings) -> Reach:
    """Return how near files may be fetched from: anywhere by MEDIA_FETCH_PRIVATE, this machine too when a provider's stand-in runs on it."""
    if settings.media_fetch_private == "on":
        return Reach.PRIVATE
    providers = (urlsplit(address).hostname or "" for address in (settings.graph_base_url, settings.d360_base_url))
    return Reach.LOOPBACK if settings.sandbox == "on" or any(map(_is_own, providers)) else Reach.PUBLIC


def checked(url: str, reach: Reach) -> SplitResult:
    """Return an address in parts. Raises `FetchFailed` unless it is one of http or https whose host is not surely out of reach."""
    try:
        parts = urlsplit(url) if len(url) <= _ADDRESS_MOST and url.isprintable() else None
        host, port = (parts.hostname, parts.port) if parts else (None, None)
    except ValueError:
        parts = host = port = None
    if parts is None or parts.scheme not in {"http", "https"} or not host or port == 0:
        raise FetchFailed("address_refused", "files are fetched from http and https addresses only", passing=False)
    if parts.username is not None or parts.password is not None:
        raise FetchFailed("address_refused", "the address holds a user name or password", passing=False)
    try:
        literal = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            # 127.1, 2130706433, 0x7f.1: other ways to write an address, which what connects would understand without asking anybody
            raise FetchFailed(
                "address_refused",
                "the address's host is a number, but no IP address as it is usually written",
                passing=False,
            ) from None
        return parts
    require_reachable(str(literal), reach)
    return parts


def require_reachable(address: str, reach: Reach) -> None:
    """Raise `FetchFailed` when files may not be fetched from an IP address."""
    parsed = _meant(ipaddress.ip_address(address.partition("%")[0]))
    if reach is Reach.PRIVATE or (reach is Reach.LOOPBACK and parsed.is_loopback):
        return
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        raise FetchFailed("address_refused", "the address lies in a private network", passing=False)


def _meant(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address is another way to write, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


def _is_own(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
