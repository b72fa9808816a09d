"""Serves an ASGI application on sockets inside a child's event loop; with `http_protocol` the only door to uvicorn."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from email.utils import formatdate
from enum import Enum, auto
from functools import partial
from heapq import nsmallest
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from shared.clock import monotonic
from shared.logs import logger
from shared.process.http_protocol import HEAD, IDLE, LINGER, OPEN, ConnectionState, HttpConnection, HttpLimits, refusal
from shared.process.request_body import BodyBudget, with_budget

log = logger(__name__)

_ACCEPT_AT_ONCE: Final = 64
"""Connections accepted per wake-up, so that a burst of clients does not hold up the requests under way."""
_ACCEPT_AGAIN_S: Final = 0.1
"""Seconds for which a process without free descriptors leaves new connections to the others."""
_SWEEP_S: Final = 1.0
"""Seconds between checks of the deadlines of all connections; also the greatest age of the `Date` of an answer."""
_DRAIN_TICK_S: Final = 0.02
"""The same during a drain, for which an operator waits."""
_OTHER_DESCRIPTORS: Final = 256
"""Descriptors kept free for everything that is no client: database, Redis, files, other servers of the process."""
_EVICTED_AT_ONCE: Final = 64
"""Idle connections closed in one step: as many as one wake-up accepts."""
_SLOW_HEAD_S: Final = 1.0
"""Seconds that a head may take while there is no room for another connection."""
_REFUSALS_LOGGED_S: Final = 10.0
"""Seconds between two log lines about refusals, which come by the thousand."""


class Admission(Enum):
    """Whether a new connection may be served."""

    ADMITTED = auto()
    LATER = auto()
    """In the event loop's next iteration, when connections that are being opened or closed have their final state."""
    REFUSED = auto()


class _Acceptor:
    """Accepts every pending connection per wake-up.

    libuv accepts one per iteration of the event loop. Iterations of a busy process are long, and a burst of clients
    would wait for seconds.

    Args:
        admit: whether one more connection may be served (`Admission`). refused: called for each that is not.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        admit: Callable[[], Admission],
        refused: Callable[[], None],
    ) -> None:
        self._listener, self._protocol, self._admit, self._refused = listener, protocol, admit, refused
        self._loop = asyncio.get_running_loop()
        # Kept here, since the event loop holds its tasks by weak references only.
        self.opening: set[asyncio.Task[object]] = set()
        self._again: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._listen()

    def _listen(self) -> None:
        self._again = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            admission = self._admit()
            if admission is Admission.LATER:
                return  # the listening socket stays readable, so this is called again
            try:
                client, _ = self._listener.accept()
            # Another instance took it, or the client is gone: the socket is shared.
            except (BlockingIOError, ConnectionAbortedError):
                return
            # EMFILE or ENFILE: the socket would stay readable, and the loop would spin without the pause.
            except OSError:
                self._loop.remove_reader(self._listener.fileno())
                self._again = self._loop.call_later(_ACCEPT_AGAIN_S, self._listen)
                return
            if admission is Admission.REFUSED:
                _refuse(client)
                self._refused()
                continue
            # Responses are written in one piece; Nagle's algorithm would only delay the last packet.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opening = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, client))
            self.opening.add(opening)
            # A connection counts while it is opened too: it is not in `connections` yet, and a burst would exceed the
            # limit.
            opening.add_done_callback(self.opening.discard)

    def close(self) -> None:
        """Accept no more, and close the listening socket of this process."""
        if self._again is not None:
            self._again.cancel()
        # A socket that failed elsewhere is closed already; removing its reader would raise.
        elif self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
        self._listener.close()


def _refuse(client: socket.socket) -> None:
    # The client is gone, or its buffer is full: it is closed either way.
    with suppress(OSError):
        client.setblocking(False)
        client.send(refusal(503))
        client.recv(65536)  # unread bytes would turn the close into a reset, which destroys the answer
    client.close()


class HttpServer:
    """One HTTP server on given sockets.

    Args:
        app: the application. sockets: listening sockets; closed when the server stops. name: for log lines. limits: of
            its connections.
    """

    def __init__(
        self, app: ASGIApp, sockets: Sequence[socket.socket], name: str, limits: HttpLimits | None = None
    ) -> None:
        # Nothing here uses WebSocket, and uvicorn's default could not even be imported beside pyppeteer, which holds
        # websockets below 11 (ADR 3).
        self._config = uvicorn.Config(
            # uvicorn is the protocol alone: no lifespan, no log of its own, and no `Server` header, which would only
            # name versions.
            with_budget(app, BodyBudget()),
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # by default uvicorn believes X-Forwarded-For of every client on this machine
            proxy_headers=False,
        )
        self._sockets, self._name, self._limits = list(sockets), name, limits or HttpLimits()
        self._state = ConnectionState(self._limits)
        self._most = self._limits.connections
        self._acceptors: list[_Acceptor] = []
        self._sweeping: asyncio.TimerHandle | None = None
        self._refused, self._refusals_logged_at = 0, float("-inf")

    async def start(self) -> None:
        """Begin to accept."""
        self._config.load()
        self._most = min(self._limits.connections, _descriptors_for_clients())
        self._loop = asyncio.get_running_loop()
        # Before the first connection: answers need the `Date` header that the sweep sets.
        self._sweep()
        protocol = partial(HttpConnection, self._config, self._state)
        self._acceptors = [
            _Acceptor(listener, protocol, self._admit, self._count_refused) for listener in self._sockets
        ]

    async def stop(self, by: float) -> bool:
        """Accept no more, finish requests that are under way until the monotonic instant `by`. Returns whether all were
        finished.

        Kept-alive connections are not cut while a request may be on its way: each answer from now on has `Connection:
        close`, and a connection that was used a moment ago gets the time for one more request.
        """
        if self._sweeping is None:
            return True
        for acceptor in self._acceptors:
            # The orchestrator holds the listening socket too: new connections wait in its queue for the next process.
            acceptor.close()
        self._state.draining = True
        for connection in self._connections():
            connection.drain()
        lingering_by = None
        while self._busy() and monotonic() < by:
            await asyncio.sleep(_DRAIN_TICK_S)
            # The sweep is too coarse for the short deadlines of a drain.
            self._expire()
            if all(connection.phase == LINGER for connection in self._connections()) and not self._opening():
                # Every answer is sent. Clients have a moment to read it before the kernel may reset the connection.
                lingering_by = lingering_by or monotonic() + self._limits.drain_idle_s
                if monotonic() > lingering_by:
                    break
        # Before the aborts below, which would make every drain look finished.
        finished = not self._state.tasks and all(one.phase in (OPEN, IDLE, LINGER) for one in self._connections())
        for connection in self._connections():
            connection.abort()
        for task in self._state.tasks:
            task.cancel()
        self._sweeping.cancel()
        self._sweeping = None
        return finished

    def _busy(self) -> bool:
        return bool(self._state.connections or self._state.tasks or self._opening())

    def _opening(self) -> int:
        return sum(len(acceptor.opening) for acceptor in self._acceptors)

    def _connections(self) -> list[HttpConnection]:
        return [connection for connection in self._state.connections if isinstance(connection, HttpConnection)]

    def _sweep(self) -> None:
        # uvicorn's own server sets it in its main loop, which does not run here.
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._expire()
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)

    def _expire(self) -> None:
        now = self._loop.time()
        for connection in self._connections():
            if connection.due_at <= now:
                connection.expire(now)

    def _admit(self) -> Admission:
        """Return whether one more connection may be served, after closing the longest idle ones where there are too
        many.
        """
        opening = self._opening()
        if len(self._state.connections) + opening < self._most:
            return Admission.ADMITTED
        idle = (one for one in self._connections() if one.phase in (OPEN, IDLE))
        # Longest idle first: a client that sends requests keeps its connection.
        oldest = nsmallest(_EVICTED_AT_ONCE, idle, key=lambda one: one.since)
        # Closed connections give their descriptors back in the next iteration only.
        if sum(one.close_idle() for one in oldest) or opening:
            return Admission.LATER
        now = self._loop.time()
        for one in self._connections():
            # A head takes milliseconds. With no room left a slow one does not keep its ten seconds.
            if one.phase == HEAD and now - one.since > _SLOW_HEAD_S:
                one.abort()
        return Admission.REFUSED

    def _count_refused(self) -> None:
        self._refused += 1
        if self._loop.time() - self._refusals_logged_at > _REFUSALS_LOGGED_S:
            self._refusals_logged_at = self._loop.time()
            log.warning("connections_refused", server=self._name, limit=self._most, count=self._refused)
            self._refused = 0


def _descriptors_for_clients() -> int:
    """Raise the limit of open descriptors to what the process may have, and return how many of them connections may
    use.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # A limit of the kernel's still applies (fs.nr_open, 2^20 by default).
    if hard == resource.RLIM_INFINITY:
        return 1 << 20
    # With a small limit half of it is for clients; 16 keep the process reachable for health checks.
    return max(16, hard - min(_OTHER_DESCRIPTORS, hard // 2))
