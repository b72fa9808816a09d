"""Health of the installation, also while PostgreSQL or Redis is unavailable, and the latest metrics of each kind."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.operations import Operation
from api.http.problems import Problem
from api.operators import process_status
from api.operators import status_snapshot as snapshot
from api.operators.dependencies import ANSWER_S, Dependencies
from shared.clock import monotonic, utc_now
from shared.errors import StoreUnavailable
from shared.kinds import KINDS
from shared.process import runtime
from shared.process.service import Child
from shared.store import connections, processes, sessions
from shared.store.pool import Row, Transaction
from shared.timestamps import iso


class HealthOperations:
    """The operations on processes, and the ones that every process answers itself."""

    def __init__(self, child: Child, dependencies: Dependencies) -> None:
        self._child, self._dependencies = child, dependencies
        self._status_file = runtime.status_file(child.settings.bulkhead_home)
        # the name in heartbeat rows, by which rows of this host are recognised
        self._host = socket.gethostname()

    def operations(self) -> list[Operation]:
        """Return the operations on processes."""
        own = (
            (
                "getLiveness",
                "/livez",
                "Does this process make progress?",
                {200: ("It does.", "Liveness"), 503: ("A work loop stands still.", "Liveness")},
            ),
            (
                "getReadiness",
                "/readyz",
                "May this process be given work?",
                {200: ("It may.", "Readiness"), 503: ("`missing` lists what it waits for.", "Readiness")},
            ),
            (
                "getProcessHealth",
                "/health",
                "Details of this process",
                {200: ("Facts about the process.", "ProcessHealth")},
            ),
            (
                "getPrometheusMetrics",
                "/metrics",
                "Figures of this process for Prometheus",
                {200: ("Text exposition format 0.0.4.", "text/plain")},
            ),
        )
        return [
            Operation(
                operation_id="getSystemHealth",
                method="GET",
                path="/health/all",
                scope="operate",
                owner="installation",
                group="Processes",
                summary="Health of every process, the database and Redis",
                handler=self.show_all,
                answers={
                    200: (
                        "What is known, also while PostgreSQL and Redis are away; `status` sums it up.",
                        "SystemHealth",
                    )
                },
            ),
            Operation(
                operation_id="getProcessMetrics",
                method="GET",
                path="/metrics/{process}",
                scope="operate",
                owner="installation",
                group="Processes",
                summary="Latest metrics of a process kind",
                handler=self.show_metrics,
                answers={200: ("The latest metrics of each instance.", "ProcessMetrics")},
                problems=("process_unknown",),
            ),
            *(
                Operation(
                    operation_id=operation_id,
                    method="GET",
                    path=path,
                    group="Processes",
                    summary=summary,
                    handler=None,
                    scope="public",
                    answers=answers,
                )
                for operation_id, path, summary, answers in own
            ),
        ]

    async def show_all(self, _: Request) -> Response:
        """Answer with the health of all parts; never waits longer than the dependencies' time limits."""
        return JSONResponse(await self.everything(), headers={"Cache-Control": "no-store"})

    async def everything(self) -> dict[str, Any]:
        """Return the health of the database, Redis, the orchestrator and every process."""
        # all at once: the answer takes as long as the slowest, which is bounded by `ANSWER_S`
        account, database, redis, known = await asyncio.gather(
            # a file on a disk that hangs must not stop the event loop
            asyncio.to_thread(snapshot.read, self._status_file),
            self._dependencies.ask_database(),
            self._dependencies.ask_redis(),
            self._known(),
        )
        heartbeats, desired, of_sessions = known or (None, (), None)
        listed = process_status.merge(
            account,
            heartbeats,
            desired=desired,
            settings=self._child.settings,
            host=self._host,
            answering=self._child.identity.slot,
        )
        whole = of_sessions is None or process_status.are_whole(of_sessions)
        return {
            "status": process_status.overall(
                listed, database=database.reachable, redis=redis.reachable, orchestrator=account.fresh, sessions=whole
            ),
            "at": iso(utc_now()),
            "answeredBy": self._child.identity.slot,
            "database": database.as_json(),
            "redis": redis.as_json(),
            "orchestrator": account.as_json(),
            "processes": listed,
            "sessions": None if of_sessions is None else process_status.sessions(of_sessions),
        }

    async def _known(self) -> tuple[list[Row], list[str], list[Row]] | None:
        try:
            # a little more than the store's own deadline, whose reason is the better one; this one also covers the
            # wait for a thread
            async with asyncio.timeout(ANSWER_S + 0.2):
                return await self._child.store.call_by(monotonic() + ANSWER_S, _processes)
        except (StoreUnavailable, TimeoutError):
            # unknown instead of an error: health is needed most while the database is unavailable
            return None

    async def show_metrics(self, request: Request) -> Response:
        """Return the latest metrics of a kind."""
        name = request.path_params["process"]
        # a kind without a connection pool cannot write metrics
        known = [kind.name for kind in KINDS if kind.pool_size]
        if name not in known:
            raise Problem("process_unknown", "There is no process kind with this name that has metrics.", known=known)
        rows = await self._child.store.call(processes.latest_metrics, name)
        instances = [{"instance": row["instance"], "at": iso(row["at"]), "metrics": row["metrics"]} for row in rows]
        return JSONResponse({"process": name, "instances": instances})


def _processes(transaction: Transaction) -> tuple[list[Row], list[str], list[Row]]:
    return processes.statuses(transaction), connections.desired_kinds(transaction), sessions.states(transaction)
