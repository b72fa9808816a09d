"""Wires between a host and the servers that it uses, which can be cut."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

_CHUNK: Final = 65_536


class Wire:
    """Forwards connections to one server until it is cut; then nothing passes and nothing is refused, as without a
    cable.

    Args:
        to: address of the server, or path of its socket. address: that it listens on.
    Attributes:
        place: address and port that it listens on.
    """

    def __init__(self, to: tuple[str, int] | str, address: str = "127.0.0.1") -> None:
        self._to, self._address, self._passes = to, address, asyncio.Event()
        self._passes.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.place = ""

    async def open(self) -> Wire:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._connected, self._address, 0)
        self.place = f"{self._address}:{self._server.sockets[0].getsockname()[1]}"
        return self

    def cut(self) -> None:
        """Let nothing pass any more."""
        self._passes.clear()

    def mend(self) -> None:
        """Let new connections pass; those of before the cut are broken."""
        for writer in list(self._writers):
            writer.transport.abort()
        self._passes.set()

    async def close(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.close()
        self._passes.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._passes.wait()
            if isinstance(self._to, str):
                there_reader, there_writer = await asyncio.open_unix_connection(self._to)
            else:
                there_reader, there_writer = await asyncio.open_connection(*self._to)
        except OSError:
            self._writers.discard(writer)
            writer.transport.abort()
            return
        self._writers.add(there_writer)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._forward(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        # a connection that breaks is what the two ends must cope with
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                await self._passes.wait()
                sink.write(data)
                await sink.drain()
        self._writers.discard(sink)
        sink.close()
