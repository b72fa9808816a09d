"""The orchestrator's snapshot of all slots, for `run/status.json`, the control socket and the commands.

Readers must check `at`: the file is written each second while an orchestrator lives, and remains when it has died.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from shared.atomic_file import replace_file
from shared.clock import utc_now
from shared.states import SlotState
from supervision.decisions.model import Slot, State
from supervision.processes.resources import Usage
from supervision.reliability import Reliability


def of_state(
    state: State,
    now: float,
    *,
    ports: Callable[[Slot], tuple[int, int]],
    usage: Mapping[str, Usage],
    reliability: Reliability,
) -> dict[str, Any]:
    """Return the slots as JSON values.

    Args:
        state: the supervisor's state.
        now: monotonic instant of it.
        ports: gives a slot's admin port and public port (0: none).
        usage: last measurement of each slot.
        reliability: how long they were ready.
    """
    # Instants are monotonic inside and wall clock outside; both are read once, so that all values of one snapshot
    # agree.
    wall = utc_now()

    def at(instant: float | None) -> str | None:
        return None if instant is None else _iso(wall + timedelta(seconds=instant - now))

    # servers of others answer no such requests: what is known of them is what we measure
    silent = {row.name for row in state.rows if row.room == "embedded"}
    hard_mb = {row.name: row.memory_hard_mb for row in state.rows}
    slots = {}
    for name, slot in state.slots.items():
        # The last measurement of a dead process is not the slot's use now.
        measured = usage.get(name) if slot.is_alive else None
        admin, public = ports(slot)
        slots[name] = {
            "kind": slot.kind,
            "instance": slot.instance,
            "state": slot.state.value,
            "since": at(slot.since) if slot.since else None,
            "pid": slot.pid or None,
            "incarnation": slot.incarnation or None,
            "adopted": slot.adopted,
            "started_at": at(slot.started_at) if slot.is_alive else None,
            "ready_at": at(slot.ready_at),
            "restarts": slot.restarts,
            "is_probe": slot.history.failed_probes > 0,
            "failures": round(slot.history.failures, 2),
            "last_exit": None
            if slot.last_exit is None
            else {"how": str(slot.last_exit), "last_words": slot.last_exit.last_words},
            "status": slot.status,
            "reason": _reason(slot),
            "next_try_at": at(slot.next_try_at),
            "admin_port": None if slot.kind in silent else admin,
            "port": public or None,
            "memory_mb": round(measured.memory_mb, 1) if measured else None,
            "memory_hard_mb": hard_mb.get(slot.kind, 0),
            "processes": measured.processes if measured else None,
            "threads": measured.threads if measured else None,
            "open_files": measured.open_files if measured else None,
            **reliability.of_slot(name, now),
        }
    return {
        "at": _iso(wall),
        "state": "stopping" if state.stopping else "running",
        "desired": None if state.desired is None else sorted(state.desired),
        "recoveries": reliability.recoveries(),
        "slots": slots,
    }


def write(path: Path, snapshot: Mapping[str, Any]) -> None:
    """Publish `snapshot` at `path` atomically. Raises `OSError`."""
    replace_file(path, json.dumps(snapshot))


def _reason(slot: Slot) -> str:
    """Return why the slot is not ready, in a few words."""
    if slot.held:
        return "drained by an operator"
    if slot.state is SlotState.QUARANTINED:
        return f"{len(slot.history.restarts)} restarts, last exit: {slot.last_exit or slot.status or 'none'}"
    if slot.state in (SlotState.BACKOFF, SlotState.MISCONFIGURED) and slot.last_exit:
        return f"last exit: {slot.last_exit}" + (f" ({slot.last_exit.last_words})" if slot.last_exit.last_words else "")
    if slot.state in (SlotState.DRAINING, SlotState.KILLING):
        return slot.cause.value if slot.cause.value != "none" else ""
    return ""


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
