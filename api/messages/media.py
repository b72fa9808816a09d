"""Files: uploads for later sends, and downloads of sent and received files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from api.http.forms import FILE, is_form, read_form
from api.http.multipart import FormFile
from api.http.operations import Operation
from api.http.parameters import Parameter, query_of
from api.http.problems import Problem
from shared.channels.files import LARGEST
from shared.compose.directory import Directory, require_possible
from shared.compose.files import Files
from shared.compose.refusals import storage_unavailable
from shared.events.message_json import file_place
from shared.fields import FieldsInvalid, pointer
from shared.media.errors import MediaUnknown, StorageUnavailable
from shared.media.files import Storage
from shared.process.request_body import stream_body
from shared.store.media import StoredFile

_PATH: Final = "/api/v2/media/{companyId}"
# a single range; for several the whole file is sent, as RFC 9110 14.2 permits. 18 digits: no file is larger
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class MediaOperations:
    """The operations on files."""

    def __init__(self, directory: Directory, files: Files, storage: Storage) -> None:
        self._directory, self._files, self._storage = directory, files, storage

    def operations(self) -> list[Operation]:
        """Return the operations on files."""
        return [
            Operation(
                operation_id="uploadFile",
                method="POST",
                path=_PATH,
                scope="send",
                group="Media",
                summary="Upload a file, as a form or raw; messages refer to it by the `sha256` of the response",
                handler=self.upload,
                form={
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "minLength": 1, "description": "The file."},
                        "filename": {
                            "type": "string",
                            "description": "Its name; wins over the one of the form's part.",
                        },
                        "mimetype": {"type": "string", "description": "What it is; what its first bytes show wins."},
                    },
                },
                raw=True,
                parameters=(
                    Parameter(
                        name="filename",
                        place="query",
                        purpose="Name of a file that is sent as raw bytes; `Content-Type` is its type.",
                    ),
                ),
                answers={201: ("Stored.", "StoredFile")},
                problems=(
                    "company_unknown",
                    "form_invalid",
                    "body_late",
                    "body_too_large",
                    "media_too_large",
                    "body_invalid",
                    "storage_unavailable",
                ),
            ),
            Operation(
                operation_id="downloadFile",
                method="GET",
                path=_PATH + "/{sha256}",
                scope="read",
                group="Media",
                summary="Download a file that was sent, received or uploaded",
                handler=self.download,
                parameters=(
                    Parameter(name="Range", place="header", purpose="`bytes=…`: one part of it."),
                    Parameter(name="If-None-Match", place="header", purpose="The `ETag` that is known already."),
                ),
                answers={
                    200: ("The file.", "application/octet-stream", "*/*"),
                    206: ("The requested range.", "application/octet-stream", "*/*"),
                    304: ("Not modified.", ""),
                },
                headers={
                    200: ("ETag", "Accept-Ranges", "Content-Disposition"),
                    206: ("ETag", "Accept-Ranges", "Content-Disposition", "Content-Range"),
                    304: ("ETag",),
                },
                problems=("company_unknown", "media_unknown", "range_invalid", "storage_unavailable"),
            ),
        ]

    async def upload(self, request: Request) -> Response:
        """Store a file that is uploaded."""
        company_id = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        if is_form(request):
            kept = await self._read_form(request, company_id)
        else:
            kept = await self._files.keep(
                company_id,
                stream_body(request, limit=LARGEST),
                declared=request.headers.get("content-type", ""),
                filename=query_of(request)["filename"] or "",
                most=LARGEST,
                field="file",
            )
        place = file_place(company_id, kept.sha256)
        body = {
            "sha256": kept.sha256,
            "size": kept.size,
            "mimetype": kept.mimetype,
            "filename": kept.filename or None,
            "url": place,
        }
        return JSONResponse(body, status_code=201, headers={"Location": place})

    async def _read_form(self, request: Request, company_id: str) -> StoredFile:
        kept, unknown = None, []
        async for part in read_form(request, ()):
            if isinstance(part, FormFile):
                kept = await self._files.keep(
                    company_id,
                    part.pieces,
                    declared=part.mimetype,
                    filename=part.filename,
                    most=LARGEST,
                    field=FILE,
                )
            else:
                unknown.append(part[0])
        if unknown:
            reason = "is not a field of this operation; it takes file, filename, mimetype"
            raise FieldsInvalid([(pointer(name), reason) for name in unknown])
        if kept is None:
            raise FieldsInvalid([("/file", "is missing")])
        return kept

    async def download(self, request: Request) -> Response:
        """Answer with a file or a part of it."""
        company_id, sha256 = request.path_params["companyId"], request.path_params["sha256"]
        require_possible(company_id)
        found = await self._files.find(company_id, sha256)
        if found is None:
            await self._directory.require_company(company_id)
            raise _unknown()
        headers = _headers(found)
        # RFC 9110 13.1.2: compared weakly, so without `W/`
        if headers["ETag"] in [
            tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")
        ]:
            return Response(status_code=304, headers=headers)
        part = _asked(request, found)
        headers["Content-Length"] = str(part.length)
        if part.length < found.size:
            headers["Content-Range"] = f"bytes {part.start}-{part.start + part.length - 1}/{found.size}"
        status = 206 if part.length < found.size else 200
        # the file is not read: its row has the size
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=found.mimetype)
        # the response starts only after the first chunk, when the file is known to be readable
        pieces = self._storage.stream(company_id, sha256)
        try:
            first = await anext(pieces)
        except MediaUnknown as error:
            raise _unknown() from error
        except StorageUnavailable as error:
            raise storage_unavailable(error) from error
        return StreamingResponse(
            _cut(first, pieces, part), status_code=status, headers=headers, media_type=found.mimetype
        )


@dataclass(frozen=True, slots=True)
class _Part:
    start: int
    length: int


def _headers(found: StoredFile) -> dict[str, str]:
    name = found.filename or found.sha256
    # for clients without RFC 8187 (`filename*`): a quote or line break would end the value or the header
    plain = "".join(
        character if character.isascii() and character.isprintable() and character not in '"\\' else "_"
        for character in name
    )
    return {
        # the digest of the content: a strong validator that never changes
        "ETag": f'"{found.sha256}"',
        "Accept-Ranges": "bytes",
        # content from others must never be rendered as a page of this origin
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        # for browsers that display it nevertheless: no scripts, and an origin of its own
        "Content-Security-Policy": "default-src 'none'; sandbox",
        # under this path the content cannot change; private, since a key was needed for it
        "Cache-Control": "private, max-age=31536000, immutable",
    }


def _asked(request: Request, found: StoredFile) -> _Part:
    """Return the requested range of a file; an invalid one means the whole file (RFC 9110)."""
    given = _RANGE.fullmatch(request.headers.get("range", "").strip())
    condition = request.headers.get("if-range", "")
    if given is None or given[0] == "bytes=-" or (condition and condition != f'"{found.sha256}"'):
        # not a single range in bytes, or the client has parts of another version (RFC 9110 13.1.5): all of it
        return _Part(0, found.size)
    if not given[1]:
        # `bytes=-N`: the last N bytes
        length = min(int(given[2]), found.size)
        start = found.size - length
    else:
        start = int(given[1])
        length = min(int(given[2]) if given[2] else found.size - 1, found.size - 1) - start + 1
        if given[2] and int(given[2]) < start:
            return _Part(0, found.size)
    if length <= 0 or start >= found.size:
        raise Problem(
            "range_invalid",
            f"The file has {found.size} bytes.",
            headers={"Content-Range": f"bytes */{found.size}"},
            size=found.size,
        )
    return _Part(start, length)


async def _cut(first: bytes, rest: AsyncIterator[bytes], part: _Part) -> AsyncIterator[bytes]:
    # storage reads a file only from its beginning: the part before the range is read and discarded
    before, left = part.start, part.length
    piece = first
    while True:
        piece_part = piece[before : before + left]
        before, left = max(0, before - len(piece)), left - len(piece_part)
        if piece_part:
            yield piece_part
        if left <= 0:
            return
        piece = await anext(rest)


def _unknown() -> Problem:
    return Problem("media_unknown", "The company has no such file.")
