"""Shows the supervisor's state to others: `run/status.json`, operators' requests, the terminal, the service manager."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.clock import monotonic
from shared.logs import logger
from shared.process.slot_lock import boot_id
from supervision import snapshot
from supervision.announce import Announcer
from supervision.configuration import Configuration
from supervision.decisions.model import State
from supervision.event_journal import EventJournal
from supervision.ipc.sd_notify import SdNotify
from supervision.processes.measurements import Measurements
from supervision.reliability import Reliability

log = logger(__name__)


class StatusPublisher:
    """Writes the snapshot when something has changed, and at least as often as `mark_changed` is called.

    Args:
        path: of the file. facts: what does not change while the orchestrator runs. journal: its last entry's number is
            shown, for readers that catch up.
    """

    def __init__(
        self,
        path: Path,
        facts: Mapping[str, Any],
        *,
        configuration: Configuration,
        journal: EventJournal,
        measurements: Measurements,
        announcer: Announcer,
        sd_notify: SdNotify,
    ) -> None:
        self._path, self._facts, self._configuration = path, facts, configuration
        self._journal, self._measurements = journal, measurements
        self._announcer, self._sd_notify = announcer, sd_notify
        self._reliability = Reliability()
        self._began_at = monotonic()
        self._changed = True

    def mark_changed(self) -> None:
        """Write at the next `publish`."""
        self._changed = True

    def changed(self, before: State, now: State) -> None:
        """Show what differs between two states."""
        for name, slot in now.slots.items():
            old = before.slots.get(name)
            # Other fields (beats, memory) change all the time; they are shown with the next periodic snapshot.
            if old is None or old.state is not slot.state:
                self.mark_changed()
                self._announcer.slot_changed(slot, monotonic())
                self._reliability.changed(None if old is None else old.state, slot, monotonic())
        if self._announcer.check_all_up(now):
            self._sd_notify.status("everything needed is up")

    def publish(self, state: State) -> None:
        """Write the file if something has changed. A disk that refuses it is logged; the next call tries again."""
        if not self._changed:
            return
        # Before the write: a disk that refuses it is not asked again in each iteration, but at the next mark.
        self._changed = False
        try:
            snapshot.write(self._path, self.snapshot(state))
        except OSError as problem:
            log.warning("status_not_written", problem=str(problem))

    def snapshot(self, state: State) -> dict[str, Any]:
        """Return the state as JSON values."""
        settings = self._configuration.settings
        return {
            "pid": os.getpid(),
            "boot_id": boot_id(),
            "host": settings.host,
            "admin_port": self._configuration.admin_port,
            **self._facts,
            "uptime_s": round(monotonic() - self._began_at, 1),
            "memory_mb": round(self._measurements.own.memory_mb, 1),
            "journal_seq": self._journal.seq,
            "dashboard": f"http://{settings.bind_address}:{settings.port('api')}/dashboard",
            **snapshot.of_state(
                state,
                monotonic(),
                ports=self._configuration.ports,
                usage=self._measurements.of_slots,
                reliability=self._reliability,
            ),
        }
