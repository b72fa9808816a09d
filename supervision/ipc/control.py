"""The control socket: one JSON line as request, one as response, then the connection is closed. Server for the loop,
client for commands.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from shared.clock import monotonic
from shared.errors import BulkheadError
from shared.process.slot_lock import read_holder
from shared.process.socket_file import SocketFile
from supervision.ipc.one_shot_clients import OneShotClients

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_LONGEST_REQUEST: Final = 64 * 1024
"""Bytes; a request is one short line."""
_PATIENCE_S: Final = 5.0
"""Seconds after which a command stops waiting for an orchestrator."""
_MOST_CLIENTS: Final = 64
"""Connections at once: operators have a few."""
_ASK_AGAIN_S: Final = 0.1
"""Seconds between two attempts to reach an orchestrator whose socket is missing."""


class NoOrchestrator(BulkheadError):
    """Raised when a command needs a running Bulkhead and no orchestrator answers over this home."""


class OrchestratorRefused(BulkheadError):
    """Raised when the orchestrator refuses a request."""


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


def ask_running(
    path: Path, lock_file: Path, request: Mapping[str, Any], *, within_s: float = _PATIENCE_S
) -> dict[str, Any]:
    """Like `ask`, for an orchestrator that holds `lock_file`: while it does, a control socket whose file was removed is
    waited for, since the orchestrator binds it again. Raises `NoOrchestrator` and `OrchestratorRefused`.
    """
    by = monotonic() + within_s
    while True:
        try:
            return ask(path, request, within_s=within_s)
        except NoOrchestrator:
            holder = read_holder(lock_file)
            # A socket that exists and does not answer will not be bound again, and without an orchestrator nothing will
            # come.
            if path.exists() or holder is None or not holder.is_running() or monotonic() >= by:
                raise
        time.sleep(_ASK_AGAIN_S)


def ask(path: Path, request: Mapping[str, Any], *, within_s: float = _PATIENCE_S) -> dict[str, Any]:
    """Ask the orchestrator that listens at `path` and return its answer.

    Raises:
        NoOrchestrator: no process listens, or none answered in time.
        Refused: the text is the orchestrator's reason.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(within_s)
            line.connect(str(path))
            line.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(line.makefile("rb").readline() or b"null")
    # Refused, timed out, or half an answer from an orchestrator that died.
    except (OSError, ValueError) as problem:
        raise NoOrchestrator(f"no orchestrator answers at {path}: {problem}") from None
    if not isinstance(answer, dict):
        raise NoOrchestrator(f"the orchestrator at {path} closed the line without an answer")
    if not answer.get("ok"):
        raise OrchestratorRefused(str(answer.get("error", "refused")))
    return answer
