"""The control socket: one JSON line as request, one as response, then the connection is closed. Its client is
`shared.process.control_client`.
"""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from shared.errors import BulkheadError
from shared.process.control_client import OrchestratorRefused
from shared.process.socket_file import SocketFile
from supervision.ipc.one_shot_clients import OneShotClients

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_LONGEST_REQUEST: Final = 64 * 1024
"""Bytes; a request is one short line."""
_MOST_CLIENTS: Final = 64
"""Connections at once: operators have a few."""


class ControlServer:
    """Answers operators within the supervisor's selector; a slow or silent client is dropped, never waited for."""

    def __init__(self, path: Path, selector: selectors.BaseSelector, handler: Handler) -> None:
        self._selector, self._handler = selector, handler
        self._clients = OneShotClients(
            selector, self._answer, end=b"\n", line_end=b"\n", longest=_LONGEST_REQUEST, most=_MOST_CLIENTS
        )
        self._listen(path)

    def _listen(self, path: Path) -> None:
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fresh.setblocking(False)
        self._file = SocketFile.bind(fresh, path)
        self._listener = fresh
        self._listener.listen(128)
        self._selector.register(fresh, selectors.EVENT_READ, lambda: self._clients.accept(fresh))

    def is_reachable(self) -> bool:
        """Whether the path still leads here."""
        return self._file.is_there()

    def bind_again(self, path: Path) -> None:
        """Listen anew in place of a socket whose path was removed. Raises `OSError`."""
        lost = self._listener
        self._listen(path)
        self._selector.unregister(lost)
        lost.close()

    def drop_silent(self) -> None:
        """Close connections that sent no request in time."""
        self._clients.drop_silent()

    def close(self) -> None:
        """Close everything and remove the socket's file."""
        self._clients.close()
        self._selector.unregister(self._listener)
        self._listener.close()
        self._file.remove()

    def _answer(self, line: bytes) -> bytes:
        try:
            answer = self._handler(_parse(line))
        except BulkheadError as refusal:
            # What an operator got wrong; any other error is a defect, and is not caught.
            answer = {"ok": False, "error": str(refusal)}
        return json.dumps(answer, default=str).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise OrchestratorRefused("a request is one line with a JSON object")
    return request
