"""The heartbeat row: proof of progress for operators and other hosts, written from the event loop. Never used for
liveness on this host."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from shared.clock import monotonic
from shared.errors import Fenced, StoreUnavailable
from shared.logs import logger
from shared.process.lease import BEATS, Lease
from shared.process.metrics import Metrics
from shared.process.tree_memory import tree_mb
from shared.settings import ChildEnvironment
from shared.store import processes
from shared.store.store import Store
from shared.troubles import made

log = logger(__name__)

_AGAIN_S: Final = 1.0
"""Longest wait in seconds after a beat that was not written: without its lease, the process sends nothing."""
_SEND_GRACE_S: Final = 3.0
"""Seconds beyond the longest send that a lease lasts: a channel that misses its own deadline is cancelled within them
(`CANCEL_S` in `shared.delivery.sender`)."""


class Heartbeat:
    """Writes the row of one slot, and counts the errors that it reports.

    Args:
        host: where the process lives. interval_s: seconds between beats. send_s: the kind's longest send.
        status: called at each beat: the process's state in one word.

    Attributes:
        home_id, shared_facts: see `HeartbeatRow`; set before the first beat.
        lease: until when this process may send; each beat renews it. errors: uncaught ones that were survived.
        troubles: what is wrong by this process's own account (see `report`), by code of `shared.troubles`.
        memory_mb: of the process and its children at the last beat; 0: not measured yet.
    """

    def __init__(
        self,
        store: Store,
        identity: ChildEnvironment,
        metrics: Metrics,
        *,
        host: str,
        interval_s: float,
        send_s: float = 0.0,
        status: Callable[[], str],
    ) -> None:
        self._store, self._identity, self._metrics = store, identity, metrics
        self._interval_s, self._status = interval_s, status
        self._started_at = monotonic()
        self._host = host
        self.home_id = ""
        self.shared_facts: Mapping[str, str] = {}
        self.lease = Lease(BEATS * interval_s + (send_s + _SEND_GRACE_S if send_s else 0.0))
        self.troubles: dict[str, Mapping[str, Any]] = {}
        self._new_errors = 0
        self._last_error = ""
        self._errors = metrics.counter("process_errors", "Unexpected errors of the process and its requests.")
        self.memory_mb = 0.0

    @property
    def uptime_s(self) -> float:
        """Seconds since this process started."""
        return monotonic() - self._started_at

    @property
    def errors(self) -> int:
        """Errors since this process started."""
        return int(self._errors.labels().value)

    def count_error(self, error: BaseException) -> None:
        """Add an error to the next beat; only its class is kept, since its text may hold private data."""
        self._errors.inc()
        self._new_errors += 1
        self._last_error = type(error).__name__

    def report(self, code: str, **values: Any) -> None:
        """Report a trouble of this process from the next beat on, until it is cleared.

        Args:
            code: a row of `shared.troubles` about processes. values: what fills its sentence, beside the slot.
        Raises:
            KeyError: there is no such row, or a value is missing.
        """
        # here and not by its reader, which may be of another version
        made(code, slot="", **values)
        self.troubles[code] = values

    def clear(self, code: str) -> None:
        """Report a trouble no longer."""
        self.troubles.pop(code, None)

    async def beat_once(self) -> None:
        """Write the row now, and renew the lease by it.

        Raises:
            StoreUnavailable: the errors counted so far are kept for the next beat.
            Fenced: another host has reclaimed what this life had in hand.
        """
        # Read before the write: errors that occur during it belong to the next beat.
        new_errors = self._new_errors
        # in a thread: a browser's processes cost the kernel milliseconds each
        self.memory_mb = await asyncio.to_thread(tree_mb)
        # before the statement is sent: what this process counts from must be earlier than what the database does
        asked = self.lease.asking()
        written = await self._store.call(
            processes.write_heartbeat,
            processes.HeartbeatRow(
                kind=self._identity.process_name,
                instance=self._identity.process_instance,
                status=self._status(),
                uptime_s=self.uptime_s,
                memory_mb=self.memory_mb,
                connections=self._store.stats.in_use + self._store.stats.idle,
                pid=os.getpid(),
                host=self._host,
                incarnation=self._identity.process_incarnation,
                lease_s=self.lease.for_s,
                home_id=self.home_id,
                shared_facts=self.shared_facts,
                detail={
                    "connectionsMost": self._store.stats.limit,
                    **({"troubles": dict(self.troubles)} if self.troubles else {}),
                },
                new_errors=new_errors,
                last_error=self._last_error,
                metrics=self._metrics.snapshot(),
            ),
        )
        if not written:
            raise Fenced(
                "its lease had run out, and another host has reclaimed what it had in hand or has taken its name"
            )
        self.lease.renewed(asked)
        self._new_errors -= new_errors

    async def run(self) -> None:
        """Beat for ever; a database that is away is noted once and does not disturb the process. Raises `Fenced`."""
        away = False
        while True:
            try:
                await self.beat_once()
                away = False
            # The row is information for operators. Liveness is proved by WATCHDOG, so the process goes on.
            except StoreUnavailable as error:
                if not away:
                    log.warning("heartbeat_not_written", reason=str(error))
                away = True
            # Idle connections beyond what is needed are closed at this pace, whether or not the beat was written.
            self._store.prune()
            await asyncio.sleep(min(_AGAIN_S, self._interval_s) if away else self._interval_s)
