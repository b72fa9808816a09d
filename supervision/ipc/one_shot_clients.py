"""Connections that bring one request and get one response, served within the supervisor's selector."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from shared.clock import monotonic

_PATIENCE_S: Final = 5.0
"""Seconds after which a silent client is dropped."""


class OneShotClients:
    """Accepts clients, reads one request of each, and closes. A slow or silent client is dropped, never waited for.

    Args:
        answer: makes the response of a request; it gets what stands before the first `line_end`.
        end: bytes that end a request. line_end: bytes that end its first line.
        longest: most bytes of a request. most: connections at once; each one costs the orchestrator a descriptor.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        answer: Callable[[bytes], bytes],
        *,
        end: bytes,
        line_end: bytes,
        longest: int,
        most: int,
    ) -> None:
        self._selector, self._answer, self._end, self._line_end = selector, answer, end, line_end
        self._longest, self._most = longest, most
        self._clients: dict[socket.socket, tuple[bytearray, float]] = {}

    def accept(self, listener: socket.socket) -> None:
        """Take one connection off a listening socket that is ready."""
        # The client gave up between select and accept.
        with suppress(BlockingIOError, ConnectionError):
            client, _ = listener.accept()
            if len(self._clients) >= self._most:
                client.close()
                return
            client.setblocking(False)
            self._clients[client] = (bytearray(), monotonic())
            self._selector.register(client, selectors.EVENT_READ, lambda: self._read(client))

    def drop_silent(self) -> None:
        """Close connections that sent no request in time."""
        now = monotonic()
        for client, (_, since) in [*self._clients.items()]:
            if now - since > _PATIENCE_S:
                self._drop(client)

    def close(self) -> None:
        """Close all connections."""
        for client in [*self._clients]:
            self._drop(client)

    def _read(self, client: socket.socket) -> None:
        buffer, _ = self._clients[client]
        try:
            chunk = client.recv(self._longest)
        except BlockingIOError:
            return
        except OSError:
            # A reset connection: as if the client had closed it.
            chunk = b""
        buffer += chunk
        is_whole = self._end in buffer
        if is_whole:
            response = self._answer(bytes(buffer.split(self._line_end, 1)[0]))
            # The client is gone, or reads slower than the kernel buffers: the loop must not wait for it.
            with suppress(OSError):
                client.sendall(response)
        if not chunk or is_whole or len(buffer) > self._longest:
            self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._clients.pop(client, None)
        # Dropped already by the other of read and timeout.
        with suppress(KeyError, ValueError):
            self._selector.unregister(client)
        client.close()
