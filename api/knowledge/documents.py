"""Documents: uploaded here, indexed by kind `index`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.forms import FILE, read_form
from api.http.multipart import FormFile
from api.http.operations import Operation
from api.http.parameters import cursor, limit, query_of
from api.http.problems import Problem
from shared.compose.directory import Directory, require_possible
from shared.compose.refusals import file_too_large, storage_unavailable
from shared.document_types import DOCUMENT_BYTES, document_type
from shared.fields import FieldsInvalid, pointer
from shared.filenames import cleaned_filename
from shared.media.errors import MediaTooLarge, StorageUnavailable
from shared.media.files import HEAD_BYTES, Storage
from shared.store import documents
from shared.store.pool import Row
from shared.store.store import Store
from shared.timestamps import iso

_COMPANY: Final = "/api/v2/documents/{companyId}"
_PATH: Final = f"{_COMPANY}/{{documentId}}"
_TENANT: Final = "/api/tenants/{companyId}/documents"
"""The same upload under the path of the platform's document."""
_ID: Final = re.compile(r"[0-9]{1,18}")
_PAGE: Final = 50
_LONGEST_PAGE: Final = 200
_UNNAMED: Final = "document"
_FORM: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["file"],
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "minLength": 1,
            "description": f"PDF, DOCX, plain text or Markdown (UTF-8), at most {DOCUMENT_BYTES >> 20} MiB.",
        },
        "filename": {"type": "string", "description": "Its name; wins over the one of the form's part."},
        "mimetype": {"type": "string", "description": "Not used: what the file holds decides."},
    },
}


class DocumentOperations:
    """The operations on documents."""

    def __init__(self, directory: Directory, store: Store, storage: Storage) -> None:
        self._directory, self._store, self._storage = directory, store, storage

    def operations(self) -> list[Operation]:
        """Return them."""

        def upload(operation_id: str, path: str) -> Operation:
            return Operation(
                operation_id=operation_id,
                method="POST",
                path=path,
                scope="manage",
                group="Documents",
                summary="Upload a document, which is indexed then; the same bytes are one document",
                handler=self.upload,
                act="documents.uploaded",
                form=_FORM,
                answers={202: ("Stored; `status` says how far it is.", "Document")},
                headers={202: ("Location",)},
                problems=(
                    "company_unknown",
                    "form_invalid",
                    "body_invalid",
                    "body_late",
                    "body_too_large",
                    "media_too_large",
                    "document_type_unsupported",
                    "too_many_documents",
                    "storage_unavailable",
                ),
            )

        return [
            Operation(
                operation_id="listDocuments",
                method="GET",
                path=_COMPANY,
                scope="read",
                group="Documents",
                summary="Documents of a company, newest first",
                handler=self.show,
                parameters=(limit("Documents in one page.", default=_PAGE, most=_LONGEST_PAGE), cursor()),
                answers={200: ("One page.", "Documents")},
                problems=("company_unknown", "query_invalid"),
            ),
            upload("uploadDocument", _COMPANY),
            upload("uploadTenantDocument", _TENANT),
            Operation(
                operation_id="getDocument",
                method="GET",
                path=_PATH,
                scope="read",
                group="Documents",
                summary="One document",
                handler=self.show_one,
                answers={200: ("The document.", "Document")},
                problems=("company_unknown", "document_unknown"),
            ),
            Operation(
                operation_id="removeDocument",
                method="DELETE",
                path=_PATH,
                scope="manage",
                group="Documents",
                summary="Remove a document with its file and its passages",
                handler=self.remove,
                act="documents.removed",
                answers={200: ("As it was; it is found no more.", "Document")},
                problems=("company_unknown", "document_unknown"),
            ),
            Operation(
                operation_id="reindexDocument",
                method="POST",
                path=f"{_PATH}/reindex",
                scope="manage",
                group="Documents",
                summary="Index a document anew, by the company's settings and the model of now",
                handler=self.reindex,
                act="documents.reindexed",
                answers={202: ("It will be; until then it is searched as it is.", "Document")},
                problems=("company_unknown", "document_unknown", "document_busy"),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Answer with a page of documents."""
        company_id, query = request.path_params["companyId"], query_of(request)
        require_possible(company_id)
        before = {} if query["cursor"] is None else {"before": int(query["cursor"])}
        most = query["limit"]
        rows = await self._store.as_company(company_id).call(documents.listed, company_id, most=most + 1, **before)
        if not rows:
            await self._directory.require_company(company_id)
        following = str(rows[most - 1]["id"]) if len(rows) > most else None
        return JSONResponse({"documents": [shown(row) for row in rows[:most]], "next": following})

    async def show_one(self, request: Request) -> Response:
        """Answer with one document."""
        return JSONResponse(shown(await self._found(request)))

    async def upload(self, request: Request) -> Response:
        """Store a document and let it be indexed."""
        company_id = request.path_params["companyId"]
        await self._directory.require_company(company_id)
        own = self._store.as_company(company_id)
        # before a byte is read: what is stored for a company that is full would be of no use
        if len(await own.call(documents.listed, company_id, most=documents.DOCUMENTS_MOST)) >= documents.DOCUMENTS_MOST:
            raise _too_many()
        document_id, unknown = None, []
        async for part in read_form(request, ()):
            if isinstance(part, FormFile):
                document_id = await self._keep(company_id, part)
            else:
                unknown.append(part[0])
        if unknown:
            reason = "is not a field of this operation; it takes file, filename, mimetype"
            raise FieldsInvalid([(pointer(name), reason) for name in unknown])
        if document_id is None:
            raise FieldsInvalid([(pointer(FILE), "is missing")])
        row = await own.call(documents.find, company_id, document_id)
        if row is None:
            raise _unknown()
        return JSONResponse(
            shown(row), status_code=202, headers={"Location": f"/api/v2/documents/{company_id}/{document_id}"}
        )

    async def _keep(self, company_id: str, file: FormFile) -> int:
        """Store a file that can be indexed, and return its document's id."""
        head, pieces = await _begun(file.pieces)
        if not head:
            raise FieldsInvalid([(pointer(FILE), "is empty")])
        mimetype = document_type(head, file.filename)
        if mimetype is None:
            raise Problem("document_type_unsupported", "The file is no PDF, DOCX, plain text or Markdown in UTF-8.")
        try:
            stored = await self._storage.put(company_id, pieces, most=DOCUMENT_BYTES)
        except MediaTooLarge as error:
            raise file_too_large(FILE, error.most) from error
        except StorageUnavailable as error:
            raise storage_unavailable(error) from error
        added = await self._store.as_company(company_id).call(
            documents.add,
            company_id,
            sha256=stored.sha256,
            title=cleaned_filename(file.filename) or _UNNAMED,
            mimetype=mimetype,
            size=stored.size,
        )
        if added is None:
            await self._directory.require_company(company_id)
            raise _too_many()
        return added[0]

    async def remove(self, request: Request) -> Response:
        """Remove a document."""
        row = await self._found(request)
        company_id = request.path_params["companyId"]
        if not await self._store.as_company(company_id).call(documents.remove, company_id, row["id"]):
            raise _unknown()
        return JSONResponse(shown(row))

    async def reindex(self, request: Request) -> Response:
        """Let a document be indexed anew."""
        row = await self._found(request)
        company_id = request.path_params["companyId"]
        if not await self._store.as_company(company_id).call(documents.reindex, company_id, row["id"]):
            # removed since, or in hand
            await self._found(request)
            raise Problem("document_busy", "The document is being indexed.")
        return JSONResponse(shown(await self._found(request)), status_code=202)

    async def _found(self, request: Request) -> Row:
        company_id, text = request.path_params["companyId"], request.path_params["documentId"]
        require_possible(company_id)
        row = (
            await self._store.as_company(company_id).call(documents.find, company_id, int(text))
            if _ID.fullmatch(text)
            else None
        )
        if row is None:
            await self._directory.require_company(company_id)
            raise _unknown()
        return row


async def _begun(pieces: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """Return the first bytes of a file, and all of it: its type is known before anything is stored."""
    head = b""
    async for piece in pieces:
        head += piece
        if len(head) >= HEAD_BYTES:
            break

    async def whole() -> AsyncIterator[bytes]:
        yield head
        async for piece in pieces:
            yield piece

    return head[:HEAD_BYTES], whole()


def shown(row: Row) -> Mapping[str, Any]:
    """Return a document as clients see it."""
    return {
        "id": str(row["id"]),
        "status": row["state"],
        "title": row["title"],
        "mimetype": row["mimetype"],
        "size": row["size"],
        "sha256": row["sha256"],
        "chunks": row["chunks"],
        "pages": row["pages"],
        "model": row["model"],
        "attempts": row["attempts"],
        "code": row["reason_code"] or None,
        "reason": row["reason"] or None,
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
        "indexedAt": None if row["indexed_at"] is None else iso(row["indexed_at"]),
    }


def _unknown() -> Problem:
    return Problem("document_unknown", "The company has no such document.")


def _too_many() -> Problem:
    most = documents.DOCUMENTS_MOST
    return Problem("too_many_documents", f"The company has {most} documents.", limit=most)
