"""Observes the installation for health: what the database, Redis, the orchestrator and the disk say, at one instant."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from api.operators import process_status
from api.operators import status_snapshot as snapshot
from api.operators.dependencies import ANSWER_S, Dependencies, DependencyCheck
from api.operators.status_snapshot import Snapshot
from shared.channels.worlds import worlds
from shared.clock import Monotonic, monotonic
from shared.errors import StoreUnavailable
from shared.observations import (
    CompanySeen,
    ConnectionSeen,
    HookSeen,
    InboundSeen,
    Observations,
    ProcessSeen,
    TroubleReported,
    find,
)
from shared.process import runtime
from shared.process.service import Child
from shared.store import connections, processes, sessions
from shared.store.pool import Row, Transaction
from shared.tenancy.company_settings import usual_minutes
from shared.troubles import KINDS_OF_TROUBLE, TroubleFound, status

OPEN_S: Final = 1.0
"""Seconds for which one observation answers requests without a key: however many come, they cost the database the
same."""
_MOST: Final = 500
"""Rows of each list that one observation reads: enough to see that something is wrong, and where to look."""


@dataclass(frozen=True, kw_only=True)
class HealthRows:
    """What the database said; read in one transaction."""

    heartbeats: Sequence[Row]
    desired: Sequence[str]
    sessions: Sequence[Row]
    connections: Sequence[Row]
    companies: Sequence[Row]
    hooks: Sequence[Row]
    inbound: Sequence[Row]
    types: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class InstallationHealth:
    """One observation and what was found in it.

    Attributes:
        database, redis: their checks. account: the orchestrator's. processes: entries of `process_status.merge`.
        rows: None while the database does not answer. troubles: the worst first.
    """

    database: DependencyCheck
    redis: DependencyCheck
    account: Snapshot
    processes: Sequence[Mapping[str, Any]]
    rows: HealthRows | None
    troubles: Sequence[TroubleFound]

    @property
    def status(self) -> str:
        """`healthy`, `degraded` or `down`."""
        return status(self.troubles, "service")

    @property
    def can_accept(self) -> bool:
        """Whether a message that is sent to the API now is accepted."""
        return self.database.reachable

    @property
    def can_send(self) -> bool:
        """Whether some process is ready to send what is accepted."""
        return self.can_accept and all(one.code != "no_sender" for one in self.troubles)


class InstallationObserver:
    """Observes when it is asked; requests that come meanwhile share one observation."""

    def __init__(self, child: Child, dependencies: Dependencies, clock: Monotonic = monotonic) -> None:
        self._child, self._dependencies, self._clock = child, dependencies, clock
        self._status_file = runtime.status_file(child.settings.bulkhead_home)
        # the name in heartbeat rows, by which rows of this host are recognised
        self._host = child.settings.host
        self._worlds = worlds(child.settings)
        self._senders = tuple(row.name for row in child.settings.kinds if row.in_flight)
        self._last: InstallationHealth | None = None
        self._at = 0.0
        self._running: asyncio.Task[InstallationHealth] | None = None

    async def observe(self, *, at_most_s: float = 0.0) -> InstallationHealth:
        """Return the health of all parts, at most `at_most_s` seconds old; never waits longer than the dependencies'
        time limits.
        """
        if self._last is not None and self._clock() - self._at < at_most_s:
            return self._last
        if self._running is None:
            self._running = asyncio.ensure_future(self._observe())
            self._running.add_done_callback(self._observed)
        # shielded: a client that leaves must not take the observation from the others
        return await asyncio.shield(self._running)

    def _observed(self, task: asyncio.Task[InstallationHealth]) -> None:
        self._running = None
        if not task.cancelled() and task.exception() is None:
            self._last, self._at = task.result(), self._clock()

    async def _observe(self) -> InstallationHealth:
        # all at once: the answer takes as long as the slowest, which is bounded by `ANSWER_S`
        account, free_mb, database, redis, rows = await asyncio.gather(
            # files on a disk that hangs must not stop the event loop
            asyncio.to_thread(snapshot.read, self._status_file),
            asyncio.to_thread(_free_mb, self._child.settings.bulkhead_home),
            self._dependencies.ask_database(),
            self._dependencies.ask_redis(),
            self._rows(),
        )
        listed = self._merged(account, rows)
        seen = Observations(
            database="" if database.reachable else database.reason,
            redis="" if redis.reachable else redis.reason,
            # a process that no orchestrator has started is kept running by something else
            orchestrator=account.fresh or not self._child.identity.notify_socket,
            processes=[_process(entry, self._host) for entry in listed],
            reported=_reported(rows.heartbeats, self._host) if rows else (),
            senders=[kind for kind in self._senders if rows and kind in rows.desired],
            connections=[_connection(row) for row in rows.connections] if rows else (),
            companies=companies_seen(rows.companies) if rows else (),
            hooks=hooks_seen(rows.hooks) if rows else (),
            inbound=[_inbound(row) for row in rows.inbound] if rows else (),
            free_mb=free_mb,
            sandbox_types=[name for name in rows.types if self._worlds.get(name) == "sandbox"] if rows else (),
        )
        return InstallationHealth(
            database=database, redis=redis, account=account, processes=listed, rows=rows, troubles=find(seen)
        )

    async def processes(self) -> tuple[Snapshot, list[dict[str, Any]]]:
        """Return what the orchestrator says now, and every process, with heartbeats of the last observation. Asks
        neither PostgreSQL nor Redis.
        """
        account = await asyncio.to_thread(snapshot.read, self._status_file)
        return account, self._merged(account, self._last.rows if self._last else None)

    def _merged(self, account: Snapshot, rows: HealthRows | None) -> list[dict[str, Any]]:
        return process_status.merge(
            account,
            rows.heartbeats if rows else None,
            desired=rows.desired if rows else (),
            settings=self._child.settings,
            host=self._host,
            answering=self._child.identity.slot,
        )

    async def _rows(self) -> HealthRows | None:
        try:
            # a little more than the store's own deadline, whose reason is the better one; this one also covers the
            # wait for a thread
            async with asyncio.timeout(ANSWER_S + 0.2):
                return await self._child.store.call_by(monotonic() + ANSWER_S, self._read)
        except (StoreUnavailable, TimeoutError):
            # unknown instead of an error: health is needed most while the database is unavailable
            return None

    def _read(self, transaction: Transaction) -> HealthRows:
        return HealthRows(
            heartbeats=processes.statuses(transaction),
            desired=connections.desired_kinds(transaction),
            sessions=sessions.states(transaction),
            connections=transaction.rows("unwell_connections", company_id=None, after=0, whole=False, most=_MOST),
            companies=_companies(transaction),
            hooks=transaction.rows("unwell_hooks", company_id=None, most=_MOST),
            inbound=transaction.rows("unwell_inbound", kinds=list(self._senders)),
            types=[row["connection_type"] for row in transaction.rows("connection_types_in_use")],
        )


def company_troubles(
    transaction: Transaction, company_id: str, *, after: int, most: int
) -> tuple[list[Row], list[TroubleFound]]:
    """Return a page of a company's connections, at most `most` beyond the id `after`, and every trouble of them, of
    its webhooks, its documents, and of the customers who wait.
    """
    rows = transaction.rows("unwell_connections", company_id=company_id, after=after, whole=True, most=most)
    hooks = transaction.rows("unwell_hooks", company_id=company_id, most=_MOST)
    seen = Observations(
        connections=[_connection(row) for row in rows],
        hooks=hooks_seen(hooks),
        companies=companies_seen(_companies(transaction, company_id)),
    )
    return rows, find(seen)


def _companies(transaction: Transaction, company_id: str | None = None) -> list[Row]:
    return transaction.rows(
        "unwell_companies",
        company_id=company_id,
        limit_minutes=usual_minutes("waitingLimitMinutes"),
        most=_MOST,
    )


def companies_seen(rows: Iterable[Row]) -> list[CompanySeen]:
    """Return companies as observations."""
    return [
        CompanySeen(
            company_id=row["company_id"],
            state=row["state"],
            waiting=row["waiting"],
            waiting_s=row["waiting_s"],
            documents=row["documents"],
            documents_s=row["documents_s"],
            documents_failed=row["documents_failed"],
        )
        for row in rows
    ]


def hooks_seen(rows: Iterable[Row]) -> list[HookSeen]:
    """Return subscribers as observations."""
    return [
        HookSeen(
            hook_id=row["id"],
            company_id=row["company_id"] or "",
            state=row["state"],
            reason=row["state_reason"],
            failing_s=row["failing_s"],
        )
        for row in rows
    ]


def _process(entry: Mapping[str, Any], here: str) -> ProcessSeen:
    return ProcessSeen(
        kind=entry["process"],
        instance=entry["instance"],
        host="" if entry["host"] in (here, None) else entry["host"],
        status=entry["status"],
        state=entry["state"] or "",
        reason=entry["reason"] or "",
        silent_s=entry["silentSeconds"],
        since_s=entry["stateSeconds"],
        memory_mb=entry["memoryMb"],
        limit_mb=entry["memoryLimitMb"] or 0.0,
    )


def _reported(heartbeats: Iterable[Row], here: str) -> list[TroubleReported]:
    """Return what processes say of themselves; what one said that is silent is not known to be so any more."""
    return [
        TroubleReported(
            slot=f"{row['process_name']}-{row['instance']}" + (f"@{row['host']}" if row["host"] != here else ""),
            code=code,
            values=values,
        )
        for row in heartbeats
        if row["status"] == "healthy"
        for code, values in row["detail"].get("troubles", {}).items()
        # a process of a later version may know others
        if code in KINDS_OF_TROUBLE and KINDS_OF_TROUBLE[code].names <= {"slot", *values}
    ]


def _connection(row: Row) -> ConnectionSeen:
    return ConnectionSeen(
        company_id=row["company_id"],
        phone_index=row["phone_index"],
        kind=row["process_name"],
        is_paused=row["is_paused"],
        reason=row["status_reason"],
        # only of sessions a state is desired
        desired=row["desired_state"] if row["process_name"] == "webdriver" else "",
        observed=row["observed"],
        detail=row["detail"],
        account=row["account"],
        warning=row["warning"],
        due=row["due"],
        oldest_due_s=row["oldest_due_s"],
        held=row["held"],
        dead=row["dead"],
        since_s=row["since_s"],
    )


def _inbound(row: Row) -> InboundSeen:
    return InboundSeen(kind=row["kind"], waiting=row["waiting"], oldest_s=row["oldest_s"], failed=row["failed"])


def _free_mb(home: Path) -> float | None:
    try:
        found = os.statvfs(home)
    except OSError:
        # an API without a home of its own (another host): nothing is known about a disk
        return None
    return found.f_bavail * found.f_frsize / 1e6
