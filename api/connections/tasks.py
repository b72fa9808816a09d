"""Tasks for other processes: the client waits briefly for the result, or polls later."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.keys import principal_of
from api.http.operations import Operation
from api.http.problems import Problem
from api.messages.waiting import read_wait_s
from shared.clock import left, monotonic
from shared.compose.directory import Directory, require_possible
from shared.store import tasks
from shared.store.pool import Row
from shared.store.store import Store
from shared.timestamps import iso

WAIT_S: Final = 10
"""Default wait of a request in seconds (`Prefer: wait=N` overrides it; `Prefer: respond-async` does not wait)."""
_LOOK_S: Final = 0.1
"""Polling interval for a task in seconds: short against the task, which makes at least one request to a provider."""
# 18 digits fit PostgreSQL's bigint
_TASK_ID: Final = re.compile(r"[0-9]{1,18}")
_PROBLEM_OF: Final[Mapping[str, str]] = {
    "invalid": "task_invalid",
    "conflict": "task_conflict",
    "refused": "provider_refused",
    "unreachable": "provider_unreachable",
    "unclear": "provider_unreachable",
    "interrupted": "task_interrupted",
    "expired": "task_expired",
    "internal": "task_failed",
}
"""Type of the problem for each way in which a task fails."""

TASK_PROBLEMS: Final = tuple(dict.fromkeys(_PROBLEM_OF.values()))
"""Problems of an operation that starts a task."""


class TaskOperations:
    """Waits for tasks and shows them.

    Args:
        stopping: set when the process drains; all waits end then.
    """

    def __init__(self, directory: Directory, store: Store, stopping: asyncio.Event) -> None:
        self._directory, self._store, self._stopping = directory, store, stopping

    def operations(self) -> list[Operation]:
        """Return the operations on tasks."""
        return [
            Operation(
                operation_id="getTask",
                method="GET",
                path="/api/v2/tasks/{companyId}/{taskId}",
                scope="read",
                group="Tasks",
                summary="A task and, when done, its result",
                handler=self.show,
                answers={200: ("The task; `status` is queued, running, done or failed.", "Task")},
                problems=("company_unknown", "task_unknown"),
            )
        ]

    async def show(self, request: Request) -> Response:
        """Answer with one task."""
        company_id, text = request.path_params["companyId"], request.path_params["taskId"]
        require_possible(company_id)
        principal = principal_of(request)
        row = (
            await self._store.as_company_or_all(principal.company_id).call(
                tasks.by_id,
                company_id=company_id,
                task_id=int(text),
                # it may be about a company that is gone, and then belongs to the installation
                installations=principal.is_admin,
            )
            if _TASK_ID.fullmatch(text)
            else None
        )
        if row is None:
            await self._directory.require_company(company_id)
            raise Problem("task_unknown", "The company has no such task.")
        return JSONResponse(task_json(row))

    async def answer(self, request: Request, company_id: str, task_id: int) -> Response:
        """Wait for a task that was just added, for as long as the client requests, and answer: 200 with its result, or
        202 when it is not finished.

        Raises:
            Problem: it failed.
        """
        # RFC 7240: the header may occur several times, each with several preferences
        preferences = [one.strip().lower() for value in request.headers.getlist("prefer") for one in value.split(",")]
        row = await self.ended(
            company_id,
            task_id,
            # `wait` with `respond-async` means: wait that long, then answer 202 (RFC 7240 4.3)
            read_wait_s(request.headers) or (0 if "respond-async" in preferences else WAIT_S),
        )
        location = {"Location": f"/api/v2/tasks/{company_id}/{task_id}"}
        return JSONResponse(task_json(row), status_code=200 if row["state"] == "done" else 202, headers=location)

    async def ended(self, company_id: str, task_id: int, wait_s: float) -> Row:
        """Return a task when it has ended, or as it is after `wait_s` seconds.

        Raises:
            Problem: it failed.
        """
        row = await self._until_ended(company_id, task_id, wait_s)
        if row["state"] == "failed":
            raise Problem(
                # a code that is not in the table comes from a newer version, while the processes are replaced
                _PROBLEM_OF.get(row["problem_code"], "task_failed"),
                _sentence(row["problem"]),
                taskId=str(task_id),
                **(row["result"] or {}),
            )
        return row

    async def _until_ended(self, company_id: str, task_id: int, wait_s: float) -> Row:
        by = monotonic() + wait_s
        while True:
            # polled first, and once more after the deadline, so that no result is missed
            row = await self._store.as_company(company_id).call(tasks.by_id, company_id=company_id, task_id=task_id)
            if row is None:
                raise Problem("task_unknown", "The task was removed while it was waited for.")
            if row["state"] in ("done", "failed") or self._stopping.is_set() or not left(by):
                return row
            try:
                # a sleep that ends with the process: a drain must not wait for clients
                await asyncio.wait_for(self._stopping.wait(), min(_LOOK_S, left(by)))
            except TimeoutError:
                continue


def _sentence(words: str) -> str:
    words = words.strip() or "No reason was given"
    return words[0].upper() + words[1:] + ("" if words.endswith(".") else ".")


def task_json(row: Row) -> Mapping[str, Any]:
    """Return a task as clients see it."""
    failed = row["state"] == "failed"
    return {
        "id": str(row["id"]),
        "operation": row["operation"],
        "status": row["state"],
        "result": row["result"],
        "progress": row["progress"],
        "problem": {"code": row["problem_code"], "detail": row["problem"]} if failed else None,
        "createdAt": iso(row["created_at"]),
        "expiresAt": iso(row["expires_at"]),
        "finishedAt": iso(row["finished_at"]),
    }
