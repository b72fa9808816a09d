"""Whether a child may take work, as the orchestrator and health pages see it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any, Final

from shared.errors import StoreUnavailable
from shared.logs import logger, scrub
from shared.process.service import Child, Service
from shared.process.tree_memory import resident_mb
from shared.store.store import ping

log = logger(__name__)

_SAID_MOST: Final = 300
"""Characters of a reason in the table of slots: two lines of a terminal and a half."""
_INTERVAL_S: Final = 1.0
"""Seconds between two probes of the database: an outage shows within a second, and the probes cost it nothing to speak
of."""


def _said(missing: Mapping[str, str]) -> str:
    """Return what is missing and why as one line for `bulkhead status`; empty: nothing is."""
    # a driver's error may quote an address with its password, and has several lines
    text = scrub("; ".join(f"{name}: {why}" for name, why in missing.items()))
    return " ".join(text.split())[:_SAID_MOST]


class Readiness:
    """The readiness of one process: of its start, its database and its service.

    Attributes:
        service: set when it is opened. started: whether it has become ready once.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self._database = "not tried yet"
        self.service: Service | None = None
        self.started = False

    async def watch(self) -> None:
        """Probe the database, and report each change to the orchestrator."""
        reported: str | None = None
        while True:
            try:
                await self._child.store.call(ping)
                self._database = ""
            # This is the finding, not a failure: an unready process waits for its database and is never restarted for
            # it.
            except StoreUnavailable as error:
                self._database = str(error)
            missing = self.missing()
            # Only changes are reported; `Supervised` repeats the present state with each beat. A reason that changes is
            # one: the operator has mended the first.
            if reported != (said := _said(missing)):
                reported = said
                self._report(missing, said)
            await asyncio.sleep(_INTERVAL_S)

    @property
    def is_database_up(self) -> bool:
        """Whether the last probe of the database succeeded."""
        return not self._database

    def _report(self, missing: Mapping[str, str], said: str) -> None:
        if missing:
            self._child.supervised.unready(said)
            log.warning("readiness_lost", missing=dict(missing))
        else:
            self._child.supervised.ready("ready")
            log.info("readiness_gained")

    def missing(self) -> Mapping[str, str]:
        """Return what is missing, by name; empty means ready."""
        if self.service is None or not self.started:
            return {"process": "starting"}
        if self._child.stopping.is_set():
            return {"process": "draining"}
        # A kind without a pool has no database to miss.
        database = {"database": self._database} if self._child.kind.pool_size and self._database else {}
        return {**database, **self.service.readiness()}

    def state(self) -> str:
        """Return the process's state in one word: `starting`, `ready`, `unready` or `draining`."""
        if not self.started:
            return "starting"
        return "draining" if self._child.stopping.is_set() else "unready" if self.missing() else "ready"

    def health(self) -> dict[str, Any]:
        """Return the facts for `GET /health`."""
        child, identity = self._child, self._child.identity
        missing, stale, stats, state = self.missing(), child.beats.stale(), child.store.stats, self.state()
        database = {"reachable": not self._database, "inUse": stats.in_use, "idle": stats.idle, "limit": stats.limit}
        return {
            "process": child.kind.name,
            "instance": identity.process_instance,
            "incarnation": identity.process_incarnation,
            # one that starts or drains has not failed
            "status": "down" if stale or state == "unready" else "healthy" if state == "ready" else "degraded",
            "state": state,
            "missing": missing,
            "stalled": stale,
            "pid": os.getpid(),
            "uptimeSeconds": round(child.heartbeat.uptime_s, 3),
            "memoryMb": round(child.heartbeat.memory_mb or resident_mb(), 1),
            "errorCount": child.heartbeat.errors,
            **({"database": database} if child.kind.pool_size else {}),
            **(self.service.health() if self.service is not None else {}),
        }
