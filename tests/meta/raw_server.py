"""A server of a few lines that answers a message's POST as a test says, and the client that posts to it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

from meta.graph import Endpoint, GraphClient, GraphReply
from shared.clock import monotonic
from tests.meta.test_graph import uvloop_runner
from tests.support.waiting import within

_T = TypeVar("_T")
OK: Final = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"ok":1}'
WITHIN_S: Final = 5.0
KEPT, CLOSED, RESET = "kept", "closed", "reset"


def run(scenario: Coroutine[Any, Any, _T]) -> _T:
    """Run one scenario on the loop that processes use; an error that is not handled there fails it."""

    async def watched() -> _T:
        loop, unhandled = asyncio.get_running_loop(), list[Any]()
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        result = await within(scenario, 30)
        assert not unhandled, unhandled
        return result

    with uvloop_runner() as runner:
        return runner.run(watched())


class RawServer:
    """Answers each request with the next of its scripts, piece by piece; then with `OK`.

    Attributes:
        requests: what came, whole; asked: released for each of them. answered: released when a script was played to its
            end. connections: how many were made; ended: released for each that the client has ended.
    """

    def __init__(self, scripts: Iterable[tuple[Sequence[bytes], str]] = ()) -> None:
        self._scripts = list(scripts)
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = asyncio.Semaphore(0)
        self.asked = asyncio.Semaphore(0)
        self.answered = asyncio.Semaphore(0)
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                self.answered.release()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            self.ended.release()
            writer.close()
            return
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.answered.release()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        self.asked.release()
        pieces, end = self._scripts.pop(0) if self._scripts else ([OK], KEPT)
        for piece in pieces:
            # the client may have read enough
            if writer.transport.is_closing():
                break
            writer.write(piece)
            # the client, which is on the same loop, reads a piece before the next one is written
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if end == RESET:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return end == KEPT


@asynccontextmanager
async def server(*scripts: tuple[Sequence[bytes], str], tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Run a server on a free port of 127.0.0.1."""
    made = RawServer(scripts)
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = listening.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        listening.close()


class Sender:
    """A client, and what it noted as perhaps written."""

    def __init__(self, connections: int = 1) -> None:
        self.graph = GraphClient(connections=connections)
        self.noted = 0

    async def post(
        self,
        port: int,
        *,
        url: str = "http://127.0.0.1:{port}/v1/messages",
        headers: dict[str, str] | None = None,
        within_s: float = WITHIN_S,
        writing: Callable[[], Awaitable[None]] | None = None,
    ) -> GraphReply:
        """Send one body."""
        endpoint = Endpoint(url.format(port=port), {"Authorization": "Bearer x"} if headers is None else headers)
        return await self.graph.post(endpoint, b'{"a":1}', monotonic() + within_s, writing or self.note)

    async def note(self) -> None:
        """Note that the request may leave."""
        self.noted += 1


@asynccontextmanager
async def sender(connections: int = 1) -> AsyncIterator[Sender]:
    """Make a client and close it."""
    made = Sender(connections)
    try:
        yield made
    finally:
        await made.graph.close()
