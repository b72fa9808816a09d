"""Exports of companies: asked for as a task, downloaded when it is done."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from api.connections.tasks import task_json
from api.http.keys import act_of
from api.http.operations import Operation
from api.http.problems import Problem
from api.tenants.companies import PATH
from shared.compose.directory import Directory
from shared.media.errors import MediaUnknown
from shared.media.files import Storage
from shared.store import companies, tasks
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.tenancy.audit import Act
from shared.tenancy.known_companies import company_unknown

_ID: Final = re.compile(r"[0-9]{1,18}")
_EXPORT: Final = "export_company"
"""Operation of the task; kind `recorder` carries it out."""
_TASK_S: Final = 86400.0
"""Seconds for an export: hundreds of gigabytes at the speed of a disk."""


class ExportOperations:
    """The operations on exports."""

    def __init__(self, directory: Directory, store: Store, storage: Storage) -> None:
        self._directory, self._store, self._storage = directory, store, storage

    def operations(self) -> list[Operation]:
        """Return them."""
        return [
            Operation(
                operation_id="exportCompany",
                method="POST",
                path=f"{PATH}/export",
                scope="manage",
                group="Companies",
                summary="Export a company: everything of it but its secrets, as one archive",
                handler=self.begin,
                answers={202: ("It is being made; see `Location`. When it is done, `result.url` leads to it.", "Task")},
                headers={202: ("Location",)},
                problems=("company_unknown",),
            ),
            Operation(
                operation_id="downloadExport",
                method="GET",
                path=f"{PATH}/exports/{{exportId}}",
                scope="read",
                group="Companies",
                summary="Download an export, until it expires",
                handler=self.download,
                answers={200: ("A tar, compressed with gzip.", "application/gzip")},
                problems=("company_unknown", "export_unknown", "storage_unavailable"),
            ),
        ]

    async def begin(self, request: Request) -> Response:
        """Begin to export a company, or answer with the export that is being made."""
        company_id = await self._company(request)
        row = await self._store.as_company(company_id).call(_begin, act_of(request), company_id)
        return JSONResponse(
            task_json(row), status_code=202, headers={"Location": f"/api/v2/tasks/{company_id}/{row['id']}"}
        )

    async def download(self, request: Request) -> Response:
        """Stream an archive."""
        company_id, text = await self._company(request), request.path_params["exportId"]
        own = self._store.as_company(company_id)
        row = await own.call(_find, company_id, int(text)) if _ID.fullmatch(text) else None
        if row is None:
            raise _unknown()
        pieces = self._storage.stream(company_id, row["sha256"])
        try:
            # before the answer begins: what is not there can still be refused
            first = await anext(pieces)
        except MediaUnknown:
            raise _unknown() from None

        async def whole() -> AsyncIterator[bytes]:
            yield first
            async for piece in pieces:
                yield piece

        return StreamingResponse(
            whole(),
            media_type="application/gzip",
            headers={
                "Content-Length": str(row["size"]),
                "Content-Disposition": f'attachment; filename="{company_id}-{row["id"]}.tar.gz"',
                "Cache-Control": "no-store",
            },
        )

    async def _company(self, request: Request) -> str:
        company_id: str = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        return company_id


def _begin(transaction: Transaction, act: Act | None, company_id: str) -> Row:
    # locked: of two requests at once one begins it
    if companies.lock(transaction, company_id) is None:
        raise company_unknown()
    open_one = transaction.row("open_export", company_id=company_id, operation=_EXPORT)
    task_id = (
        open_one["id"]
        if open_one
        else tasks.add(
            transaction,
            company_id=company_id,
            operation=_EXPORT,
            kind="recorder",
            expires_in_s=_TASK_S,
            repeatable=True,
        )
    )
    if act is not None:
        act.is_settled = True
        if open_one is None:
            act.after = {"taskId": str(task_id)}
            act.write(transaction)
    row = tasks.by_id(transaction, company_id=company_id, task_id=task_id)
    if row is None:
        raise company_unknown()
    return row


def _find(transaction: Transaction, company_id: str, export_id: int) -> Row | None:
    return transaction.row("find_export", company_id=company_id, id=export_id)


def _unknown() -> Problem:
    return Problem("export_unknown", "The company has no such export.")
