"""The client of the orchestrator's control socket: for operators' commands, and for the API.

One JSON line as request, one as response, then the connection is closed.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from shared.clock import monotonic
from shared.errors import BulkheadError
from shared.process.slot_lock import read_holder

_PATIENCE_S: Final = 5.0
"""Seconds after which a caller stops waiting for an orchestrator."""
_ASK_AGAIN_S: Final = 0.1
"""Seconds between two attempts to reach an orchestrator whose socket is missing."""


class NoOrchestrator(BulkheadError):
    """Raised when a running Bulkhead is needed and no orchestrator answers over this home."""


class OrchestratorRefused(BulkheadError):
    """Raised when the orchestrator refuses a request."""


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
