"""Files of drafts: into storage as they arrive or from base64, and what is known of those that are there."""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import unquote_to_bytes

from shared.compose.refusals import file_too_large, storage_unavailable
from shared.fields import FieldsInvalid, pointer
from shared.filenames import cleaned_filename
from shared.media.errors import MediaTooLarge, StorageUnavailable
from shared.media.files import CHUNK_BYTES, Storage
from shared.media.kinds import is_animated, mimetype_of
from shared.store import media
from shared.store.media import StoredFile
from shared.store.store import Store

# RFC 2397: mimetype and parameters, `;base64`, a comma, the content
_DATA_URI: Final = re.compile(r"data:([^;,]*(?:;[^;,]*)*?)(;base64)?,", re.IGNORECASE)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Files:
    """Keeps files of companies, and finds those that are kept."""

    def __init__(self, store: Store, storage: Storage) -> None:
        self._store, self._storage = store, storage

    async def keep(
        self, company_id: str, source: AsyncIterator[bytes], *, declared: str, filename: str, most: int, field: str
    ) -> StoredFile:
        """Put a file into storage.

        Args:
            declared: mimetype that the client names. most: bytes. field: where the client named the file, for
                refusals.
        Raises:
            Refused: it is too large or empty, or the storage is away.
        """
        try:
            stored = await self._storage.put(company_id, source, most=most)
        except MediaTooLarge as error:
            raise file_too_large(field, error.most) from error
        # a refusal and no failure: nothing was accepted, and a repetition is safe
        except StorageUnavailable as error:
            raise storage_unavailable(error) from error
        # after storing, since the length of a stream is known only at its end; the empty file is harmless
        if stored.size == 0:
            raise FieldsInvalid([(pointer(field), "is empty")])
        return await self._store.as_company(company_id).call(
            media.keep,
            company_id,
            stored.sha256,
            size=stored.size,
            mimetype=mimetype_of(stored.head, declared, filename),
            filename=cleaned_filename(filename),
            is_animated=is_animated(stored.head),
        )

    async def keep_base64(
        self, company_id: str, text: str, *, declared: str, filename: str, most: int, field: str
    ) -> StoredFile:
        """Put a file that is given as text into storage. Arguments and errors as for `keep`; `text` may be a `data:`
        URI."""
        # 16 MB of base64 hold the interpreter for too long to be decoded between other requests
        named, content = await asyncio.to_thread(_decoded, text, field)
        if len(content) > most:
            raise file_too_large(field, most, len(content))
        return await self.keep(
            company_id, _pieces(content), declared=declared or named, filename=filename, most=most, field=field
        )

    async def find(self, company_id: str, sha256: str) -> StoredFile | None:
        """Return what is known of a file, None when the company has none with this digest."""
        return (
            await self._store.as_company(company_id).call(media.find, company_id, sha256)
            if _SHA256.fullmatch(sha256)
            else None
        )


def _decoded(text: str, field: str) -> tuple[str, bytes]:
    """Return the mimetype that a `data:` URI names ("" for plain base64), and the bytes."""
    named, start, plain = "", 0, False
    # only the beginning is searched: the rest is the file
    if text[:5].lower() == "data:":
        found = _DATA_URI.match(text[:1000])
        if found is None:
            raise FieldsInvalid([(pointer(field), "is no data: URI")])
        named, start, plain = found[1].partition(";")[0], found.end(), found[2] is None
    try:
        # line breaks, as some encoders make them, are harmless; anything else that is not base64 is refused
        return named, unquote_to_bytes(text[start:]) if plain else binascii.a2b_base64(
            _unbroken(text[start:]), strict_mode=True
        )
    except ValueError as error:
        raise FieldsInvalid([(pointer(field), "is not base64")]) from error


def _unbroken(text: str) -> str:
    return text.replace("\r", "").replace("\n", "") if "\n" in text or "\r" in text else text


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), CHUNK_BYTES):
        # in pieces, so that hashing and writing do not hold the event loop for one long moment
        yield content[start : start + CHUNK_BYTES]
