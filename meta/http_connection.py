"""One HTTP/1.1 connection to a provider: writes a request in one piece and reads the answer to it.

A request that was written is answered, or ends the connection; it is never written twice.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httptools
from starlette.datastructures import Headers

from shared.clock import left

LONGEST_BODY: Final = 256 * 1024
"""Bytes. The longest answer is a page of 100 templates, of one to two KB each."""
_LONGEST_HEAD: Final = 64 * 1024
"""Bytes, as much as our own port takes; a provider's heads have one to two KB."""
_LONGEST_ANSWER: Final = 4 * LONGEST_BODY
"""Bytes, with the marks between chunks, trailers and interim answers, which may be endless."""
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_TARGETS: Final = 4096
"""Addresses that are kept parsed: one for each connection (number, Page) that sends."""


class NotWritten(Exception):
    """Raised when nothing of a request left: it is none, or there is no connection; the text is the reason."""


class NotAnswered(Exception):
    """Raised when a request that may have been written has no whole answer; the text is the reason."""


class HttpOrigin(NamedTuple):
    """What a connection leads to."""

    is_tls: bool
    host: str
    port: int


class HttpTarget(NamedTuple):
    """A parsed address: whom to connect to, and the beginning of each request."""

    origin: HttpOrigin
    start: str


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer; `body` is empty when it was longer than any of a provider's, or compressed, which was not asked
    for.
    """

    status: int
    headers: Headers
    body: bytes


@lru_cache(_TARGETS)
def target_of(url: str) -> HttpTarget:
    """Return where a POST to `url` goes. Raises `NotWritten`, also for a host name that no resolver takes."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        name = host if ":" in host else host.encode("idna").decode()
    # the label of a host name, or the port
    except ValueError as error:
        raise NotWritten(type(error).__name__) from error
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # `urlsplit` drops line breaks; a space would end the target
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc or not _is_line(path) or " " in path:
        raise NotWritten("InvalidAddress")
    authority = f"[{name}]" if ":" in name else name
    if port is not None and port != _PORTS[parts.scheme]:
        authority += f":{port}"
    origin = HttpOrigin(parts.scheme == "https", name, port or _PORTS[parts.scheme])
    # a compressed answer would hide the secrets that are removed from it, and no answer is long
    start = f"POST {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
    return HttpTarget(origin, start + "User-Agent: bulkhead\r\nContent-Type: application/json\r\n")


def request_of(target: HttpTarget, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a whole request. Raises `NotWritten` for a header that would not stay one."""
    lines = [target.start]
    for name, value in headers.items():
        # a line break would add headers to the request (CWE-113)
        if not (_is_line(name) and _is_line(value)) or not name or any(mark in name for mark in ": "):
            raise NotWritten("InvalidHeader")
        lines.append(f"{name}: {value}\r\n")
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return "".join(lines).encode("ascii") + body


def _is_line(text: str) -> bool:
    return text.isascii() and text.isprintable()


class ProviderConnection(asyncio.Protocol):
    """One connection, used for one request at a time.

    Args:
        on_lost: called when it has ended.

    Attributes:
        exchanges: requests written. idle_since: instant of its last answer, on the event loop's clock; the pool's.
        lost: done when the transport is closed.
    """

    def __init__(self, origin: HttpOrigin, on_lost: Callable[[ProviderConnection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.origin, self._on_lost = origin, on_lost
        self.exchanges, self.idle_since = 0, 0.0
        self.lost = self._loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._input = select.poll()
        self._is_open = False
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._keeps, self._received = False, 0
        self._begin()

    def _begin(self) -> None:
        """Expect the head of an answer."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._has_head = self._is_to_the_end = False
        self._body: list[bytes] = []
        self._body_size = 0

    @property
    def is_open(self) -> bool:
        """Whether a request can be written, as far as the event loop knows."""
        return self._is_open and not self._transport.is_closing()

    @property
    def is_reusable(self) -> bool:
        """Whether the last request was read whole and answered whole, and the provider keeps the connection."""
        return self._keeps and self._answer is None and self.is_open and not self._transport.get_write_buffer_size()

    def has_input(self) -> bool:
        """Whether the kernel has something to read: the end, or what was not asked for. The event loop sees it only in
        its next turn, when a request would already be written into a connection that the other side has closed.
        """
        return bool(self._input.poll(0))

    @property
    def is_written(self) -> bool:
        """Whether a request may have been written that has no answer yet."""
        return self._answer is not None

    async def exchange(self, request: bytes, by: float) -> HttpAnswer:
        """Write a request, before anything else runs, and return the answer; cancelled, it is not reusable. Raises
        `NotWritten` when the connection has ended or the monotonic instant `by` is past, `NotAnswered` later.
        """
        if not self.is_open or not left(by):
            raise NotWritten("ConnectionClosed" if left(by) else "TimeoutError")
        answer: asyncio.Future[HttpAnswer] = self._loop.create_future()
        self._answer = answer
        self._keeps, self._received = False, 0
        self._begin()
        self.exchanges += 1
        self._transport.write(request)
        found = await answer
        self._answer = None
        return found

    def abort(self) -> None:
        """End the connection at once."""
        self._is_open = False
        self._transport.abort()

    # --- called by the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self._transport, self._is_open = transport, True
        self._input.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Read a piece of the answer."""
        if self._answer is None or self._answer.done():
            # an answer to nothing, perhaps why the provider is about to close: the next request must not take it for
            # its own
            self.abort()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        # what was read is no HTTP, or a callback stopped; 101 was not asked for
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("InvalidAnswer")
        else:
            if not self._has_head and self._received > _LONGEST_HEAD:
                self._fail("HeadTooLong")
            elif self._received > _LONGEST_ANSWER:
                self._finish(b"", keeps=False)

    def eof_received(self) -> None:
        """The other side writes no more: the transport closes."""
        if self._is_to_the_end:
            self._finish(b"".join(self._body), keeps=False)
        self._fail("ConnectionClosed")

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._fail(type(exc).__name__ if exc is not None else "ConnectionClosed")
        self._on_lost(self)
        # it refers to this object
        del self._parser
        if not self.lost.done():
            self.lost.set_result(None)

    # --- called by the parser; what they raise ends the exchange

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self._answer is None or self._answer.done():
            raise NotAnswered("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head; of trailers nothing is kept."""
        if self._has_head:
            return
        # 32: what a field costs beside its bytes
        self._head_size += len(name) + len(value) + 32
        if self._head_size > _LONGEST_HEAD:
            self._fail("HeadTooLong")
            raise NotAnswered("too many headers")
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is complete; those of interim answers (RFC 9110 15.2) are skipped."""
        if self._parser.get_status_code() < 200:
            return
        self._has_head = True
        self._keeps = self._parser.should_keep_alive()
        # RFC 9112 6.3: of unknown length. With a transfer coding the end is marked, or unknown to us
        self._is_to_the_end = not any(name in (b"content-length", b"transfer-encoding") for name, _ in self._fields)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_size += len(body)
        if self._body_size > LONGEST_BODY:
            # not read to its end; an empty body is unclear, so that a send is in doubt
            self._finish(b"", keeps=False)
            raise NotAnswered("too long")
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is complete, or one before it."""
        if self._has_head:
            self._finish(b"".join(self._body), keeps=self._keeps)
        else:
            self._begin()

    # --- both ends of an exchange

    def _finish(self, body: bytes, *, keeps: bool) -> None:
        if self._answer is not None and not self._answer.done():
            headers = Headers(raw=self._fields)
            is_plain = headers.get("content-encoding", "identity").lower() == "identity"
            self._answer.set_result(HttpAnswer(self._parser.get_status_code(), headers, body if is_plain else b""))
        if not keeps:
            self._keeps = False

    def _fail(self, reason: str) -> None:
        """End the connection, and the exchange if it has no answer yet."""
        self._keeps = self._is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NotAnswered(reason))
        self._transport.abort()
