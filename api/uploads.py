"""Files that clients send: from a form, a raw body or base64 into storage as they arrive, and what is known of those that are there."""

from __future__ import annotations

import asyncio
import binascii
import re
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from starlette.requests import Request

from api.bodies import invalid, late, require_size, too_large
from api.multipart import NotMultipart, Part, parts
from api.problems import Problem
from shared.channels.files import LARGEST
from shared.fields import Field, pointer
from shared.media.errors import MediaTooLarge, StorageUnavailable
from shared.media.files import CHUNK_BYTES, Storage, Stored
from shared.media.kinds import mimetype_of
from shared.store import media
from shared.store.media import StoredFile
from shared.store.pool import Transaction
from shared.store.store import Store

DATA_BODY_LIMIT: Final = 23 << 20
"""Bytes of a JSON body that may hold a file: 16 MiB in base64, and something to say about it."""
DATA_WAIT_S: Final = 60.0
_FORM_EXTRA: Final = 1 << 20
_SILENT_S: Final = 10.0
"""How long a line may be silent while a file arrives."""
_UPLOAD_S: Final = 600.0
_FILENAME_BYTES: Final = 240
_DATA_URI: Final = re.compile(r"data:([^;,]*(?:;[^;,]*)*?)(;base64)?,", re.IGNORECASE)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

MostBytes = Callable[[Mapping[str, str]], Awaitable[int]]
"""Returns how large a file may be, from the fields of a form that came before it. Raises `Problem` when none is wanted."""


def cleaned_filename(name: str) -> str:
    """Return a file's name without path, control characters and direction marks; "" when nothing is left."""
    bare = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    shown = (
        "".join(
            character
            for character in bare
            if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        )
        .strip()
        .lstrip(".")
    )
    if len(shown.encode()) > _FILENAME_BYTES:
        stem, dot, ending = shown.rpartition(".")
        ending = dot + ending if dot and len(ending.encode()) <= 20 else ""
        stem = shown[: len(shown) - len(ending)]
        shown = stem.encode()[: _FILENAME_BYTES - len(ending.encode())].decode(errors="ignore") + ending
    return shown


class Uploads:
    """What goes into storage by the API, and what is known of it."""

    def __init__(self, store: Store, storage: Storage) -> None:
        self._store, self._storage = store, storage

    async def keep(
        self, company_id: str, source: AsyncIterator[bytes], *, declared: str, filename: str, most: int, field: str
    ) -> StoredFile:
        """Put a file into storage.

        Args:
            declared: mimetype that the client names. most: bytes. field: where the client gave it, for refusals.
        Raises:
            Problem: too large, empty, or the storage is away.
        """
        try:
            stored = await self._storage.put(company_id, source, most=most)
        except MediaTooLarge as error:
            raise file_too_large(field, error.most) from error
        except StorageUnavailable as error:
            raise storage_unavailable() from error
        if stored.size == 0:
            raise invalid([(pointer(field), "is empty")])
        mimetype, filename = mimetype_of(stored.head, declared, filename), cleaned_filename(filename)
        return await self._store.call(_remembered, company_id, stored, mimetype, filename)

    async def keep_base64(
        self, company_id: str, text: str, *, declared: str, filename: str, most: int, field: str
    ) -> StoredFile:
        """Put a file that is given as text into storage. Arguments and errors as for `keep`; `text` may be a `data:` URI."""
        said, content = await asyncio.to_thread(_decoded, text, field)
        if len(content) > most:
            raise file_too_large(field, most, len(content))
        return await self.keep(
            company_id, _pieces(content), declared=declared or said, filename=filename, most=most, field=field
        )

    async def find(self, company_id: str, sha256: str) -> StoredFile | None:
        """Return what is known of a file, None when the company has none with this digest."""
        return await self._store.call(media.find, company_id, sha256) if _SHA256.fullmatch(sha256) else None

    async def read_form(
        self, request: Request, company_id: str, most: MostBytes
    ) -> tuple[dict[str, str], StoredFile | None]:
        """Read a form with one file named `file`, which goes into storage as it arrives.

        Returns:
            The fields that are no file, as texts, and the file.
        Raises:
            Problem: it is no such form, or the file is refused.
        """
        require_size(request, LARGEST + _FORM_EXTRA)
        fields: dict[str, str] = {}
        kept: StoredFile | None = None
        try:
            async for part in parts(request.headers.get("content-type", ""), arriving(request, LARGEST + _FORM_EXTRA)):
                if part.name in fields or (part.name == "file" and kept):
                    raise invalid([(pointer(part.name), "stands twice in the form")])
                if part.filename is None:
                    fields[part.name] = await part.text()
                elif part.name == "file":
                    kept = await self._keep_part(company_id, part, fields, await most(fields))
                else:
                    raise invalid([(pointer(part.name), "is a file; the file's field is called file")])
        except NotMultipart as error:
            raise Problem(
                "form_invalid", f"The form cannot be read: {error}.", headers={"Connection": "close"}
            ) from error
        return fields, kept

    async def _keep_part(self, company_id: str, part: Part, fields: Mapping[str, str], most: int) -> StoredFile:
        declared, name = fields.get("mimetype", "") or part.mimetype, fields.get("filename", "") or part.filename or ""
        return await self.keep(company_id, part.pieces, declared=declared, filename=name, most=most, field="file")


def form_fields(given: Mapping[str, str], fields: tuple[Field, ...]) -> dict[str, Any]:
    """Return the texts of a form as the values that its fields hold; what cannot be read stays a text, and is refused with the other fields."""
    kinds = {field.name: field.kind for field in fields}
    return {name: _FROM_TEXT.get(kinds.get(name, str), str)(text) for name, text in given.items()}


def _remembered(transaction: Transaction, company_id: str, stored: Stored, mimetype: str, filename: str) -> StoredFile:
    media.remember(transaction, company_id, stored.sha256, size=stored.size, mimetype=mimetype, filename=filename)
    found = media.find(transaction, company_id, stored.sha256)
    if found is None:
        raise LookupError("a file that was remembered in this transaction is not there")
    return found


def _integer(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def _yes_or_no(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text.lower(), text)


_FROM_TEXT: Final[Mapping[type, Callable[[str], Any]]] = {int: _integer, bool: _yes_or_no}


async def arriving(request: Request, most: int) -> AsyncIterator[bytes]:
    """Give a body as it arrives.

    Args:
        most: bytes.
    Raises:
        Problem: it goes on beyond that, or does not arrive.
    """
    stream, size = request.stream(), 0
    by = asyncio.get_running_loop().time() + _UPLOAD_S
    while True:
        try:
            async with asyncio.timeout_at(min(by, asyncio.get_running_loop().time() + _SILENT_S)):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise late(_SILENT_S) from error
        size += len(piece)
        if size > most:
            raise too_large(most)
        yield piece


def file_too_large(field: str, limit: int, size: int | None = None) -> Problem:
    """Return the refusal of a file with more than `limit` bytes."""
    # what came in a body is not read to its end
    known = {} if size is None else {"size": size}
    return Problem(
        "media_too_large",
        f"The file in {field} has more than {limit} bytes.",
        headers={"Connection": "close"},
        field=field,
        limit=limit,
        **known,
    )


def storage_unavailable() -> Problem:
    """Return the refusal while files can be neither kept nor read."""
    return Problem(
        "storage_unavailable",
        "The storage for files does not answer; nothing was accepted.",
        headers={"Retry-After": "2"},
    )


def _decoded(text: str, field: str) -> tuple[str, bytes]:
    """Return the mimetype that a `data:` URI names ("" for plain base64), and the bytes."""
    said, start, plain = "", 0, False
    if text[:5].lower() == "data:":
        found = _DATA_URI.match(text[:1000])
        if found is None:
            raise invalid([(pointer(field), "is no data: URI")])
        said, start, plain = found[1].partition(";")[0], found.end(), found[2] is None
    try:
        # line breaks, as some encoders make them, are no harm; anything else that is not base64 is
        return said, unquote_to_bytes(text[start:]) if plain else binascii.a2b_base64(
            _unbroken(text[start:]), strict_mode=True
        )
    except ValueError as error:
        raise invalid([(pointer(field), "is not base64")]) from error


def _unbroken(text: str) -> str:
    return text.replace("\r", "").replace("\n", "") if "\n" in text or "\r" in text else text


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]
