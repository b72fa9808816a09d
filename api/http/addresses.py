"""The client's address: the peer's, unless the peer is a proxy that an operator trusts."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from starlette.types import Scope

from shared.errors import SettingsInvalid

Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]

_HEADER: Final = b"x-forwarded-for"
"""The one header that is read. Proxies that set it pass a client's own `Forwarded` (RFC 7239) on unchanged, so that
reading both would let clients choose their address."""
_MOST: Final = 20
"""Most entries that are read: chains of proxies are short, while the client controls the header's length."""


def read_networks(text: str) -> Networks:
    """Return the networks of the setting TRUSTED_PROXIES. Raises `SettingsInvalid` for what is none."""
    networks, wrong = [], []
    for part in (part.strip() for part in text.split(",")):
        try:
            if part:
                networks.append(ip_network(part))
        except ValueError:
            wrong.append(f"TRUSTED_PROXIES: {part!r} is no network; write them as 10.0.0.0/8,::1 without host bits")
    if wrong:
        raise SettingsInvalid(wrong)
    return tuple(networks)


def client_network(address: str) -> str:
    """Return what one client has of the address space: its IPv4 address, or the /64 of its IPv6 address, within which
    it takes any address that it likes. A text that is no address is returned as it is.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    # without the zone of a link-local address, which names an interface of ours
    return str(IPv6Network((int(parsed) >> 64 << 64, 64)))


class ClientAddresses:
    """Determines the client address of a request. `trusted`: networks of proxies whose header is used."""

    def __init__(self, trusted: Networks) -> None:
        self._trusted = trusted

    def of(self, scope: Scope) -> str:
        """Return the client's address, "" when the peer has none.

        Each proxy adds its peer at the right end of the header. The header is read from the right, past trusted
        proxies; the first other address is the client's. The client itself may have written any further ones.
        """
        given = scope["client"][0] if scope.get("client") else ""
        # a server that listens on IPv6 for both sees an IPv4 peer as one that is mapped
        peer = _address(given) or given
        if not self._trusted or not self._is_trusted(peer):
            return peer
        # a header may stand several times; together they are one list (RFC 9110 5.3)
        entries = b",".join(value for name, value in scope["headers"] if name == _HEADER).split(b",")
        return self._client(entries[: -_MOST - 1 : -1], peer)

    def _client(self, from_the_right: Iterable[bytes], peer: str) -> str:
        address = peer
        for entry in from_the_right:
            found = _address(entry.decode("latin-1").strip())
            if found is None:
                # "unknown", or an invalid entry that the last trusted proxy passed on: use that proxy's address
                break
            address = found
            if not self._is_trusted(found):
                break
        return address

    def _is_trusted(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def _address(text: str) -> str | None:
    """Return an address without brackets and port; None when it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # one spelling for each client, since guesses are counted by address
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
