"""The pool of connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from shared.http_client.connection import AnswerLimits, ClientConnection
from shared.http_client.errors import NotWritten
from shared.http_client.places import Place, PlaceHolder, SharedPlaces
from shared.http_client.request import HttpOrigin

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
"""Requests of one connection: a busy one would otherwise lead to an address for ever that the other side has withdrawn.
"""

OpenSocket: TypeAlias = Callable[[AddrInfoType], socket.socket]
"""Makes the socket for one address of a name, or raises `OSError` for one that may not be reached."""
LookUp: TypeAlias = Callable[[HttpOrigin, PlaceHolder], Awaitable[list[AddrInfoType]]]
"""Returns the addresses of a host, or raises `OSError`."""


class ConnectionPool:
    """Connections by origin, reused newest first, so that the others grow old.

    Args:
        places: of connections in use; idle ones beyond their number are closed. limits: of answers. names_s: seconds
            for which a resolved address is used again; a withdrawn one is used for at most that long. open_socket:
            decides about each address where it is connected to; None: all may be reached. look_up: None: the event
            loop does it, which is right for a few hosts of our own choice.
    """

    def __init__(
        self,
        places: SharedPlaces,
        limits: AnswerLimits,
        *,
        names_s: float = 0.0,
        open_socket: OpenSocket | None = None,
        look_up: LookUp | None = None,
    ) -> None:
        self._places, self._limits = places, limits
        self._names_s, self._open_socket, self._look_up = names_s, open_socket, look_up or _by_event_loop
        self._anyone = PlaceHolder(None)
        self._open: set[ClientConnection] = set()
        # in the order in which they became idle: all, and those of each origin
        self._idle: dict[ClientConnection, None] = {}
        self._idle_of: dict[HttpOrigin, dict[ClientConnection, None]] = {}
        self._expiry: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None
        self._lookups: dict[HttpOrigin, asyncio.Task[list[AddrInfoType]]] = {}
        self._is_closed = False

    async def enter(self, holder: PlaceHolder | None = None) -> Place:
        """Wait for a place, without a limit; to be followed by `take` at once. `holder`: None: it does not matter."""
        return await self._places.acquire(holder or self._anyone)

    async def take(self, origin: HttpOrigin, place: Place) -> ClientConnection:
        """Return a connection for one caller, until `give_back`. Raises `NotWritten`; the place is given back then."""
        try:
            while (connection := self._newest_idle(origin)) is not None:
                self._forget_idle(connection)
                age_s = _now() - connection.idle_since
                if connection.is_open and age_s < _KEEPALIVE_S and not connection.has_input():
                    return connection
                connection.abort()
            return await self._connected(origin, place.holder)
        except BaseException:
            self._places.release(place)
            raise

    def give_back(self, connection: ClientConnection, place: Place) -> None:
        """End the use of a connection; it is kept if its last exchange was clean, and closed otherwise."""
        if connection.has_rest and not self._is_closed:
            # the place is held until its answer has been read
            connection.read_rest(partial(self.give_back, connection, place))
            return
        if connection.is_reusable and connection.exchanges < _EXCHANGES and not self._is_closed:
            connection.idle_since = _now()
            self._idle[connection] = None
            self._idle_of.setdefault(connection.origin, {})[connection] = None
            if self._expiry is None:
                self._expiry = asyncio.get_running_loop().call_later(_KEEPALIVE_S, self._expire)
        else:
            connection.abort()
        self._places.release(place)

    async def close(self) -> None:
        """Close all connections, also those in use; none is made after that."""
        self._is_closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        for lookup in self._lookups.values():
            lookup.cancel()
        for connection in list(self._open):
            connection.abort()
        await asyncio.gather(*(connection.lost for connection in self._open))

    def _newest_idle(self, origin: HttpOrigin) -> ClientConnection | None:
        idle = self._idle_of.get(origin)
        return next(reversed(idle)) if idle else None

    def _forget_idle(self, connection: ClientConnection) -> None:
        if connection in self._idle:
            del self._idle[connection]
            of_origin = self._idle_of[connection.origin]
            del of_origin[connection]
            if not of_origin:
                del self._idle_of[connection.origin]

    def _expire(self) -> None:
        """Close what was idle for too long."""
        before = _now() - _KEEPALIVE_S
        for connection in list(self._idle):
            if connection.idle_since > before:
                due_at = connection.idle_since + _KEEPALIVE_S
                self._expiry = asyncio.get_running_loop().call_at(due_at, self._expire)
                return
            self._forget_idle(connection)
            connection.abort()
        self._expiry = None

    def _lost(self, connection: ClientConnection) -> None:
        self._open.discard(connection)
        self._forget_idle(connection)

    async def _connected(self, origin: HttpOrigin, holder: PlaceHolder) -> ClientConnection:
        if self._is_closed:
            raise NotWritten("PoolClosed")
        if self._idle and len(self._idle) > self._places.free:
            # of another origin
            oldest = next(iter(self._idle))
            self._forget_idle(oldest)
            oldest.abort()
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await self._connect(origin, holder)
        # `TimeoutError`, TLS and names included
        except OSError as error:
            # the host may have moved
            if (lookup := self._lookups.get(origin)) is not None and lookup.done():
                del self._lookups[origin]
            raise NotWritten(type(error).__name__) from error

    async def _connect(self, origin: HttpOrigin, holder: PlaceHolder) -> ClientConnection:
        loop = asyncio.get_running_loop()
        sock = await aiohappyeyeballs.start_connection(
            await self._resolved(origin, holder),
            happy_eyeballs_delay=_NEXT_ADDRESS_S,
            interleave=1,
            loop=loop,
            socket_factory=self._open_socket,
        )
        try:
            _, connection = await loop.create_connection(
                lambda: ClientConnection(origin, self._limits, self._lost),
                sock=sock,
                ssl=self._context() if origin.is_tls else None,
                server_hostname=origin.host if origin.is_tls else None,
            )
        except BaseException:
            # uvloop leaves the socket open when it fails before taking it over
            sock.close()
            raise
        # it may be lost already
        if not connection.lost.done():
            self._open.add(connection)
        return connection

    async def _resolved(self, origin: HttpOrigin, holder: PlaceHolder) -> list[AddrInfoType]:
        # one question at a time: two hundred first sends would wait for each other in the resolver's few threads
        if (lookup := self._lookups.get(origin)) is None:
            lookup = asyncio.create_task(self._resolve(origin, holder))
            self._lookups[origin] = lookup
            lookup.add_done_callback(partial(self._keep, origin))
        # a cancelled waiter must not end it for the others
        return await asyncio.shield(lookup)

    async def _resolve(self, origin: HttpOrigin, holder: PlaceHolder) -> list[AddrInfoType]:
        return await self._look_up(origin, holder)

    def _keep(self, origin: HttpOrigin, lookup: asyncio.Task[list[AddrInfoType]]) -> None:
        """Keep what was found for its time."""
        if not lookup.cancelled() and lookup.exception() is None and self._names_s:
            asyncio.get_running_loop().call_later(self._names_s, self._forget_lookup, origin, lookup)
        else:
            self._forget_lookup(origin, lookup)

    def _forget_lookup(self, origin: HttpOrigin, lookup: asyncio.Task[list[AddrInfoType]]) -> None:
        if self._lookups.get(origin) is lookup:
            del self._lookups[origin]

    def _context(self) -> ssl.SSLContext:
        """Return what checks certificates and host names by the machine's authorities; made once, for it takes tens of
        milliseconds.
        """
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


async def _by_event_loop(origin: HttpOrigin, _: PlaceHolder) -> list[AddrInfoType]:
    loop = asyncio.get_running_loop()
    return list(await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM))


def _now() -> float:
    return asyncio.get_running_loop().time()
