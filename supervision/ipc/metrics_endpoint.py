"""The orchestrator's own figures on its loopback port: `GET /metrics` and `GET /livez`, answered within the
supervisor's selector. A slow or silent client is dropped, never waited for.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from shared.clock import monotonic
from shared.logs import logger
from shared.process.exposition import CONTENT_TYPE

log = logger(__name__)

_LONGEST_HEAD: Final = 8 * 1024
"""Bytes; a scraper's request is a few lines."""
_PATIENCE_S: Final = 5.0
"""Seconds after which a silent client is dropped."""
_MOST_CLIENTS: Final = 16
"""Connections at once: scrapers are few, and each one costs the orchestrator a descriptor."""


class MetricsEndpoint:
    """Serves a loopback port. A port that is taken is no reason to fail: figures are not what an orchestrator is for.

    Args:
        figures: makes the answer of `/metrics`.
    """

    def __init__(self, port: int, selector: selectors.BaseSelector, figures: Callable[[], bytes]) -> None:
        self._port, self._selector, self._figures = port, selector, figures
        self._clients: dict[socket.socket, tuple[bytearray, float]] = {}
        self._listener: socket.socket | None = None
        self._refused = False
        self.upkeep()

    def upkeep(self) -> None:
        """Listen if the port was taken so far; close connections that sent no request in time."""
        if self._listener is None:
            self._listen()
        now = monotonic()
        for client, (_, since) in [*self._clients.items()]:
            if now - since > _PATIENCE_S:
                self._drop(client)

    def close(self) -> None:
        """Close everything."""
        for client in [*self._clients]:
            self._drop(client)
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()

    def _listen(self) -> None:
        try:
            listener = socket.create_server(("127.0.0.1", self._port))
        except OSError as problem:
            if not self._refused:
                log.warning("metrics_port_unusable", port=self._port, problem=str(problem))
            self._refused = True
            return
        self._refused = False
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, partial(self._accept, listener))
        self._listener = listener

    def _accept(self, listener: socket.socket) -> None:
        # The client gave up between select and accept.
        with suppress(BlockingIOError, ConnectionError):
            client, _ = listener.accept()
            if len(self._clients) >= _MOST_CLIENTS:
                client.close()
                return
            client.setblocking(False)
            self._clients[client] = (bytearray(), monotonic())
            self._selector.register(client, selectors.EVENT_READ, lambda: self._read(client))

    def _read(self, client: socket.socket) -> None:
        buffer, _ = self._clients[client]
        try:
            chunk = client.recv(_LONGEST_HEAD)
        except BlockingIOError:
            return
        except OSError:
            # A reset connection: as if the client had closed it.
            chunk = b""
        buffer += chunk
        if b"\r\n\r\n" in buffer:
            # The client is gone, or reads slower than the kernel buffers: the loop must not wait for it.
            with suppress(OSError):
                client.sendall(self._answer(bytes(buffer.split(b"\r\n", 1)[0])))
        if not chunk or b"\r\n\r\n" in buffer or len(buffer) > _LONGEST_HEAD:
            self._drop(client)

    def _answer(self, line: bytes) -> bytes:
        method, _, rest = line.partition(b" ")
        path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
        if method not in (b"GET", b"HEAD"):
            status, content, body = "405 Method Not Allowed", "text/plain", b""
        elif path == b"/metrics":
            status, content, body = "200 OK", CONTENT_TYPE, self._figures()
        elif path == b"/livez":
            # That it is answered at all is the proof: the loop turns.
            status, content, body = "200 OK", "application/json", b'{"live":true,"stalled":[]}'
        else:
            status, content, body = "404 Not Found", "text/plain", b""
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: {content}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if method == b"HEAD" else body)

    def _drop(self, client: socket.socket) -> None:
        self._clients.pop(client, None)
        # Dropped already by the other of read and timeout.
        with suppress(KeyError, ValueError):
            self._selector.unregister(client)
        client.close()
