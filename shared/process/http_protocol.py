"""HTTP/1.1 of one client connection: uvicorn's protocol with limits, without protocol upgrades, and with a close that
keeps the answer.

Every connection is in one phase at a time and has one deadline (`due_at`); `shared.process.server` sweeps them once a
second, which costs less than a timer for each request.
"""

from __future__ import annotations

import asyncio
import fcntl
import http
import json
import re
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from shared.process.request_body import BODY_ARRIVED

_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
"""Characters of a `Host` value (RFC 3986 3.2.2); an empty one is allowed for targets without an authority."""

OPEN, IDLE, HEAD, BODY, ANSWER, LINGER = range(6)
"""Phases. OPEN: nothing was received yet. IDLE: kept alive between two requests. HEAD: a request's head is arriving.
BODY: its body is arriving. ANSWER: the request is complete and the application works. LINGER: the last answer was
sent, what still arrives is discarded. Their order matters: up to IDLE no request is under way.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpLimits:
    """Limits of one server. Durations are in seconds, sizes in bytes.

    Attributes:
        head_bytes, headers, head_s: of one request's head, beyond which it is refused (431, 408).
        body_pause_s: longest pause in a body that the application waits for (408). The application limits size and
            total time itself.
        write_stall_s: how long a client may not read its answer. idle_s: how long a connection is kept between
            requests.
        linger_bytes, linger_s: how much of a request is discarded after its answer, so that the client can read the
            answer.
        pipelined: requests that may wait behind one under way. connections: most at a time.
        drain_idle_s: during a drain, how long a recently used connection is kept for one more request, which is
            answered with `Connection: close`.
    """

    # Sizes: more than common proxies let through, and bounded memory before the application is asked. Times: generous
    # for a slow mobile network, short against clients that send a byte now and then to occupy connections (slowloris).
    head_bytes: int = 64 * 1024
    headers: int = 200
    head_s: float = 10.0
    body_pause_s: float = 10.0
    write_stall_s: float = 60.0
    idle_s: float = 30.0
    # As much as a client may have under way at a high bandwidth and latency; more is cut off.
    linger_bytes: int = 16 * 1024 * 1024
    linger_s: float = 5.0
    # Pipelined requests are parsed and kept in memory before they run.
    pipelined: int = 64
    connections: int = 8192
    drain_idle_s: float = 1.0


class ConnectionState(ServerState):
    """What all connections of one server share: uvicorn's state, the limits, and whether the server drains."""

    def __init__(self, limits: HttpLimits) -> None:
        super().__init__()
        self.limits = limits
        self.draining = False
        self.on_lost: Callable[[], None] = lambda: None


# httptools turns it into a `HttpParserError`, which `data_received` handles.
class _Refusal(Exception):
    """Raised inside a callback of the parser to stop it; `HttpConnection._status` holds the answer."""


class _Transport:
    """What a request's cycle may do with its connection.

    An answer's head waits for its body until the event loop's next iteration, so that both leave in one packet. `close`
    goes through the protocol, which may have to linger.
    """

    __slots__ = ("_head", "_loop", "_write", "abort", "close", "is_closing")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close: Callable[[], None]
    ) -> None:
        self._write, self.is_closing, self.close, self._loop = transport.write, transport.is_closing, close, loop
        # the sandbox cuts connections as a provider may
        self.abort = transport.abort
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write, or keep a head for a moment."""
        if self._head:
            data, self._head = self._head + data, b""
            self._write(data)
        # A head of a final response: it is written in one piece by the cycle. 1xx responses leave at once, since the
        # client waits for them.
        elif data.endswith(b"\r\n\r\n") and data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
            # An application that sends no body in this iteration does not hold up the head any longer.
            self._loop.call_soon(self.flush)
        else:
            self._write(data)

    def flush(self) -> None:
        """Write a head that is kept."""
        if self._head:
            data, self._head = self._head, b""
            if not self.is_closing():
                self._write(data)


class HttpConnection(HttpToolsProtocol):
    """One connection.

    Attributes:
        phase: one of the constants above. due_at: when `expire` is to be called, on the event loop's clock. since: when
            the phase began.
    """

    def __init__(self, config: uvicorn.Config, server_state: ConnectionState) -> None:
        super().__init__(config, server_state, {})
        self._state, self._limits = server_state, server_state.limits
        self.phase, self.due_at, self.since = OPEN, inf, 0.0
        self._raw: asyncio.Transport = None  # type: ignore[assignment] # set by connection_made
        self._running: RequestResponseCycle | None = None
        # The answer to what the parser refuses; a callback that knows better sets it before it raises.
        self._status = 400
        # In bytes: the piece being parsed; the head so far; what was received since the last body byte; what was
        # discarded. `_hosts` counts the Host fields of a head.
        self._chunk = self._head_bytes = self._stray_bytes = self._discarded = self._hosts = 0
        self._is_trailing = self._is_upgrading = self._is_refused = False

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; called by the event loop."""
        super().connection_made(transport)
        self._raw = transport
        self._writer = _Transport(transport, self.loop, self._close)
        self.transport = self._writer  # type: ignore[assignment]
        self._enter(OPEN, self._limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; called by the event loop."""
        running = self._running
        super().connection_lost(exc)
        if running is not None and not running.response_complete:
            # uvicorn marks only the newest request, but the running one may be an earlier one.
            running.disconnected = True
            running.message_event.set()
        self.pipeline.clear()
        self._state.on_lost()

    def _enter(self, phase: int, limit_s: float) -> None:
        self.phase, self.since = phase, self.loop.time()
        self.due_at = self.since + limit_s

    def expire(self, now: float) -> None:
        """Act on a deadline that has passed (`due_at`)."""
        if self.phase in (OPEN, IDLE):
            self.close_idle()
        elif self.phase == HEAD:
            # An idle connection gets no 408: the client could take it for the answer to a request that it sends just
            # then.
            self._refuse(408)
        elif self.phase == BODY:
            # The client waits for us, not we for the client: reading is paused, or 100 Continue was not sent yet.
            if self.flow.read_paused or (self.cycle is not None and self.cycle.waiting_for_100_continue):
                self.due_at = now + self._limits.body_pause_s
            else:
                self._refuse(408)
        else:
            # An answer that is not read (ANSWER), or a client that does not close (LINGER): closing politely would wait
            # for the same client.
            self._raw.abort()

    def close_idle(self) -> bool:
        """Close a connection between two requests, unless bytes of the next one have arrived already. Returns whether
        it was closed.
        """
        # A close now would reset the connection under a request that is on its way: it is read first.
        if self._has_unread():
            self.due_at = self.loop.time() + self._limits.head_s
            return False
        self._enter(LINGER, self._limits.linger_s)
        self._raw.close()
        return True

    def drain(self) -> None:
        """Announce the end: the answer that is being made is the last one."""
        running = self._running
        if running is not None and not running.response_complete:
            # A head that is sent already cannot announce it; the connection becomes idle and is closed as such.
            running.keep_alive = running.keep_alive and running.response_started
            self.cycle.keep_alive = self.cycle.keep_alive and self.cycle.response_started
        elif self.phase in (OPEN, IDLE):
            self.due_at = self.since + self._limits.drain_idle_s

    def abort(self) -> None:
        """End the connection now, whatever is under way."""
        self._raw.abort()

    def _has_unread(self) -> bool:
        try:
            # FIONREAD: bytes in the kernel's receive buffer that the event loop has not read yet.
            waiting = fcntl.ioctl(self._raw.get_extra_info("socket").fileno(), termios.FIONREAD, b"\0\0\0\0")
        except (OSError, ValueError):
            return False  # the socket is closed already
        return bool(struct.unpack("i", waiting)[0])

    def _close(self) -> None:
        """Close after the answer that was just written; used by the cycle and by uvicorn in place of the transport's
        own `close`.
        """
        self.pipeline.clear()
        self._linger()

    def _linger(self) -> None:
        """Send FIN behind what was written, and discard what still arrives until the client closes too.

        A close with unread bytes makes the kernel send RST, which destroys an answer that the client has not read yet.
        """
        if self.phase == LINGER or self._raw.is_closing():
            return
        self._enter(LINGER, self._limits.linger_s)
        self.flow.resume_reading()
        # A head that waits for its body must leave before FIN.
        self._writer.flush()
        self._raw.write_eof()

    # --- bytes

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; called by the event loop."""
        phase = self.phase
        if phase == LINGER or self._is_refused:
            self._discarded += len(data)
            if self._discarded > self._limits.linger_bytes:
                self._raw.abort()
            return
        # The head's time counts from its first byte: a connection may be idle for longer than a head may take.
        if phase <= IDLE:
            self._enter(HEAD, self._limits.head_s)
        self._chunk = len(data)
        # How much of a chunk belongs to which request is known only afterwards: the bytes are counted on both sides of
        # the parser's callbacks.
        self._stray_bytes += self._chunk
        try:
            self._feed(data)
        # The client's bytes are no request (or `_Refusal` stopped the parser): 400, or the status that was set.
        except httptools.HttpParserError:
            self._refuse(self._status)
            return
        if self.phase == HEAD:
            self._head_bytes += self._chunk
            if self._head_bytes > self._limits.head_bytes:
                self._refuse(431)
        elif self.phase == BODY:
            # Each piece restarts the pause. The total time is the application's limit.
            self.due_at = self.loop.time() + self._limits.body_pause_s
            if self._stray_bytes > self._limits.head_bytes + self._chunk:
                # trailers or chunk extensions without end: the parser keeps a header's value until it is complete
                self._refuse(400)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            self._is_upgrading = False
            self._parse_without_upgrade(data[stopped.args[0] :])

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse a request that asks for another protocol as if it did not (RFC 9110 7.8), body included.

        httptools ends such a request at its head and takes the body for something else, which drops the body or reads
        it as a request of its own. So a new parser gets the same head without the field `Upgrade`.
        """
        version, method = self.parser.get_http_version(), self.parser.get_method()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version.encode())]
        lines += [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn sets it: without it the parser refuses bytes behind a request with `Connection: close`, which must
        # be ignored instead.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")
        if rest:
            self._feed(rest)

    def _refuse(self, status: int) -> None:
        """Answer what cannot be a request, or did not arrive in time, and read no more of the connection."""
        self._is_refused = True
        running = self._running
        if running is not None and not running.response_complete:
            if running is not self.cycle or running.response_started or self.phase != BODY:
                # An earlier request is being answered: its answer must not be mixed with this one, and is the last.
                running.keep_alive = False
                self.pipeline.clear()
                self.phase, self.due_at = ANSWER, inf
                return
            running.disconnected = True
            running.message_event.set()
        elif self.phase == BODY:
            self._linger()  # this request has its answer already
            return
        if not self._raw.is_closing():
            self._raw.write(refusal(status))
            self._linger()

    # --- callbacks of the parser

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        # Many small requests fit one chunk, and all of them are parsed before reading is paused.
        if self.phase == ANSWER and len(self.pipeline) >= self._limits.pipelined:
            raise _Refusal
        if self.phase == HEAD:
            self._head_bytes = 0
        else:
            # It begins behind another request. How much of this chunk is its own is not known, so none of it counts.
            self._head_bytes = -self._chunk
            self._enter(HEAD, self._limits.head_s)
        self._is_trailing = False
        self._hosts = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of a head."""
        if self._is_trailing:
            return  # trailers are no part of the head that was authorised; nothing here reads them
        name = name.lower()
        if name == b"host":
            self._hosts += 1
            # What is no authority must not reach an application that derives addresses from it.
            if not _HOST.fullmatch(value):
                raise _Refusal
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        # Many small fields cost far more memory than their bytes, which are limited too.
        if len(self.headers) > self._limits.headers:
            self._status = 431
            raise _Refusal

    def on_headers_complete(self) -> None:
        """The head is complete: refuse it, or start the application."""
        limits = self._limits
        # The exact size is only computed where the bytes received could exceed the limit.
        if max(self._stray_bytes, self._chunk) > limits.head_bytes and self._head_size() > limits.head_bytes:
            self._status = 431
            raise _Refusal
        if self.parser.should_upgrade():
            # CONNECT would make a tunnel of the connection; there is none to make.
            if self.parser.get_method() == b"CONNECT":
                self._status = 405
                raise _Refusal
            # The parser raises `HttpParserUpgrade` behind this head; until then nothing is started.
            self._is_upgrading = True
            return
        # RFC 9112 3.2: exactly one Host in HTTP/1.1; two would let a proxy and us see different targets.
        if self._hosts != 1 and (self._hosts or self.parser.get_http_version() != "1.0"):
            raise _Refusal
        # uvicorn queues the request in `pipeline` while another one runs.
        is_first = self._running is None or self._running.response_complete
        super().on_headers_complete()
        self._is_trailing = True
        self._stray_bytes = self._discarded = 0
        if self._state.draining:
            self.cycle.keep_alive = False
        if is_first or self.phase == HEAD:
            self._enter(BODY, limits.body_pause_s)

    def _head_size(self) -> int:
        # 4: the colon, the space and the line end of each field.
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._stray_bytes = 0
        # The application answered without reading the body to its end: the rest is discarded, up to a limit.
        if self.cycle.response_complete:
            self._discarded += len(body)
            if self._discarded > self._limits.linger_bytes:
                raise _Refusal
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        if self._is_upgrading:
            return
        self._stray_bytes = 0
        super().on_message_complete()
        self.cycle.scope[BODY_ARRIVED] = True  # type: ignore[typeddict-unknown-key] # a key of ours beside ASGI's
        if self.cycle.response_complete:
            # The answer was sent before the body had arrived.
            self._enter(IDLE, self._limits.idle_s)
        else:
            self._enter(ANSWER, inf)

    # --- the application

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer was written; called by the cycle."""
        self._state.total_requests += 1
        if self.phase == LINGER or self._raw.is_closing():
            return
        # uvicorn pauses reading while requests wait in the pipeline or a body is not consumed.
        self.flow.resume_reading()
        # Answers leave in the order of their requests (RFC 9112 9.3.2), so one application runs at a time.
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.phase == ANSWER:
            self._enter(IDLE, self._limits.idle_s)
            if self._state.draining:
                self.due_at = self.since + self._limits.drain_idle_s

    def pause_writing(self) -> None:
        """The client does not read; called by the event loop."""
        super().pause_writing()
        if self.phase == ANSWER:
            # Only a client that does not read has a deadline; an application that works long has its own.
            self.due_at = self.loop.time() + self._limits.write_stall_s

    def resume_writing(self) -> None:
        """The client reads again; called by the event loop."""
        super().resume_writing()
        if self.phase == ANSWER:
            self.due_at = inf


def refusal(status: int) -> bytes:
    """Return an answer that is made without the application, as problem+json (RFC 9457) of type `about:blank`; it ends
    the connection.
    """
    title = http.HTTPStatus(status).phrase
    body = json.dumps({"type": "about:blank", "title": title, "status": status}).encode()
    head = (
        f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
        # 503: there is no connection free, which changes within a second.
        + ("Retry-After: 1\r\n" if status == 503 else "")
        + "Connection: close\r\n\r\n"
    )
    return head.encode() + body
