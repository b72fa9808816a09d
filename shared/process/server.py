"""Serves an ASGI application on sockets inside a child's own event loop, and the only door to uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from shared.clock import left


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # signals belong to the child's lifecycle; uvicorn would take them over and raise them again after a clean stop
        yield


class HttpServer:
    """One HTTP server on given sockets.

    Args:
        app: the application. sockets: listening sockets; closed when the server stops. name: for the task's name.
    """

    def __init__(self, app: ASGIApp, sockets: Sequence[socket.socket], name: str) -> None:
        # ws: pyppeteer holds websockets below 11, with which uvicorn's default cannot be imported
        self._config = uvicorn.Config(
            app, loop="none", http="httptools", ws="wsproto", lifespan="off", log_config=None, access_log=False, server_header=False, timeout_keep_alive=30
        )
        self._server = _Server(self._config)
        self._sockets, self._name = list(sockets), name
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to accept; returns when connections are taken."""
        self._serving = asyncio.create_task(self._server.serve(sockets=self._sockets), name=f"http-{self._name}")
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.005)
        if self._serving.done():
            await self._serving

    async def stop(self, by: float) -> bool:
        """Accept no more, finish requests that are under way until the monotonic instant `by`. Returns whether all were finished."""
        if self._serving is None:
            return True
        self._server.should_exit = True
        done, _ = await asyncio.wait({self._serving}, timeout=left(by))
        if not done:
            self._server.force_exit = True
            await asyncio.wait({self._serving}, timeout=1.0)
        self._serving = None
        return bool(done)
