"""Subscribers of webhooks for `bench hooks`, in a process of their own: one port each, answers that cost little.

Each line of standard input is a question (`counts`), answered with one line of JSON; the end of input ends the process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from typing import Final

import uvloop

_TAKEN: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_SLOW_S: Final = 1.0
_PIECE: Final = b"x" * 16_384


class CountingSubscriber:
    """Counts what came to one port.

    Args:
        manner: `good`, `slow` (answers after a second) or `lying` (a 200 whose body never ends, then a cut).
    """

    def __init__(self, manner: str) -> None:
        self.manner = manner
        self.count = 0
        self.first_at = self.last_at = 0.0

    def note(self) -> None:
        """Count one delivery."""
        self.last_at = time.time()
        self.first_at = self.first_at or self.last_at
        self.count += 1


class SubscriberPort(asyncio.Protocol):
    """One connection."""

    def __init__(self, subscriber: CountingSubscriber) -> None:
        self._subscriber, self._received = subscriber, b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; called by the event loop."""
        self._transport = transport  # type: ignore[assignment] # a stream's

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete; called by the event loop."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            length = int(head[head.index(b"Content-Length:") + 15 :].split(b"\r\n", 1)[0])
            if len(self._received) < end + 4 + length:
                return
            self._received = self._received[end + 4 + length :]
            self._subscriber.note()
            self._answer()

    def _answer(self) -> None:
        if self._subscriber.manner == "slow":
            asyncio.get_running_loop().call_later(_SLOW_S, self._transport.write, _TAKEN)
        elif self._subscriber.manner == "lying":
            self._transport.write(b"HTTP/1.1 200 OK\r\n\r\n" + _PIECE * 4)
        else:
            self._transport.write(_TAKEN)


async def serve(manners: list[str]) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    subscribers = [CountingSubscriber(manner) for manner in manners]
    ports = []
    for one in subscribers:
        server = await loop.create_server(partial(SubscriberPort, one), "127.0.0.1", 0, backlog=256)
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        counts = [
            {"manner": one.manner, "count": one.count, "first_at": one.first_at, "last_at": one.last_at}
            for one in subscribers
        ]
        print(json.dumps(counts), flush=True)
        for one in subscribers:
            one.count, one.first_at, one.last_at = 0, 0.0, 0.0


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.argv[1])))
