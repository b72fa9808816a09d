"""Import and export of contacts as CSV or vCard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from api.http.keys import act_of
from api.http.operations import Operation
from api.http.parameters import Parameter, query_of
from api.http.problems import Problem
from api.http.shapes import choice
from api.reading import contact_files
from api.reading.contact_files import Entry, FileUnreadable
from api.reading.contacts import CHANGES, LONGEST_PAGE, require_fields, shown
from shared.channels import chat_ids
from shared.channels.chat_ids import ChatIdForm
from shared.compose.directory import Directory
from shared.fields import FieldsInvalid, checked
from shared.process.request_body import read_body
from shared.store import contacts
from shared.store.contacts import ChangeRefused, Imported, Noted
from shared.store.store import Store
from shared.tenancy.audit import recorded

_PATH: Final = "/api/v2/contact-files/{companyId}"
_FORMATS: Final = ("csv", "vcard")
_TYPES: Final = {"csv": "text/csv; charset=utf-8", "vcard": "text/vcard; charset=utf-8"}
_ENDS: Final = {"csv": "csv", "vcard": "vcf"}
_BODY_LIMIT: Final = 4 << 20
"""Bytes of a file to import; it is in memory as a whole."""
_BODY_S: Final = 60.0
_MOST: Final = 5000
"""Contacts of one file: each costs a few statements while the client waits."""
_BATCH: Final = 100
"""Contacts of one transaction, which ends within the time of a query and holds the company's lock for that long."""
_READ_AT_ONCE: Final = 2
"""Files of which a part is read at the same time: each takes a thread, and most of a core."""
_PERSONS: Final = frozenset({ChatIdForm.PHONE, ChatIdForm.LID, ChatIdForm.BUSINESS_SCOPED, ChatIdForm.NUMERIC})
_ERRORS: Final = 100
"""Errors that an answer lists."""
_PLACE: Final = 80
"""Characters of the place of an error that an answer shows."""
_FORMAT: Final = Parameter(
    name="format",
    place="query",
    purpose="Form of the file.",
    schema={**choice("ContactFileFormat", *_FORMATS), "default": "csv"},
)


class ContactTransferOperations:
    """The operations on files of contacts."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory, self._store = directory, store
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
                    200: ("What was done; lines with an error are left out, all others are taken.", "ContactImport")
                },
                problems=("company_unknown", "query_invalid", "contact_file_invalid", "body_late", "body_too_large"),
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
        """Take the contacts of a file."""
        company_id, form = request.path_params["companyId"], query_of(request)["format"]
        await self._directory.require_company(company_id)
        body = await read_body(request, limit=_BODY_LIMIT, wait_s=_BODY_S, owner=company_id)
        done: dict[str, Any] = {"created": 0, "updated": 0, "unchanged": 0, "failed": 0, "errors": []}
        try:
            text = contact_files.decoded(body)
            entries = contact_files.read_csv(text) if form == "csv" else contact_files.read_vcards(text)
            await self._take(company_id, entries, done)
        except FileUnreadable as error:
            # what was taken before stays: the same file, mended, changes nothing about it
            raise Problem("contact_file_invalid", str(error), **done) from None
        act = act_of(request)
        if act is not None:
            act.after = {name: done[name] for name in ("created", "updated", "failed")}
        await self._store.as_company(company_id).call(recorded(act, _nothing))
        return JSONResponse(done)

    async def _take(self, company_id: str, entries: Iterator[Entry], done: dict[str, Any]) -> None:
        number = 0
        while True:
            # in a thread: what is in a file decides how long its next lines take, and the event loop serves others
            async with self._places:
                part = await asyncio.to_thread(_next, entries)
            number += len(part)
            if number > _MOST:
                raise FileUnreadable(f"The file has more than {_MOST} contacts: the rest was not taken; divide it.")
            batch: list[tuple[int, Imported]] = []
            for line, found in part:
                if isinstance(found, str):
                    _fail(done, line, found)
                else:
                    batch.append((line, found))
            await self._write(company_id, batch, done)
            if len(part) < _BATCH:
                return

    async def _write(self, company_id: str, batch: list[tuple[int, Imported]], done: dict[str, Any]) -> None:
        if not batch:
            return
        try:
            created, updated = await self._store.as_company(company_id).call(
                contacts.take_in, company_id, [one for _, one in batch]
            )
        except ChangeRefused:
            # one of them: each by itself, so that it stops no other
            for line, one in batch:
                try:
                    counts = await self._store.as_company(company_id).call(contacts.take_in, company_id, [one])
                except ChangeRefused as error:
                    _fail(done, line, str(error))
                else:
                    _count(done, 1, *counts)
        else:
            _count(done, len(batch), created, updated)


def _nothing(_: Any) -> bool:
    return True


def _count(done: dict[str, Any], number: int, created: int, updated: int) -> None:
    done["created"] += created
    done["updated"] += updated
    done["unchanged"] += number - created - updated


def _fail(done: dict[str, Any], line: int, reason: str) -> None:
    done["failed"] += 1
    if len(done["errors"]) < _ERRORS:
        done["errors"].append({"line": line, "reason": reason})


def _next(entries: Iterator[Entry]) -> list[tuple[int, Imported | str]]:
    """Return the next contacts of a file, as `_read` has them, with their lines."""
    return [(entry.line, _read(entry)) for entry in islice(entries, _BATCH)]


def _read(entry: Entry) -> Imported | str:
    """Return a contact of a file, or what is wrong with it; no value of it, which may be a number."""
    if entry.problem:
        return entry.problem
    if len(entry.aliases) > contacts.ALIASES_MOST:
        return f"has more than {contacts.ALIASES_MOST} ids"
    aliases = [_person(given) for given in entry.aliases]
    if not aliases or not all(aliases):
        return "has no number or id, or one that cannot be one"
    given = {"name": entry.name, "tags": entry.tags, "customFields": dict(entry.fields) or None}
    try:
        # as in a body: what cannot be stored by one way cannot be by the other
        noted = checked(given, CHANGES)
        require_fields(entry.fields, "/customFields")
    except FieldsInvalid as error:
        place, reason = error.wrong[0]
        # its beginning: a name of a field may be as long as the file
        return f"{place.removeprefix('/')[:_PLACE]} {reason}"
    # only the first id: whether others name the same person is decided by `merge`, never by a file
    return Imported(alias=aliases[0], noted=Noted(name=noted["name"], tags=noted["tags"], fields=noted["customFields"]))


def _person(given: str) -> str:
    """Return the one spelling of a person's id; empty for what is none."""
    try:
        found = chat_ids.read(given)
    except chat_ids.ChatInvalid:
        return ""
    return found.id if found.form in _PERSONS else ""
