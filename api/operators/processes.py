"""Processes of this host, as an operator acts on them: restart, drain, the end of a log, the history of each slot."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.keys import act_of
from api.http.operations import Operation
from api.http.parameters import Parameter, limit, query_of
from api.http.problems import Problem
from api.http.shapes import choice
from api.operators.orchestrator import ask_orchestrator
from api.operators.slot_history import NAMES_OF_FIGURES, STATES, Span, history
from shared.clock import utc_now
from shared.process.control_client import OrchestratorRefused
from shared.process.service import Child
from shared.settings import Settings
from shared.store import processes
from shared.store.pool import Row, Transaction
from shared.timestamps import iso

_PATH: Final = "/api/v2/processes/{process}"
_FRESH: Final = {"Cache-Control": "no-store"}
_LINES_MOST: Final = 1000
_LOG_BYTES: Final = 256 * 1024
"""Bytes read from the end of a log: more lines than a person reads, and a bounded part of the process."""
_EVENTS_MOST: Final = 2000
"""Events of processes in one answer: a slot that restarts all day makes a thousand."""
_STREAMS: Final = ("err", "out")
_SPANS: Final = {
    "hour": Span(steps=60, step=timedelta(minutes=1)),
    "day": Span(steps=96, step=timedelta(minutes=15)),
}
_ORCHESTRATOR: Final = "orchestrator"


class ProcessOperations:
    """The operations on processes."""

    def __init__(self, child: Child) -> None:
        self._settings, self._store = child.settings, child.store
        self._home = child.settings.bulkhead_home
        self._slots = slots_of(child.settings)

    def operations(self) -> list[Operation]:
        """Return them."""
        asked = {202: ("The orchestrator does it; follow `GET /health/all`.", "ProcessesAsked")}
        problems = ("process_unknown", "orchestrator_unavailable")
        return [
            Operation(
                operation_id="restartProcess",
                method="POST",
                path=f"{_PATH}/restart",
                scope="operate",
                owner="installation",
                group="Processes",
                summary="Replace the processes of a kind one at a time, or one process; ends a drain and a quarantine",
                handler=self.restart,
                answers=asked,
                problems=problems,
            ),
            Operation(
                operation_id="drainProcess",
                method="POST",
                path=f"{_PATH}/drain",
                scope="operate",
                owner="installation",
                group="Processes",
                summary="Let a kind or one process finish its work and stay stopped until it is restarted",
                handler=self.drain,
                answers=asked,
                problems=problems,
            ),
            Operation(
                operation_id="getProcessLog",
                method="GET",
                path=f"{_PATH}/log",
                scope="operate",
                owner="installation",
                group="Processes",
                summary="The last lines of a process's log on this host",
                handler=self.show_log,
                parameters=(
                    limit("Lines at most, the newest.", default=200, most=_LINES_MOST),
                    Parameter(
                        name="stream",
                        place="query",
                        purpose="`err` (default): warnings, errors, tracebacks; `out`: everything else.",
                        schema=choice("LogStream", *_STREAMS),
                    ),
                ),
                answers={200: ("Oldest first; none when nothing was written yet.", "ProcessLog")},
                problems=("process_unknown", "query_invalid"),
            ),
            Operation(
                operation_id="getProcessHistory",
                method="GET",
                path="/api/v2/processes/history",
                scope="monitor",
                owner="installation",
                group="Processes",
                summary="States, memory and figures of this host's processes over the last hour or day",
                handler=self.show_history,
                parameters=(
                    Parameter(
                        name="span",
                        place="query",
                        purpose="`hour` (default, a point each minute) or `day` (each 15 minutes).",
                        schema=choice("HistorySpan", *_SPANS),
                    ),
                ),
                answers={200: ("Points are null where nothing was written.", "ProcessHistory")},
                problems=("query_invalid",),
            ),
        ]

    async def restart(self, request: Request) -> Response:
        """Ask the orchestrator to replace processes."""
        return await self._ask(request, "restart")

    async def drain(self, request: Request) -> Response:
        """Ask the orchestrator to drain processes."""
        return await self._ask(request, "drain")

    async def _ask(self, request: Request, command: str) -> Response:
        target = request.path_params["process"]
        self._require_known(target, self._slots)
        asked = {"command": command, "target": target}
        try:
            answer = await ask_orchestrator(self._home, asked)
        except OrchestratorRefused as error:
            # a kind of the registry that this installation does not run (ONLY)
            raise Problem("process_unknown", "This installation runs no such process.", known=self._known()) from error
        if (act := act_of(request)) is not None:
            act.after = {"slots": sorted(answer["slots"])}
        return JSONResponse({"slots": answer["slots"]}, status_code=202)

    async def show_log(self, request: Request) -> Response:
        """Answer with the end of a log."""
        slot, query = request.path_params["process"], query_of(request)
        names = {name for slots in self._slots.values() for name in slots} | {_ORCHESTRATOR}
        if slot not in names:
            raise Problem("process_unknown", "There is no process with this name.", known=sorted(names))
        stream = query["stream"] or "err"
        path = self._settings.path("logs") / f"{slot}.{stream}.log"
        lines = await asyncio.to_thread(last_lines, path, query["limit"])
        return JSONResponse({"process": slot, "stream": stream, "lines": lines}, headers=_FRESH)

    async def show_history(self, request: Request) -> Response:
        """Answer with the history of each slot."""
        span = _SPANS[query_of(request)["span"] or "hour"]
        until = utc_now()
        since = until - span.length
        events, points = await self._store.call(_read, host=self._settings.host, span=span, since=since)
        body = {
            "since": iso(since),
            "until": iso(until),
            "stepSeconds": int(span.step.total_seconds()),
            **history(events, points, span, since=since, until=until),
        }
        return JSONResponse(body, headers=_FRESH)

    def _require_known(self, target: str, slots: Mapping[str, list[str]]) -> None:
        if target not in slots and not any(target in names for names in slots.values()):
            raise Problem("process_unknown", "There is no process or kind with this name.", known=self._known())

    def _known(self) -> list[str]:
        return list(self._slots)


def slots_of(settings: Settings) -> dict[str, list[str]]:
    """Return the names of the slots of each kind that this installation may run."""
    return {row.name: [f"{row.name}-{number}" for number in range(row.instances)] for row in settings.kinds}


def last_lines(path: Path, most: int) -> list[str]:
    """Return at most `most` lines from the end of a file; none when it does not exist."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_BYTES))
            text = file.read(_LOG_BYTES)
    except FileNotFoundError:
        return []
    lines = text.decode(errors="replace").splitlines()
    # the first one is cut unless the whole file was read
    whole = lines if size <= _LOG_BYTES else lines[1:]
    # control characters, such as colours of a traceback, mean nothing to a reader of JSON
    return [_CONTROL.sub("", line) for line in whole[-most:]]


_CONTROL: Final = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f]")


def _read(transaction: Transaction, *, host: str, span: Span, since: Any) -> tuple[list[Row], list[Row]]:
    events = processes.slot_events(transaction, host=host, since=since, types=list(STATES), most=_EVENTS_MOST)
    # one span more: counters are shown by what they grew
    points = processes.metric_points(
        transaction,
        host=host,
        since=since - span.step,
        steps=span.steps + 1,
        step_s=span.step.total_seconds(),
        names=NAMES_OF_FIGURES,
    )
    return events, points
