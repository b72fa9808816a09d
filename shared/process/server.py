"""Serves an ASGI application on sockets inside a child's own event loop, and the only door to uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from shared.clock import left

_ACCEPT_AT_ONCE: Final = 64
_ACCEPT_AGAIN_S: Final = 0.1
"""How long a process without free descriptors leaves new connections to the others."""


class _Doorman:
    """Takes connections off a listening socket, as many as wait there.

    libuv takes one in each turn of the event loop. Turns of a busy process are long, and a burst of clients would wait for seconds.
    """

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._listener, self._protocol, self._loop = listener, protocol, asyncio.get_running_loop()
        self._opening: set[asyncio.Task[object]] = set()
        self._again: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._listen()

    def _listen(self) -> None:
        self._again = None
        self._loop.add_reader(self._listener.fileno(), self._take)

    def _take(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                line, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(self._listener.fileno())
                self._again = self._loop.call_later(_ACCEPT_AGAIN_S, self._listen)
                return
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opening = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, line))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    def close(self) -> None:
        """Take no more."""
        if self._again is not None:
            self._again.cancel()
        elif self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """Wait for connections that were taken and are not served yet."""
        await asyncio.gather(*self._opening, return_exceptions=True)


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on the given sockets, with doormen of our own in place of uvicorn's servers; called by uvicorn."""
        await super().startup(sockets=[])
        made: Any = self.config.http_protocol_class
        protocol = partial(made, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        # all that uvicorn asks of a server is to close
        self.servers = [_Doorman(listener, protocol) for listener in sockets or []]  # type: ignore[misc]

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
        # nothing of ours speaks WebSocket; uvicorn's default could not even be imported beside pyppeteer, which holds websockets below 11
        self._config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
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
