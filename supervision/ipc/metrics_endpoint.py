"""The orchestrator's own figures on its loopback port: `GET /metrics` and `GET /livez`, answered within the
supervisor's selector. A slow or silent client is dropped, never waited for.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from shared.logs import logger
from shared.process.exposition import CONTENT_TYPE
from supervision.ipc.one_shot_clients import OneShotClients

log = logger(__name__)

_LONGEST_HEAD: Final = 8 * 1024
"""Bytes; a scraper's request is a few lines."""
_MOST_CLIENTS: Final = 16
"""Connections at once: scrapers are few."""


class MetricsEndpoint:
    """Serves a loopback port. A port that is taken is no reason to fail: figures are not what an orchestrator is for.

    Args:
        figures: makes the answer of `/metrics`.
    """

    def __init__(self, port: int, selector: selectors.BaseSelector, figures: Callable[[], bytes]) -> None:
        self._port, self._selector, self._figures = port, selector, figures
        self._clients = OneShotClients(
            selector, self._answer, end=b"\r\n\r\n", line_end=b"\r\n", longest=_LONGEST_HEAD, most=_MOST_CLIENTS
        )
        self._listener: socket.socket | None = None
        self._refused = False
        self.upkeep()

    def upkeep(self) -> None:
        """Listen if the port was taken so far; close connections that sent no request in time."""
        if self._listener is None:
            self._listen()
        self._clients.drop_silent()

    def close(self) -> None:
        """Close everything."""
        self._clients.close()
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
        self._selector.register(listener, selectors.EVENT_READ, partial(self._clients.accept, listener))
        self._listener = listener

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
