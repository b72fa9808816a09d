"""Answers operators' requests on the control socket."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from shared.errors import BulkheadError
from shared.logs import logger
from supervision.decisions import model, plan
from supervision.decisions.model import State
from supervision.processes.doctor_runs import DoctorRuns

log = logger(__name__)


class Supervision(Protocol):
    """What requests can change."""

    @property
    def state(self) -> State:
        """The present state."""

    def take(self, event: model.Event) -> None:
        """Handle an event."""

    def request_stop(self, by: str) -> None:
        """Drain and stop everything; the second request is urgent, the third immediate."""

    def reload_settings(self) -> frozenset[str]:
        """Read the settings again, and return the kinds whose processes are replaced. Raises `BulkheadError`."""


class ControlHandler:
    """Carries out one request at a time.

    Args:
        supervision: what requests change. snapshot: returns the status. doctor: checks the installation.
    """

    def __init__(self, supervision: Supervision, snapshot: Callable[[], Mapping[str, Any]], doctor: DoctorRuns) -> None:
        self._supervision, self._snapshot, self._doctor = supervision, snapshot, doctor

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer to a request. Raises `BulkheadError` when it cannot be carried out."""
        command, target = str(request.get("command", "")), str(request.get("target", ""))
        match command:
            case "status":
                return {"ok": True, "status": self._snapshot()}
            case "restart" | "drain":
                return {"ok": True, "slots": self._replace_or_drain(command, target)}
            case "stop":
                self._supervision.request_stop("operator")
                return {"ok": True, "pid": os.getpid()}
            case "reload":
                return {"ok": True, "changed": sorted(self._supervision.reload_settings())}
            case "doctor":
                return {"ok": True, "doctor": self._doctor.as_json()}
            case "run-doctor":
                return {"ok": True, "doctor": self._doctor.begin()}
        raise BulkheadError(
            f"unknown command {command!r}; known: status, restart, drain, stop, reload, doctor, run-doctor"
        )

    def _replace_or_drain(self, command: str, target: str) -> dict[str, str]:
        """Return the incarnations that the slots had before."""
        state = self._supervision.state
        slots = plan.select(state.slots, target, state.counts)
        log.info("operator_command_received", command=command, slots=list(slots))
        # Read before the request is handled: the command waits for other incarnations than these.
        before = {name: state.slots[name].incarnation for name in slots}
        self._supervision.take(model.RestartRequested(slots) if command == "restart" else model.DrainRequested(slots))
        return before
