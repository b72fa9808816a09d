"""Exports companies: one archive with everything of a company but its secrets, made as a task and kept for a while.

A compressed tar with files of JSON lines, and the files of messages. It is written as it is read: what is in memory
does not grow with the company. Not a zip: its list of contents stands at the end, and grows with the number of files.
"""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from shared.logs import logger
from shared.media.errors import MediaUnknown, StorageUnavailable
from shared.media.storage import Storage
from shared.process.service import Child
from shared.store.pool import Row, Transaction
from shared.store.pool import json as stored_json
from shared.store.store import Store
from shared.store.tasks import Task, TaskFailed
from shared.timestamps import iso

log = logger(__name__)

KEPT_S: Final = 7 * 86400.0
"""Seconds for which an archive can be downloaded."""
EXPORT: Final = "export_company"
_PAGE: Final = 500
"""Lines of one file of the archive: a file's size stands before it, so that it is made whole; messages have some
kilobytes.
"""
_WALK: Final = 5000
"""Rows of a page at most that are looked at and not shown: some milliseconds."""
_MOST: Final = 1 << 44
"""Bytes of an archive at most: none, in practice."""
_BLOCK: Final = 512
"""Bytes of a block of tar."""
_GZIP: Final = 31
"""Window bits by which zlib writes a gzip stream."""
_LEVEL: Final = 3
"""Compression: files of messages are compressed already, and texts shrink to a quarter at any level."""
PARTS: Final[Mapping[str, str]] = {
    "company": "export_company",
    "connections": "export_connections",
    "messages": "export_messages",
    "received-messages": "export_received",
    "conversations": "export_conversations",
    "contacts": "export_contacts",
    "people": "export_people",
    "contact-aliases": "export_aliases",
    "files": "export_files",
    "documents": "export_documents",
}
"""Files of the archive, by the statement that gives their lines."""
WITH_BYTES: Final = frozenset({"files", "documents"})
"""Parts whose lines are about files: their bytes are in the archive too."""


class CompanyExport:
    """Makes archives, and removes those whose time is over.

    Args:
        kept_s: for how long an archive is kept.
    """

    def __init__(self, child: Child, storage: Storage, *, kept_s: float = KEPT_S) -> None:
        self._store, self._storage, self._kept_s = child.store, storage, kept_s
        self._incarnation = child.identity.process_incarnation

    async def export(self, task: Task) -> Mapping[str, Any]:
        """Handle the task `EXPORT`."""
        try:
            stored = await self._storage.put(task.company_id, _compressed(self._tar(task)), most=_MOST)
        except StorageUnavailable as error:
            raise TaskFailed("interrupted", f"the storage cannot be used: {error}") from error
        row = await self._store.call(
            _add,
            company_id=task.company_id,
            task_id=task.id,
            incarnation=self._incarnation,
            sha256=stored.sha256,
            size=stored.size,
            kept_s=self._kept_s,
        )
        if row is None:
            # nothing of a company that is being deleted is made while it goes
            if not await self._store.call(_with, task.company_id, stored.sha256):
                await self._storage.delete(task.company_id, stored.sha256)
            raise _ended()
        return {
            "exportId": str(row["id"]),
            "size": stored.size,
            "sha256": stored.sha256,
            "url": f"/api/v2/companies/{task.company_id}/exports/{row['id']}",
            "expiresAt": iso(row["expires_at"]),
        }

    async def prune(self) -> None:
        """Remove archives whose time is over. Raises `StoreUnavailable`; the next round goes on."""
        # one at a time: of two with the same bytes the second has them alone
        while rows := await self._store.call(_expired, most=1):
            for row in rows:
                try:
                    # bytes first: a row without bytes is found again, bytes without a row are not
                    if not row["is_shared"]:
                        await self._storage.delete(row["company_id"], row["sha256"])
                except StorageUnavailable as error:
                    log.warning("old_file_not_deleted", reason=str(error))
                    return
                await self._store.call(_remove, row["id"])

    async def _tar(self, task: Task) -> AsyncIterator[bytes]:
        lines, files = 0, 0
        for part, statement in PARTS.items():
            number = 0
            async for rows in pages(self._store, statement, task.company_id):
                number += 1
                content = b"".join(json.dumps(row["line"], ensure_ascii=False).encode() + b"\n" for row in rows)
                yield _header(f"{part}/{number:06}.ndjson", len(content))
                yield content
                yield _padding(len(content))
                lines += len(rows)
                if part in WITH_BYTES:
                    for row in rows:
                        async for piece in self._file(task.company_id, row["key"]):
                            yield piece
                        files += 1
                if not await self._store.call(
                    _note,
                    task_id=task.id,
                    incarnation=self._incarnation,
                    progress={"stage": part, "lines": lines, "files": files},
                ):
                    raise _ended()
        # two empty blocks end a tar
        yield bytes(2 * _BLOCK)

    async def _file(self, company_id: str, sha256: str) -> AsyncIterator[bytes]:
        try:
            size = await self._storage.size(company_id, sha256)
        # deleted since its row was read
        except MediaUnknown:
            return
        yield _header(f"media/{sha256}", size)
        read = 0
        async for piece in self._storage.stream(company_id, sha256):
            read += len(piece)
            yield piece
        if read != size:
            raise TaskFailed("interrupted", "a file changed while it was read; export again")
        yield _padding(size)


async def pages(store: Store, statement: str, company_id: str) -> AsyncIterator[list[Row]]:
    """Give the lines of one part, a page at a time."""
    after = ""
    while rows := await store.call(_page, statement, company_id=company_id, after=after):
        after = rows[-1]["key"]
        if lines := [row for row in rows if row["line"] is not None]:
            yield lines


async def _compressed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    async for piece in pieces:
        if packed := compressor.compress(piece):
            yield packed
    yield compressor.flush()


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _page(transaction: Transaction, statement: str, *, company_id: str, after: str) -> list[Row]:
    return transaction.rows(statement, company_id=company_id, after=after, most=_PAGE, walk=_WALK)


def _note(transaction: Transaction, *, task_id: int, incarnation: str, progress: Mapping[str, Any]) -> bool:
    noted = transaction.row(
        "note_export", task_id=task_id, incarnation=incarnation, progress=stored_json(dict(progress))
    )
    return noted is not None


def _add(transaction: Transaction, /, **archive: Any) -> Row | None:
    return transaction.row("add_export", **archive)


def _ended() -> TaskFailed:
    return TaskFailed("interrupted", "the export was ended")


def _expired(transaction: Transaction, *, most: int) -> list[Row]:
    return transaction.rows("expired_exports", most=most)


def _with(transaction: Transaction, company_id: str, sha256: str) -> list[Row]:
    return transaction.rows("archives_with", company_id=company_id, sha256=sha256)


def _remove(transaction: Transaction, export_id: int) -> None:
    transaction.execute("remove_export", id=export_id)
