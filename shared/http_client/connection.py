"""One HTTP/1.1 connection: writes a request in one piece and reads the answer to it, within limits.

A request that was written is answered, or ends the connection; it is never written twice by itself.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httptools

from shared.clock import left
from shared.http_client.errors import NotAnswered, NotWritten
from shared.http_client.request import HttpOrigin

_MARKS: Final = 4
"""An answer's bytes over those of its body, at most: marks between chunks, trailers and interim answers may be endless.
"""
_SWITCHED: Final = 101


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """What is read of an answer.

    Attributes:
        head: bytes of its head, with all interim answers before it. body: bytes of its body; of a longer one nothing is
            returned, and the connection is closed. rest_s: None: an answer is there when it is whole. Else its head is
            the answer; the body is skipped, for so many seconds, only so that the connection can be used again.
    """

    head: int
    body: int
    rest_s: float | None = None


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer; `body` is empty when it was too long, compressed, which was not asked for, or not to be read.
    `fields`: of its head, names in lower case.
    """

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def field(self, name: bytes) -> str:
        """Return the first value of a field, empty when there is none."""
        return next((value.decode("latin-1") for named, value in self.fields if named == name), "")


class ClientConnection(asyncio.Protocol):
    """One connection, used for one request at a time.

    Args:
        on_lost: called when it has ended.

    Attributes:
        exchanges: requests written. idle_since: instant of its last answer, on the event loop's clock; the pool's.
        lost: done when the transport is closed.
    """

    def __init__(self, origin: HttpOrigin, limits: AnswerLimits, on_lost: Callable[[ClientConnection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.origin, self._limits, self._on_lost = origin, limits, on_lost
        self._is_body_read = limits.rest_s is None
        self.exchanges, self.idle_since = 0, 0.0
        self.lost = self._loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._input = select.poll()
        self._is_open = False
        self._answer: asyncio.Future[HttpAnswer] | None = None
        # `_is_reading`: from the request to the end of its answer, which may be after what the caller waits for
        self._is_reading = self._keeps = False
        self._received = 0
        self._rest: tuple[asyncio.TimerHandle, Callable[[], None]] | None = None
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
        """Whether the last exchange is complete in both directions and the peer keeps the connection open."""
        return (
            self._keeps
            and self._answer is None
            and not self._is_reading
            and self.is_open
            and not self._transport.get_write_buffer_size()
        )

    @property
    def has_rest(self) -> bool:
        """Whether an answer that the caller has is still being read to its end."""
        return self._is_reading and self._answer is None and self.is_open

    def has_input(self) -> bool:
        """Whether the kernel has something to read: the end of the stream, or bytes that nothing requested. The event
        loop would notice only in its next iteration, after a request was written into a connection that the peer has
        closed.
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
        self._is_reading = True
        self._keeps, self._received = False, 0
        self._begin()
        self.exchanges += 1
        self._transport.write(request)
        found = await answer
        self._answer = None
        return found

    def read_rest(self, done: Callable[[], None]) -> None:
        """Read the rest of an answer (`has_rest`) within its time, or close; call `done` once."""
        self._rest = self._loop.call_later(self._limits.rest_s or 0.0, self.abort), done

    def expire(self) -> None:
        """End the exchange at its deadline, without an answer."""
        self._fail("TimeoutError")

    def abort(self) -> None:
        """End the connection at once."""
        self._is_open = self._is_reading = False
        self._transport.abort()
        self._end_rest()

    # --- called by the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self._transport, self._is_open = transport, True
        self._input.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Read a piece of the answer."""
        if not self._is_reading:
            # an answer to nothing, perhaps why the other side is about to close: the next request must not take it for
            # its own
            self.abort()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        # the bytes are not HTTP, or a callback stopped the parser; nothing asked for 101
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("InvalidAnswer")
        else:
            if not self._has_head and self._received > self._limits.head:
                self._fail("HeadTooLong")
            elif self._received > _MARKS * self._limits.body:
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
        if not self._is_reading:
            raise NotAnswered("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head; of trailers nothing is kept."""
        if self._has_head:
            return
        # 32: what a field costs beside its bytes
        self._head_size += len(name) + len(value) + 32
        if self._head_size > self._limits.head:
            self._fail("HeadTooLong")
            raise NotAnswered("too many headers")
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is complete; those of interim answers (RFC 9110 15.2) are skipped."""
        status = self._parser.get_status_code()
        # where only the status counts, a change of protocol is one too
        if status < 200 and (self._is_body_read or status != _SWITCHED):
            return
        self._has_head = True
        self._keeps = self._parser.should_keep_alive()
        # RFC 9112 6.3: of unknown length. With a transfer coding the end is marked, or unknown to us
        self._is_to_the_end = not any(name in (b"content-length", b"transfer-encoding") for name, _ in self._fields)
        if not self._is_body_read:
            self._reply(b"")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_size += len(body)
        if self._body_size > self._limits.body:
            # not read to its end; an empty body is unclear, so that a send is in doubt
            self._finish(b"", keeps=False)
            raise NotAnswered("too long")
        if self._is_body_read:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is complete, or one before it."""
        if self._has_head:
            self._finish(b"".join(self._body), keeps=self._keeps)
        else:
            self._begin()

    # --- both ends of an exchange

    def _finish(self, body: bytes, *, keeps: bool) -> None:
        """The answer is read to its end, or far enough."""
        self._is_reading = False
        self._reply(body)
        if not keeps:
            self._keeps = False
        self._end_rest()

    def _reply(self, body: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            answer = HttpAnswer(self._parser.get_status_code(), tuple(self._fields), body)
            if body and answer.field(b"content-encoding").lower() not in ("", "identity"):
                answer = HttpAnswer(answer.status, answer.fields, b"")
            self._answer.set_result(answer)

    def _fail(self, reason: str) -> None:
        """End the connection, and the exchange if it has no answer yet."""
        self._keeps = False
        if self._answer is not None and not self._answer.done():
            is_stale = self.exchanges > 1 and not self._received
            self._answer.set_exception(NotAnswered(reason, is_stale=is_stale))
        self.abort()

    def _end_rest(self) -> None:
        if self._rest is not None:
            timer, done = self._rest
            self._rest = None
            timer.cancel()
            done()
