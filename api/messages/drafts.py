"""Reads a request that sends into a draft: type and connection from its path and its first fields, then the rest.

A body is JSON, which is read as a whole, or a form, whose file goes into storage while it arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request

from api.http.bodies import TEXT_BODY_LIMIT, read_json
from api.http.forms import FILE, is_form, read_form
from api.http.multipart import FormFile
from shared.channels.files import LARGEST, largest_of
from shared.compose.composer import Draft
from shared.compose.directory import Directory, require_possible
from shared.compose.files import Files
from shared.compose.refusals import require
from shared.compose.types import FORM_FIELDS, PHONE_INDEX, TYPES, MessageType
from shared.fields import FieldsInvalid, checked
from shared.store.media import StoredFile

DATA_BODY_LIMIT: Final = 23 << 20
"""Bytes of a JSON body that may hold a file: 16 MiB in base64, and the other fields."""
DATA_WAIT_S: Final = 60.0
"""Seconds for such a body: 23 MiB at 3.2 Mbit/s."""
_BIG_BODIES: Final = 4
"""Bodies with files in base64 that are decoded at once by one process: each is then in memory three times over."""


class DraftReader:
    """Reads the bodies of requests that send.

    Args:
        directory: finds connections. files: of companies.
    """

    def __init__(self, directory: Directory, files: Files) -> None:
        self._directory, self._files = directory, files
        # without it, a burst of large bodies would exhaust the memory of the process
        self._big_bodies = asyncio.Semaphore(_BIG_BODIES)

    async def read_draft(self, request: Request, named: MessageType | None) -> Draft:
        """Return a request's draft; its fields are not checked yet.

        Args:
            named: the type that the path names; None: the body names it.
        Raises:
            Refused: the body cannot be read, or its type or connection does not exist.
        """
        company_id, may_hold_file = request.path_params["companyId"], named is None or named.has_file
        require_possible(company_id)
        file = None
        # for a type without a file, a form is refused as a wrong media type
        if may_hold_file and is_form(request):
            fields, file = await self._read_form(request, company_id, named)
        else:
            fields = await self._read_json(request, may_hold_file=may_hold_file)
        type_ = named or _take_type(fields)
        return Draft(
            type=type_.name,
            connection=await self._directory.connection(company_id, _phone_index(fields, type_)),
            chat_id=request.path_params["chatId"],
            fields=fields,
            file=file,
        )

    async def _read_json(self, request: Request, *, may_hold_file: bool) -> dict[str, Any]:
        # small by its Content-Length, which the limit enforces: it need not queue behind large ones
        if not may_hold_file or _is_small(request):
            body = await read_json(request)
        else:
            body = await read_json(request, limit=DATA_BODY_LIMIT, wait_s=DATA_WAIT_S, places=self._big_bodies)
        if not isinstance(body, dict):
            # always raises: a body that is not an object has no fields
            return checked(body, ())
        # the name of the form's field: a client that mixed up the two gets a better hint
        if FILE in body:
            raise FieldsInvalid([("/file", "is for forms; in JSON a file is url, data, sha256 or mediaId")])
        return body

    async def _read_form(
        self, request: Request, company_id: str, named: MessageType | None
    ) -> tuple[dict[str, Any], StoredFile]:
        """Return the fields of a form, and its file, which is then in storage."""
        fields: dict[str, Any] = {}
        file = None
        async for part in read_form(request, FORM_FIELDS):
            if isinstance(part, FormFile):
                file = await self._files.keep(
                    company_id,
                    part.pieces,
                    declared=part.mimetype,
                    filename=part.filename,
                    most=await self._most_bytes(company_id, named, fields),
                    field=FILE,
                )
            else:
                name, value = part
                fields[name] = value
        if file is None:
            raise FieldsInvalid([("/file", "is missing")])
        return fields, file

    async def _most_bytes(self, company_id: str, named: MessageType | None, before: Mapping[str, Any]) -> int:
        """Return the size limit of a form's file, by the fields before it. Raises `Refused` when the type has
        no file.
        """
        type_ = named or (_take_type(dict(before)) if "type" in before else None)
        if type_ is not None:
            type_.require_file()
        if "phoneIndex" not in before:
            # storage must not fill with files of companies that do not exist
            await self._directory.require_company(company_id)
            # the index may follow the file: until then the largest limit of any channel applies
            return LARGEST if type_ is None else largest_of(type_.name)
        connection = await self._directory.connection(company_id, _phone_index(before, type_))
        # the limit of the channel, applied while the file arrives; the composer checks the file against it once more
        return LARGEST if type_ is None else require(connection.connection_type, type_.name).limit("bytes")


def _is_small(request: Request) -> bool:
    declared = request.headers.get("content-length", "")
    return declared.isdecimal() and int(declared) <= TEXT_BODY_LIMIT


def _take_type(body: dict[str, Any]) -> MessageType:
    """Return the type of a body, and remove its name from the body."""
    name = body.pop("type", None)
    row = TYPES.get(name) if isinstance(name, str) else None
    if row is None:
        raise FieldsInvalid([("/type", "is missing" if name is None else f"must be one of {', '.join(TYPES)}")])
    return row


def _phone_index(fields: Mapping[str, Any], type_: MessageType | None) -> int:
    try:
        index: int = checked({"phoneIndex": fields.get("phoneIndex")}, (PHONE_INDEX,))["phoneIndex"]
    except FieldsInvalid:
        # raises with all wrong fields of the body, of which the index may be only one
        if type_ is not None:
            checked(fields, type_.fields)
        raise
    return index
