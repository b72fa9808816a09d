"""Connections to subscribers: HTTP/1.1 on the parser that serves our own ports, with a limit on everything that a
subscriber may send.

An answer's status is all that counts. It is known when the head has come; what follows is read in the background, a
little of it and for a moment, so that the connection can be used again. Why this is no library's client:
docs/adr/0095-a-client-of-its-own-for-deliveries.md.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httptools

from shared.clock import left, monotonic

HEAD_MOST: Final = 16 << 10
"""Bytes of an answer's head, with all informational answers before it."""
BODY_MOST: Final = 16 << 10
"""Bytes of an answer's body that are read, so that the connection can be used again."""
BODY_S: Final = 1.0
"""Seconds for them."""
CONNECT_S: Final = 5.0
"""Seconds for one address of a name: two lost SYN packets, which Linux sends again after 1 and 3 s."""
IDLE_S: Final = 15.0
"""Seconds for which an idle connection is kept: below what common servers keep theirs."""
OPEN_MOST: Final = 1000
"""Connections of one process."""
_INFORMATIONAL: Final = range(100, 200)
_SWITCHED: Final = 101


class DeliveryBroken(Exception):
    """Raised when there is no answer; the text is a word for the log. `is_stale`: a kept connection had been closed."""

    def __init__(self, word: str, *, is_stale: bool = False) -> None:
        super().__init__(word)
        self.is_stale = is_stale


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What counts of an answer."""

    status: int
    retry_after: str


@dataclass(frozen=True, slots=True)
class SubscriberOrigin:
    """Where connections lead to."""

    is_tls: bool
    host: str
    port: int


class SubscriberConnection(asyncio.Protocol):
    """One connection, with one request at a time.

    Args:
        on_idle: called when it can be used again. on_lost: called once, when it is closed.
    Attributes:
        idle_since: monotonic instant since which it is not used.
    """

    def __init__(
        self, on_idle: Callable[[SubscriberConnection], None], on_lost: Callable[[SubscriberConnection], None]
    ) -> None:
        self._on_idle, self._on_lost = on_idle, on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[AnswerHead] | None = None
        self._timer: asyncio.TimerHandle | None = None
        # Bytes of the answer's head and of its body. `_is_free`: no request is under way, and the last answer was read
        # to its end. `_is_used`: an answer came over this connection before.
        self._head_bytes = self._body_bytes = 0
        self._is_headed = self._is_used = self.is_closed = False
        self._is_free = True
        self._status, self._retry_after = 0, ""
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; called by the event loop."""
        self._transport = transport  # type: ignore[assignment] # a stream's

    async def ask(self, request: bytes, by: float) -> AnswerHead:
        """Send a request and return the head of its answer. Raises `DeliveryBroken`: there is none by the monotonic
        instant `by`.
        """
        self._answer = self._loop.create_future()
        self._head_bytes = self._body_bytes = 0
        self._is_headed = self._is_free = False
        self._retry_after = ""
        self._timer = self._loop.call_later(left(by), self._fail, "timeout")
        self._transport.write(request)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Close it at once."""
        # known before the event loop says so: it must not be taken any more
        self.is_closed = True
        self._stop_timer()
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read a piece of an answer; called by the event loop."""
        if self._is_free:
            # an answer to nothing
            self.close()
            return
        if not self._is_headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("not_http")
        except httptools.HttpParserError:
            # one of our own callbacks may have ended it before
            self._fail("not_http")
        else:
            # after the head was looked for in what came: a short one may come together with a long body
            if not self._is_headed and self._head_bytes > HEAD_MOST:
                self._fail("answer_too_long")

    def eof_received(self) -> bool:
        """Close; called by the event loop."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request under way; called by the event loop."""
        self.is_closed = True
        # nothing came in answer, on a connection that had been kept: its other end closed it meanwhile
        self._fail("cut", is_stale=self._is_used and not self._head_bytes)
        self._on_lost(self)

    def _fail(self, word: str, *, is_stale: bool = False) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(DeliveryBroken(word, is_stale=is_stale))
        self.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the one header that counts."""
        if name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Return the status, unless it is an informational one."""
        status = self._parser.get_status_code()
        if self._is_free:
            # a second answer behind the first
            self.close()
            return
        if status in _INFORMATIONAL and status != _SWITCHED:
            return
        self._is_headed = True
        self._status = status
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(AnswerHead(status, self._retry_after))
        self._stop_timer()
        # from now on for the body
        self._timer = self._loop.call_later(BODY_S, self.close)

    def on_body(self, body: bytes) -> None:
        """Skip a short body; a longer one ends the connection."""
        self._body_bytes += len(body)
        if self._body_bytes > BODY_MOST:
            self.close()

    def on_message_complete(self) -> None:
        """Make the connection free for the next request."""
        if not self._is_headed or self.is_closed:
            return
        self._stop_timer()
        if self._is_free or not self._parser.should_keep_alive():
            self.close()
            return
        self._is_free = True
        self._is_used = True
        self.idle_since = monotonic()
        self._on_idle(self)


class SubscriberConnections:
    """Connections of one process, kept between requests.

    Args:
        open_socket: makes the socket for one address of a name (`socket.getaddrinfo`), or raises `OSError` for one that
            may not be reached.
    """

    def __init__(self, open_socket: Callable[[tuple[Any, ...]], socket.socket], *, most: int = OPEN_MOST) -> None:
        self._open_socket = open_socket
        self._idle: dict[SubscriberOrigin, list[SubscriberConnection]] = {}
        self._places = asyncio.Semaphore(most)
        self._open: set[SubscriberConnection] = set()
        self._tls: ssl.SSLContext | None = None

    async def ask(self, origin: SubscriberOrigin, request: bytes, within_s: float) -> AnswerHead:
        """Send a request and return the head of its answer.

        Args:
            within_s: for connecting and answering; a wait for a place among the open connections is no fault of the
                other end and does not count.
        Raises:
            DeliveryBroken: there is none in time. OSError: there is no connection.
        """
        while True:
            by = monotonic() + within_s
            connection = self._take(origin)
            if connection is None:
                await self._place()
                by = monotonic() + within_s
                connection = await self._connect(origin, by)
            try:
                return await connection.ask(request, by)
            except DeliveryBroken as problem:
                # At least once is promised, not at most once: a request that met the end of a kept connection is
                # repeated on another one.
                if not problem.is_stale:
                    raise

    def close_idle(self) -> None:
        """Close what was not used for a while; to be called now and then."""
        oldest = monotonic() - IDLE_S
        for idle in list(self._idle.values()):
            # those that were used last are at the end; each is removed when it is lost
            for connection in idle:
                if connection.idle_since >= oldest:
                    break
                connection.close()

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            connection.close()

    def _take(self, origin: SubscriberOrigin) -> SubscriberConnection | None:
        idle = self._idle.get(origin)
        found = None
        while idle and (found is None or found.is_closed):
            found = idle.pop()
        if idle is not None and not idle:
            del self._idle[origin]
        return found if found is not None and not found.is_closed else None

    async def _place(self) -> None:
        """Wait until one more connection may be open; idle ones make way."""
        if self._places.locked() and self._idle:
            oldest = min(self._idle, key=lambda origin: self._idle[origin][0].idle_since)
            self._idle[oldest][0].close()
        await self._places.acquire()

    async def _connect(self, origin: SubscriberOrigin, by: float) -> SubscriberConnection:
        try:
            async with asyncio.timeout(left(by)):
                return await self._connected(origin)
        except BaseException:
            self._places.release()
            raise

    async def _connected(self, origin: SubscriberOrigin) -> SubscriberConnection:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        error: OSError = OSError("the name has no address")
        for info in found:
            try:
                made = self._open_socket(info)
            # the next address of the name may be one that may be reached
            except OSError as refusal:
                error = refusal
                continue
            try:
                made.setblocking(False)
                async with asyncio.timeout(CONNECT_S):
                    await loop.sock_connect(made, info[4])
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _, connection = await loop.create_connection(
                    lambda: SubscriberConnection(self._keep(origin), self._drop(origin)),
                    sock=made,
                    ssl=self._tls_context() if origin.is_tls else None,
                    server_hostname=origin.host if origin.is_tls else None,
                )
            except OSError as refusal:
                made.close()
                error = refusal
                continue
            except BaseException:
                made.close()
                raise
            if connection.is_closed:
                raise ConnectionResetError("closed at once")
            self._open.add(connection)
            return connection
        raise error

    def _keep(self, origin: SubscriberOrigin) -> Callable[[SubscriberConnection], None]:
        return lambda connection: self._idle.setdefault(origin, []).append(connection)

    def _drop(self, origin: SubscriberOrigin) -> Callable[[SubscriberConnection], None]:
        def drop(connection: SubscriberConnection) -> None:
            if connection in self._open:
                self._open.discard(connection)
                self._places.release()
            idle = self._idle.get(origin, [])
            if connection in idle:
                idle.remove(connection)
                if not idle:
                    del self._idle[origin]

        return drop

    def _tls_context(self) -> ssl.SSLContext:
        # made with the first that needs it: it takes 20 ms
        self._tls = self._tls or ssl.create_default_context()
        return self._tls
