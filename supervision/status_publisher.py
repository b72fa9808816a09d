"""Publishes the supervisor's state: `run/status.json`, and the same snapshot for operators."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from shared.clock import monotonic
from shared.logs import logger
from shared.process.slot_lock import boot_id
from supervision import snapshot
from supervision.decisions.model import Slot, State
from supervision.processes.resources import Usage, own_usage

log = logger(__name__)


class Published(TypedDict):
    """Facts that only the supervisor knows. `journal_seq`: number of the journal's last entry; `dashboard`: its
    address."""

    journal_seq: int
    dashboard: str


class StatusPublisher:
    """Writes the snapshot when something has changed, and at least as often as `mark_changed` is called.

    Args:
        path: of the file. facts: what does not change while the orchestrator runs. ports: a slot's admin port and
            public port (0: none).
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], *, ports: Callable[[Slot], tuple[int, int]]) -> None:
        self._path, self._facts, self._ports = path, facts, ports
        self._began_at = monotonic()
        self._usage: dict[str, Usage] = {}
        self._own_usage = own_usage()
        self._changed = True

    def mark_changed(self) -> None:
        """Write at the next `publish`."""
        self._changed = True

    def measured(self, slot: str, usage: Usage) -> None:
        """Remember a measurement of a slot's process tree."""
        self._usage[slot] = usage

    def begin_measuring(self, slots: Mapping[str, Slot]) -> None:
        """Measure the orchestrator itself, and forget slots that no longer exist."""
        self._own_usage = own_usage()
        self._usage = {name: usage for name, usage in self._usage.items() if name in slots}

    def publish(self, state: State, *, journal_seq: int, dashboard: str) -> None:
        """Write the file if something has changed. A disk that refuses it is logged; the next call tries again."""
        if not self._changed:
            return
        # Before the write: a disk that refuses it is not asked again in each iteration, but at the next mark.
        self._changed = False
        try:
            snapshot.write(self._path, self.snapshot(state, journal_seq=journal_seq, dashboard=dashboard))
        except OSError as problem:
            log.warning("status_not_written", problem=str(problem))

    def snapshot(self, state: State, *, journal_seq: int, dashboard: str) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {
            "pid": os.getpid(),
            "boot_id": boot_id(),
            **self._facts,
            "uptime_s": round(monotonic() - self._began_at, 1),
            "memory_mb": round(self._own_usage.memory_mb, 1),
            "journal_seq": journal_seq,
            "dashboard": dashboard,
            **snapshot.of_state(state, monotonic(), ports=self._ports, usage=self._usage),
        }
