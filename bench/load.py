"""The load generator: a process of its own, so that its cost is not counted as Bulkhead's, and nothing else delays its
schedule.

`python -m bench.load SPEC` reads a `LoadSpec` as JSON from its argument, posts texts over keep-alive connections, and
writes a `LoadResult` as JSON to the file that the spec names. It implements just enough HTTP/1.1: a client library
would cost more than the calls that it measures.

Two modes. Open loop (`rate` above 0): messages are due at fixed instants, independently of the responses, and latencies
count from the due instant, so that a stall is not hidden by the clients that it stops (coordinated omission). Closed
loop (`rate` 0): each connection posts as fast as it is answered, while at most `backlog` accepted messages have not
been sent.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

_ANSWER_S: Final = 30.0
"""Seconds to wait for outstanding responses after the load; later ones count as broken."""
_POLL_S: Final = 0.1
"""Polling interval for the counters of sent messages in seconds: short against the time in which a backlog empties."""


@dataclass(frozen=True, kw_only=True)
class LoadSpec:
    """Specification of a load.

    Attributes:
        seconds: duration of the load. rate: messages a second, 0 for as fast as possible. connections: most at once.
        chats: number of chats, which are used in turn. backlog: closed loop: most messages accepted and not sent.
        meta_ports: closed loop: admin ports whose metrics show how many were sent. first_chat: number of the first
            chat.
    """

    api_port: int
    api_key: str
    result: str
    seconds: float
    rate: float = 0.0
    connections: int = 48
    chats: int = 20_000
    first_chat: int = 15_551_000_000
    backlog: int = 2000
    meta_ports: list[int] = field(default_factory=list)
    company: str = "demo"
    phone_index: int = 0


@dataclass(kw_only=True)
class LoadResult:
    """The result; instants in seconds since 1970, one entry of each list for each accepted message.

    Attributes:
        due_at, answered_at: due instant, and arrival of the 202. other: other responses, by status. broken: requests
            whose connection ended before the response. cpu_s: this process's own CPU time.
    """

    ids: list[int] = field(default_factory=list)
    due_at: list[float] = field(default_factory=list)
    answered_at: list[float] = field(default_factory=list)
    other: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    began_at: float = 0.0
    ended_at: float = 0.0
    cpu_s: float = 0.0


class LoadConnection(asyncio.Protocol):
    """A keep-alive connection with one request at a time."""

    def __init__(
        self, answered: Callable[[LoadConnection, int, bytes], None], lost: Callable[[LoadConnection], None]
    ) -> None:
        self._answered, self._lost = answered, lost
        self._buffer = b""
        self.transport: asyncio.Transport
        self.due_at = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = transport  # type: ignore[assignment]  # a stream's transport is always an `asyncio.Transport`

    def data_received(self, data: bytes) -> None:
        """Collect one response: head, Content-Length, body."""
        # one read is almost always one response, which is then not copied
        self._buffer = buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        # header names are case-insensitive (RFC 9110, 5.1)
        at = buffer.lower().find(b"content-length:", 0, end)
        length = int(buffer[at + 15 : buffer.index(b"\r\n", at)]) if at >= 0 else 0
        if len(buffer) < end + 4 + length:
            return
        body, self._buffer = buffer[end + 4 : end + 4 + length], buffer[end + 4 + length :]
        self.busy = False
        # the status follows `HTTP/1.1 `
        self._answered(self, int(buffer[9:12]), body)

    def connection_lost(self, error: Exception | None) -> None:
        """Report the loss to the counter."""
        self._lost(self)


class LoadRun:
    """One run of the generator."""

    def __init__(self, spec: LoadSpec) -> None:
        self._spec, self.result = spec, LoadResult()
        self._made = 0
        self._outstanding = 0
        self._sent = 0
        self._ended = asyncio.Event()
        self._over = False
        self._due: deque[float] = deque()
        self._idle: deque[LoadConnection] = deque()
        self._open = 0
        head = (
            f"Host: 127.0.0.1:{spec.api_port}\r\nAuthorization: Bearer "
            f"{spec.api_key}\r\nContent-Type: application/json\r\nContent-Length: "
        )
        # built once: the generator must cost less than what it measures
        self._head = head.encode()

    async def run(self) -> LoadResult:
        """Post for the duration, then wait for every response."""
        watch = asyncio.create_task(self._watch_sent()) if self._spec.meta_ports else None
        # an open loop starts with few connections and opens more as responses lag, as clients do; a closed loop opens
        # all
        for _ in range(self._spec.connections if not self._spec.rate else min(8, self._spec.connections)):
            self._idle.append(await self._connect())
        # after connecting, which does not belong to the load
        self.result.began_at = time.time()
        await (self._open_loop() if self._spec.rate else self._closed_loop())
        self._over = True
        by = time.monotonic() + _ANSWER_S
        while (self._outstanding or self._due) and time.monotonic() < by:
            # also polled every 0.2 s: a response between the test and the clear would otherwise be missed
            self._ended.clear()
            await asyncio.wait([asyncio.ensure_future(self._ended.wait())], timeout=0.2)
        # requests without a response by now count as broken
        self.result.broken += self._outstanding
        self.result.ended_at = time.time()
        if watch is not None:
            watch.cancel()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.result.cpu_s = usage.ru_utime + usage.ru_stime
        return self.result

    async def _connect(self) -> LoadConnection:
        self._open += 1
        _, line = await asyncio.get_running_loop().create_connection(
            lambda: LoadConnection(self._on_answer, self._on_lost), "127.0.0.1", self._spec.api_port
        )
        return line

    def _post(self, line: LoadConnection, due_at: float) -> None:
        number = self._made
        self._made += 1
        self._outstanding += 1
        line.busy, line.due_at = True, due_at
        # in turn, so that the order within a chat is no limit while there are more chats than sends in flight
        chat = self._spec.first_chat + number % self._spec.chats
        body = b'{"message":"bench %d","phoneIndex":%d}' % (number, self._spec.phone_index)
        line.transport.write(
            b"POST /api/v2/messages/text/%b/%d HTTP/1.1\r\n%b%d\r\n\r\n%b"
            % (self._spec.company.encode(), chat, self._head, len(body), body)
        )

    def _on_answer(self, line: LoadConnection, status: int, body: bytes) -> None:
        self._outstanding -= 1
        if status == 202:
            at = body.index(b'"id":"') + 6
            self.result.ids.append(int(body[at : body.index(b'"', at)]))
            # not the time of the write: the wait for a free connection is part of the latency
            self.result.due_at.append(line.due_at)
            self.result.answered_at.append(time.time())
        else:
            self.result.other[str(status)] = self.result.other.get(str(status), 0) + 1
        self._next(line)

    def _next(self, line: LoadConnection) -> None:
        # an overdue message goes first, on the connection that has just become free
        if self._due:
            self._post(line, self._due.popleft())
        elif not self._spec.rate and not self._over and self._may_post():
            self._post(line, time.time())
        else:
            self._idle.append(line)
            self._ended.set()

    def _on_lost(self, line: LoadConnection) -> None:
        self._open -= 1
        if line.busy:
            self._outstanding -= 1
            self.result.broken += 1
            self._ended.set()
        if line in self._idle:
            self._idle.remove(line)

    def _may_post(self) -> bool:
        return len(self.result.ids) + self._outstanding - self._sent < self._spec.backlog

    async def _closed_loop(self) -> None:
        by = time.monotonic() + self._spec.seconds
        while time.monotonic() < by:
            while self._idle and self._may_post():
                self._post(self._idle.popleft(), time.time())
            # replaces connections that the server has closed
            if self._open < self._spec.connections:
                self._idle.append(await self._connect())
            # each response posts the next message; this resumes posting when the backlog has room again
            await asyncio.sleep(0.005)

    async def _open_loop(self) -> None:
        # due instants use the wall clock, for comparison with the ledger's; the pace uses the monotonic one
        began, wall, number = time.monotonic(), time.time(), 0
        total = round(self._spec.seconds * self._spec.rate)
        while number < total:
            now = time.monotonic() - began
            while number < total and number / self._spec.rate <= now:
                # by number, not by adding intervals, so that rounding and late wake-ups do not accumulate
                self._due.append(wall + number / self._spec.rate)
                number += 1
            while self._due and self._idle:
                self._post(self._idle.popleft(), self._due.popleft())
            if self._due and self._open < self._spec.connections:
                self._idle.append(await self._connect())
                # without waiting: connecting took time, and more may be due
                continue
            await asyncio.sleep(max(0.0, number / self._spec.rate - (time.monotonic() - began)))

    async def _watch_sent(self) -> None:
        loop = asyncio.get_running_loop()
        counts: dict[int, int] = {}
        first: int | None = None
        while True:
            for port in self._spec.meta_ports:
                reported: asyncio.Future[bytes] = loop.create_future()
                transport, _ = await loop.create_connection(
                    lambda reported=reported: _Asking(reported),  # type: ignore[misc]
                    "127.0.0.1",
                    port,
                )
                transport.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                counts[port] = json.loads(await reported)["messagesSent"]
            # the counters include messages from before this load
            first = sum(counts.values()) if first is None else first
            self._sent = sum(counts.values()) - first
            await asyncio.sleep(_POLL_S)


class _Asking(asyncio.Protocol):
    """Collects a response that ends with its connection."""

    def __init__(self, reported: asyncio.Future[bytes]) -> None:
        self._reported, self._buffer = reported, b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data

    def connection_lost(self, error: Exception | None) -> None:
        if not self._reported.done():
            self._reported.set_result(self._buffer.partition(b"\r\n\r\n")[2])


def main(words: list[str]) -> int:
    """Run the load that the one argument describes."""
    raw: dict[str, Any] = json.loads(words[0])
    spec = LoadSpec(**raw)
    Path(spec.result).write_text(json.dumps(asdict(uvloop.run(LoadRun(spec).run()))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
