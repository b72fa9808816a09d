"""The pool of connections to providers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from meta.http_connection import HttpOrigin, NotWritten, ProviderConnection

_CONNECT_S: Final = 5.0
"""Seconds for one connection with name and TLS: enough for two lost SYN packets, which Linux sends again after 1 and
3 s.
"""
_NEXT_ADDRESS_S: Final = 0.25
"""Seconds until the next address of a host is tried beside one that does not answer (RFC 8305)."""
_KEEPALIVE_S: Final = 15.0
"""Seconds. Idle connections are closed by us before the other side would: a request that meets a connection being
closed is in doubt for nothing.
"""
_EXCHANGES: Final = 1000
"""Requests of one connection: a busy one would otherwise lead to an address for ever that the provider has withdrawn.
"""
_DNS_S: Final = 60
"""Seconds for which a resolved address is used: for at most that long, sends go to one that the provider has withdrawn.
"""


class ConnectionPool:
    """Connections by origin, reused newest first, so that the others grow old. Needs a running event loop.

    Args:
        connections: most at once, idle ones included. Origins have no limit of their own: how many sends one number has
            is the dispatcher's matter.
    """

    def __init__(self, *, connections: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._most = connections
        self._places = asyncio.Semaphore(connections)
        self._in_use = 0
        self._open: set[ProviderConnection] = set()
        # in the order in which they became idle
        self._idle: dict[ProviderConnection, None] = {}
        self._expiry: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None
        self._addresses: dict[HttpOrigin, tuple[float, list[AddrInfoType]]] = {}
        self._lookups: dict[HttpOrigin, asyncio.Lock] = {}
        self._is_closed = False

    async def take(self, origin: HttpOrigin) -> ProviderConnection:
        """Return a connection for one caller, until `give_back`; waits for a place without a limit. Raises
        `NotWritten`.
        """
        await self._places.acquire()
        self._in_use += 1
        try:
            while (connection := self._newest_idle(origin)) is not None:
                del self._idle[connection]
                age_s = self._loop.time() - connection.idle_since
                if connection.is_open and age_s < _KEEPALIVE_S and not connection.has_input():
                    return connection
                connection.abort()
            return await self._connected(origin)
        except BaseException:
            self._leave()
            raise

    def give_back(self, connection: ProviderConnection) -> None:
        """End the use of a connection; it is kept if its last exchange was clean, and closed otherwise."""
        if connection.is_reusable and connection.exchanges < _EXCHANGES and not self._is_closed:
            connection.idle_since = self._loop.time()
            self._idle[connection] = None
            if self._expiry is None:
                self._expiry = self._loop.call_later(_KEEPALIVE_S, self._expire)
        else:
            connection.abort()
        self._leave()

    async def close(self) -> None:
        """Close all connections, also those in use; none is made after that."""
        self._is_closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        for connection in self._open:
            connection.abort()
        await asyncio.gather(*(connection.lost for connection in self._open))

    def _leave(self) -> None:
        self._in_use -= 1
        self._places.release()

    def _newest_idle(self, origin: HttpOrigin) -> ProviderConnection | None:
        # one or two origins are in use, so that the first one nearly always fits
        return next((connection for connection in reversed(self._idle) if connection.origin == origin), None)

    def _expire(self) -> None:
        """Close what was idle for too long."""
        before = self._loop.time() - _KEEPALIVE_S
        for connection in list(self._idle):
            if connection.idle_since > before:
                self._expiry = self._loop.call_at(connection.idle_since + _KEEPALIVE_S, self._expire)
                return
            del self._idle[connection]
            connection.abort()
        self._expiry = None

    def _lost(self, connection: ProviderConnection) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)

    async def _connected(self, origin: HttpOrigin) -> ProviderConnection:
        if self._is_closed:
            raise NotWritten("PoolClosed")
        if self._in_use + len(self._idle) > self._most:
            # of another origin
            (oldest := next(iter(self._idle))).abort()
            del self._idle[oldest]
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await self._connect(origin)
        # `TimeoutError`, TLS and names included
        except OSError as error:
            # the host may have moved
            self._addresses.pop(origin, None)
            raise NotWritten(type(error).__name__) from error

    async def _connect(self, origin: HttpOrigin) -> ProviderConnection:
        sock = await aiohappyeyeballs.start_connection(
            await self._resolved(origin), happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1, loop=self._loop
        )
        try:
            _, connection = await self._loop.create_connection(
                lambda: ProviderConnection(origin, self._lost),
                sock=sock,
                ssl=self._context() if origin.is_tls else None,
                server_hostname=origin.host if origin.is_tls else None,
            )
        except BaseException:
            # uvloop leaves it open when it fails before it takes it
            sock.close()
            raise
        # it may be lost already
        if not connection.lost.done():
            self._open.add(connection)
        return connection

    async def _resolved(self, origin: HttpOrigin) -> list[AddrInfoType]:
        # one question at a time: two hundred first sends would wait for each other in the resolver's few threads
        async with self._lookups.setdefault(origin, asyncio.Lock()):
            until, found = self._addresses.get(origin, (0.0, []))
            if self._loop.time() >= until:
                found = list(await self._loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM))
                self._addresses[origin] = self._loop.time() + _DNS_S, found
            return found

    def _context(self) -> ssl.SSLContext:
        """Return what checks certificates and host names by the machine's authorities; made once, for it takes tens of
        milliseconds.
        """
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls
