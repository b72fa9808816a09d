"""Which addresses files may be fetched from: public ones, and nearer ones only when the settings allow it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qs, urlsplit

from shared.media.errors import FetchFailed
from shared.settings import Settings

_ADDRESS_MOST: Final = 4096
"""Characters of the longest address: as the API's field `url` allows."""
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
_USUAL_PORTS: Final = {"http": 80, "https": 443}
_SLOT_PORTS: Final = 100
"""Ports from ADMIN_PORT that slots have."""
_SERVER_PORTS: Final = frozenset({5432, 6379})
"""PostgreSQL's and Redis' own: a process need not know where they are to keep away from them."""
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+")
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Reach:
    """The addresses that files may be fetched from, or webhooks delivered to.

    Attributes:
        scope: public: globally routable addresses; loopback: these and this machine, where the sandbox listens;
            private: any address. but_ports: of this machine, which `loopback` leaves out: our own.
    """

    scope: Literal["public", "loopback", "private"]
    but_ports: frozenset[int] = frozenset()

    PUBLIC: ClassVar[Reach]
    LOOPBACK: ClassVar[Reach]
    PRIVATE: ClassVar[Reach]


Reach.PUBLIC, Reach.LOOPBACK, Reach.PRIVATE = Reach("public"), Reach("loopback"), Reach("private")


def reach_of(settings: Settings) -> Reach:
    """Return the reach that the settings allow: any address by MEDIA_FETCH_PRIVATE; loopback when a stand-in of a
    provider runs there, but of our own ports only that one's.
    """
    if settings.media_fetch_private == "on":
        return Reach.PRIVATE
    providers = [urlsplit(address) for address in (settings.graph_base_url, settings.d360_base_url)]
    local = [address for address in providers if _is_loopback(address.hostname or "")]
    if settings.sandbox != "on" and not local:
        return Reach.PUBLIC
    stand_ins = {address.port for address in local} | {settings.port("sandbox")}
    return Reach("loopback", own_ports(settings) - stand_ins)


def own_ports(settings: Settings) -> frozenset[int]:
    """Return the ports of this machine that are ours: those of kinds, of slots, and of the servers that we use. A
    request to one would come from this machine, which some of them trust.
    """
    return frozenset(
        {
            *(row.port for row in settings.kinds if row.port),
            *range(settings.admin_port, settings.admin_port + _SLOT_PORTS),
            *_SERVER_PORTS,
            *_ports_named_in(settings.database_url),
        }
    )


def _ports_named_in(address: str) -> list[int]:
    """Return the ports that an address of PostgreSQL names: of each of its hosts, in its list or as a parameter."""
    parts = urlsplit(address)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    named = [*(host.rpartition(":")[2] for host in hosts if ":" in host), *parse_qs(parts.query).get("port", [])]
    return [int(port) for one in named for port in one.split(",") if port.isdigit()]


def checked(url: str, reach: Reach) -> SplitResult:
    """Return the parts of a URL, its host in ASCII, so that everything that reads it sees the same host.

    A cheap first check, so that a bad URL is refused before anything is opened. What decides is the address that the
    socket connects to (`guard.py`).

    Raises:
        FetchFailed: it is no http or https URL, holds credentials, or its host is a literal address out of reach.
    """
    try:
        parts = urlsplit(url) if len(url) <= _ADDRESS_MOST and url.isprintable() else None
        # nameprep maps full-width digits and dots to ASCII; a parser further down would do it after our check
        host = parts.hostname.encode("idna").decode() if parts and parts.hostname else None
        port = parts.port if parts else None
    except ValueError:
        parts = host = port = None
    if parts is None or parts.scheme not in {"http", "https"} or not host or port == 0:
        raise FetchFailed("address_refused", "it is no http or https address", passing=False)
    # they would stand in rows and logs; and `user@host` is a way to show one host and mean another
    if parts.username is not None or parts.password is not None:
        raise FetchFailed("address_refused", "the address holds a user name or password", passing=False)
    is_ipv6 = ":" in host
    if not is_ipv6 and not _HOST.fullmatch(host):
        raise FetchFailed("address_refused", "the address's host is no host name", passing=False)
    parts = parts._replace(netloc=(f"[{host}]" if is_ipv6 else host) + ("" if port is None else f":{port}"))
    try:
        literal = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            # 127.1, 2130706433, 0x7f.1: other spellings of an address, which a resolver reads without asking a name
            # server
            raise FetchFailed(
                "address_refused",
                "the address's host is a number, but no IP address as it is usually written",
                passing=False,
            ) from None
        return parts
    require_reachable(str(literal), port or _USUAL_PORTS[parts.scheme], reach)
    return parts


def require_reachable(address: str, port: int, reach: Reach) -> None:
    """Raise `FetchFailed` when a port of an IP address may not be connected to, or the text is no such address."""
    try:
        parsed = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        raise FetchFailed("address_refused", "the host is no IP address", passing=False) from None
    if reach.scope == "private":
        return
    if reach.scope == "loopback" and parsed.is_loopback:
        if port in reach.but_ports:
            raise FetchFailed("address_refused", "the address is one of this installation's own", passing=False)
        return
    # `is_global` alone lets multicast and reserved ranges pass
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        raise FetchFailed("address_refused", "the address lies in a private network", passing=False)


def _embedded(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address carries (mapped, NAT64, 6to4, Teredo), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
