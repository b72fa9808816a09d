"""Health of the installation, of companies and their connections, also while PostgreSQL or Redis is unavailable; and
the latest metrics of each kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.limits import EVENT_STREAM
from api.http.operations import Operation
from api.http.parameters import Parameter, cursor, limit, query_of
from api.http.problems import Problem
from api.operators import process_status
from api.operators.figures import summed
from api.operators.live import HealthStream
from api.operators.observer import OPEN_S, InstallationHealth, InstallationObserver, company_troubles
from shared.clock import utc_now
from shared.compose.directory import Directory
from shared.kinds import KINDS
from shared.process.service import Child
from shared.store import processes
from shared.timestamps import iso
from shared.troubles import TroubleFound, status

_MOST_TROUBLES: Final = 100
"""Troubles of one answer: a reader needs no more, and the first ones are the worst."""
_MOST_COMPANIES: Final = 100
_FRESH: Final = {"Cache-Control": "no-store"}
_FAIL_ON: Final = Parameter(
    name="failOn",
    place="query",
    purpose="From which status on the answer is 503: `down` (default) or `degraded`.",
    schema={"type": "string", "enum": ["down", "degraded"]},
    rule="down or degraded",
)
_ELSEWHERE: Final = {403: ("Asked from another machine, or through a proxy on this one.", "Problem")}
_WORDS: Final = {"down": "unhealthy"}
"""Words of `GET /api/health` that differ from ours."""


class HealthOperations:
    """The operations on processes, and the ones that every process answers itself."""

    def __init__(self, child: Child, observer: InstallationObserver, directory: Directory) -> None:
        self._child, self._observer, self._directory = child, observer, directory
        self._stream = HealthStream(self._processes, self._everything, child.stopping)

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
                {
                    200: ("It is healthy or degraded.", "ProcessHealth"),
                    503: ("It is down: it cannot do its work.", "ProcessHealth"),
                    **_ELSEWHERE,
                },
            ),
            (
                "getPrometheusMetrics",
                "/metrics",
                "Figures of this process for Prometheus",
                {200: ("Text exposition format 0.0.4.", "text/plain"), **_ELSEWHERE},
            ),
        )
        return [
            Operation(
                operation_id="getSystemHealth",
                method="GET",
                path="/health/all",
                scope="monitor",
                owner="installation",
                group="Processes",
                summary="Health of every process, the database and Redis",
                handler=self.show_all,
                parameters=(_FAIL_ON,),
                problems=("too_many_waiting",),
                answers={
                    200: (
                        "`healthy` or `degraded`: messages are accepted and sent. With `Accept: text/event-stream` a "
                        "stream of `processes`, when one changes, and of `health`, every two seconds, whatever it is.",
                        "SystemHealth",
                        EVENT_STREAM,
                    ),
                    503: ("`down`: messages cannot be accepted, or none is sent; `troubles` says why.", "SystemHealth"),
                },
            ),
            Operation(
                operation_id="getServiceHealth",
                method="GET",
                path="/api/health",
                scope="public",
                group="Processes",
                summary="Is the service healthy? For load balancers and uptime monitors",
                handler=self.show_service,
                answers={
                    200: ("`healthy` or `degraded`.", "ServiceHealth"),
                    503: ("`unhealthy`: messages cannot be accepted, or none is sent.", "ServiceHealth"),
                },
            ),
            Operation(
                operation_id="getCompanyHealth",
                method="GET",
                path="/api/v2/health/{companyId}",
                scope="monitor",
                group="Processes",
                summary="Health of a company and of each of its connections",
                handler=self.show_company,
                parameters=(
                    limit("Connections of a page.", default=100, most=200),
                    cursor(),
                ),
                answers={200: ("Its status, its troubles, and one page of its connections.", "CompanyHealth")},
                problems=("company_unknown", "query_invalid"),
            ),
            Operation(
                operation_id="getProcessMetrics",
                method="GET",
                path="/metrics/{process}",
                scope="monitor",
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

    async def show_all(self, request: Request) -> Response:
        """Answer with the health of all parts; never waits longer than the dependencies' time limits."""
        if EVENT_STREAM in request.headers.get("accept", ""):
            return self._stream.answer(request)
        seen = await self._observer.observe()
        failing = ("down", "degraded") if query_of(request)["failOn"] == "degraded" else ("down",)
        return JSONResponse(self._shown(seen), status_code=_code(seen.status in failing), headers=_FRESH)

    async def show_service(self, _: Request) -> Response:
        """Answer whether the service is healthy, without a key and so without names."""
        seen = await self._observer.observe(at_most_s=OPEN_S)
        checks = {"postgresql": seen.database.reachable, "redis": seen.redis.reachable}
        body = {
            "status": _WORDS.get(seen.status, seen.status),
            "canAccept": seen.can_accept,
            "canSend": seen.can_send,
            "checks": {name: "healthy" if works else "unhealthy" for name, works in checks.items()},
        }
        return JSONResponse(body, status_code=_code(seen.status == "down"), headers=_FRESH)

    async def show_company(self, request: Request) -> Response:
        """Answer with a company's health."""
        company_id, query = request.path_params["companyId"], query_of(request)
        await self._directory.require_company(company_id)
        after, most = int(query["cursor"] or 0), query["limit"]
        rows, troubles = await self._child.store.as_company(company_id).call(
            lambda transaction: company_troubles(transaction, company_id, after=after, most=most + 1)
        )
        shown = rows[:most]
        by_index: dict[int | None, list[TroubleFound]] = defaultdict(list)
        for one in troubles:
            by_index[one.phone_index].append(one)
        body = {
            "companyId": company_id,
            "status": status(troubles, "company"),
            "at": iso(utc_now()),
            "troubles": [trouble_json(one) for one in by_index[None]],
            "connections": [
                {
                    "phoneIndex": row["phone_index"],
                    "connectionType": row["connection_type"],
                    "status": status(by_index[row["phone_index"]], "connection"),
                    "troubles": [trouble_json(one) for one in by_index[row["phone_index"]]],
                }
                for row in shown
            ],
            "next": str(shown[-1]["id"]) if len(rows) > len(shown) else None,
        }
        return JSONResponse(body, headers=_FRESH)

    async def _everything(self, at_most_s: float) -> dict[str, Any]:
        return self._shown(await self._observer.observe(at_most_s=at_most_s))

    async def _processes(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        account, processes = await self._observer.processes()
        return processes, account.as_json()

    def _shown(self, seen: InstallationHealth) -> dict[str, Any]:
        return {
            "status": seen.status,
            "canAccept": seen.can_accept,
            "canSend": seen.can_send,
            "troubles": [trouble_json(one) for one in seen.troubles[:_MOST_TROUBLES]],
            "troublesLeftOff": max(0, len(seen.troubles) - _MOST_TROUBLES),
            "companies": _companies(seen.troubles),
            "at": iso(utc_now()),
            "answeredBy": self._child.identity.slot,
            "database": seen.database.as_json(),
            "redis": seen.redis.as_json(),
            "orchestrator": seen.account.as_json(),
            "processes": list(seen.processes),
            "sessions": None if seen.rows is None else process_status.sessions(seen.rows.sessions),
        }

    async def show_metrics(self, request: Request) -> Response:
        """Return the latest metrics of a kind."""
        # the documents' name for a kind is one of its aliases
        given = request.path_params["process"]
        name = next((kind.name for kind in KINDS if given in kind.aliases), given)
        # a kind without a connection pool cannot write metrics
        known = [kind.name for kind in KINDS if kind.pool_size]
        if name not in known:
            raise Problem("process_unknown", "There is no process kind with this name that has metrics.", known=known)
        rows = await self._child.store.call(processes.latest_metrics, name)
        instances = [
            {"host": row["host"] or None, "instance": row["instance"], "at": iso(row["at"]), "metrics": row["metrics"]}
            for row in rows
        ]
        return JSONResponse({"process": name, **summed(row["metrics"] for row in rows), "instances": instances})


def trouble_json(trouble: TroubleFound) -> Mapping[str, Any]:
    """Return a trouble as the API shows it."""
    return {
        "code": trouble.code,
        "about": trouble.about,
        "impact": trouble.impact.value,
        "sentence": trouble.sentence,
        "mend": trouble.mend,
        "sinceSeconds": None if trouble.since_s is None else round(trouble.since_s, 1),
        "process": trouble.process,
        "companyId": trouble.company_id,
        "phoneIndex": trouble.phone_index,
    }


def _companies(troubles: Sequence[TroubleFound]) -> list[Mapping[str, Any]]:
    """Return companies with troubles, those with the worst first."""
    found: dict[str, list[TroubleFound]] = defaultdict(list)
    for one in troubles:
        if one.company_id is not None:
            found[one.company_id].append(one)
    return [
        {"companyId": company_id, "status": status(ones, "company"), "troubles": len(ones)}
        for company_id, ones in list(found.items())[:_MOST_COMPANIES]
    ]


def _code(fails: bool) -> int:
    return HTTPStatus.SERVICE_UNAVAILABLE if fails else HTTPStatus.OK
