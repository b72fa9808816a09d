"""Asks the orchestrator of this host on behalf of an operation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.http.problems import Problem
from shared.process import control_client, runtime


async def ask_orchestrator(home: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the orchestrator of this host answers.

    Args:
        home: BULKHEAD_HOME. request: one command of the control socket.
    Raises:
        Problem: no orchestrator answers. OrchestratorRefused: it refuses.
    """
    try:
        # the client blocks, for seconds when the orchestrator is busy
        return await asyncio.to_thread(
            control_client.ask_running, runtime.control_socket(home), runtime.orchestrator_lock_file(home), request
        )
    except control_client.NoOrchestrator as error:
        raise Problem(
            "orchestrator_unavailable",
            "No orchestrator answers on this host: start `bulkhead`, or its service manager.",
            headers={"Retry-After": "5"},
        ) from error
