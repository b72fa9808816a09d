"""Import and export of contacts as CSV or vCard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.connections.tasks import TASK_PROBLEMS, TaskOperations
from api.http.keys import act_of
from api.http.operations import Operation
from api.http.parameters import Parameter, query_of
from api.http.problems import Problem
from api.http.shapes import choice
from api.reading.contacts import LONGEST_PAGE, shown
from shared import contact_files
from shared.compose.contact_entries import FILE_BYTES, FORMATS, IMPORT, read_entries
from shared.compose.directory import Directory
from shared.contact_files import FileUnreadable
from shared.process.request_body import read_body
from shared.store import companies, contacts, tasks
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.tenancy.audit import Act
from shared.tenancy.known_companies import company_unknown

_PATH: Final = "/api/v2/contact-files/{companyId}"
_TYPES: Final = {"csv": "text/csv; charset=utf-8", "vcard": "text/vcard; charset=utf-8"}
_ENDS: Final = {"csv": "csv", "vcard": "vcf"}
_BODY_S: Final = 60.0
_TASK_S: Final = 6 * 3600.0
"""Seconds for an import: minutes, after those of other companies."""
_READ_AT_ONCE: Final = 2
"""Files of which a part is read at the same time: each takes a thread, and most of a core."""
_FORMAT: Final = Parameter(
    name="format",
    place="query",
    purpose="Form of the file.",
    schema={**choice("ContactFileFormat", *FORMATS), "default": "csv"},
)


class ContactTransferOperations:
    """The operations on files of contacts."""

    def __init__(self, directory: Directory, store: Store, tasks: TaskOperations) -> None:
        self._directory, self._store, self._tasks = directory, store, tasks
        self._places = asyncio.Semaphore(_READ_AT_ONCE)

    def operations(self) -> list[Operation]:
        """Return them."""
        return [
            Operation(
                operation_id="exportContacts",
                method="GET",
                path=_PATH,
                scope="read",
                group="Contacts",
                summary="All contacts as a file",
                handler=self.export,
                parameters=(_FORMAT,),
                answers={200: ("The file.", "text/csv", "text/vcard")},
                headers={200: ("Content-Disposition",)},
                problems=("company_unknown", "query_invalid"),
            ),
            Operation(
                operation_id="importContacts",
                method="POST",
                path=_PATH,
                scope="manage",
                group="Contacts",
                summary="Add and change contacts by a file, which is the body",
                handler=self.take_in,
                act="contacts.import",
                raw=True,
                parameters=(_FORMAT,),
                answers={
                    200: (
                        "What was done, as `result`; lines with an error are left out, all others are taken.",
                        "Task",
                    ),
                    202: ("It is being done; see `Location`.", "Task"),
                },
                headers={200: ("Location",), 202: ("Location",)},
                problems=(
                    "company_unknown",
                    "query_invalid",
                    "contact_file_invalid",
                    "contact_import_open",
                    "body_late",
                    "body_too_large",
                    *TASK_PROBLEMS,
                ),
            ),
        ]

    async def export(self, request: Request) -> Response:
        """Answer with all contacts, page by page."""
        company_id, form = request.path_params["companyId"], query_of(request)["format"]
        await self._directory.require_company(company_id)
        return StreamingResponse(
            self._pages(company_id, form),
            media_type=_TYPES[form],
            headers={"Content-Disposition": f'attachment; filename="contacts.{_ENDS[form]}"'},
        )

    async def _pages(self, company_id: str, form: str) -> AsyncIterator[bytes]:
        own, after, begins = self._store.as_company(company_id), 0, True
        while True:
            # one page in memory: the server requests the next when this one is written
            ids = await own.call(contacts.page, company_id, after=after, most=LONGEST_PAGE)
            # without an id there is nothing that could be written to, or imported
            people = [shown(one) for one in await own.call(contacts.by_ids, company_id, ids) if one.aliases]
            if form == "csv":
                yield contact_files.write_csv(people, header=begins)
            elif people:
                yield contact_files.write_vcards(people)
            if len(ids) < LONGEST_PAGE:
                return
            after, begins = ids[-1], False

    async def take_in(self, request: Request) -> Response:
        """Keep a file of contacts and begin to import it."""
        company_id, form = request.path_params["companyId"], query_of(request)["format"]
        await self._directory.require_company(company_id)
        content = await read_body(request, limit=FILE_BYTES, wait_s=_BODY_S, owner=company_id)
        try:
            # in a thread: a file may be one contact
            async with self._places:
                await asyncio.to_thread(_require_readable, content, form)
        except FileUnreadable as error:
            raise Problem("contact_file_invalid", str(error)) from None
        task_id = await self._store.as_company(company_id).call(_begin, act_of(request), company_id, form, content)
        return await self._tasks.answer(request, company_id, task_id)


def _require_readable(content: bytes, form: str) -> None:
    # the beginning; the rest is read by the recorder, before it writes anything
    next(read_entries(content, form), None)


def _begin(transaction: Transaction, act: Act | None, company_id: str, form: str, content: bytes) -> int:
    # locked: of two requests at once one begins it
    if companies.lock(transaction, company_id) is None:
        raise company_unknown()
    open_one = transaction.row("open_contact_import", company_id=company_id, operation=IMPORT)
    if open_one is not None:
        raise Problem(
            "contact_import_open", "The company imports another file of contacts.", taskId=str(open_one["id"])
        )
    task_id = tasks.add(
        transaction, company_id=company_id, operation=IMPORT, kind="recorder", expires_in_s=_TASK_S, repeatable=True
    )
    transaction.execute("add_contact_import", task_id=task_id, company_id=company_id, format=form, content=content)
    if act is not None:
        act.after = {"taskId": str(task_id)}
        act.write(transaction)
        act.is_settled = True
    return task_id
