"""Removes what is searched no more: passages of former indexes, and documents that were removed, with their files."""

from __future__ import annotations

from typing import Final

from index import rows
from shared.logs import logger
from shared.media.errors import StorageUnavailable
from shared.media.files import Storage
from shared.rag.vectors import VectorStore
from shared.store.pool import Row
from shared.store.store import Store

log = logger(__name__)

_DOCUMENTS: Final = 20
_CHUNKS: Final = 500
"""Passages of one transaction."""


class Tidying:
    """Removes in small steps; each may be repeated."""

    def __init__(self, store: Store, storage: Storage, vectors: VectorStore) -> None:
        self._store, self._storage, self._vectors = store, storage, vectors

    async def tidy(self) -> None:
        """Remove what there is to remove. Raises `StoreUnavailable`; the next call goes on."""
        for row in await self._store.call(rows.untidy, most=_DOCUMENTS):
            while await self._store.call(rows.remove_chunks, row["id"], most=_CHUNKS):
                pass
            if row["state"] == "deleting":
                await self._remove(row)
            else:
                await self._vectors.forget(row["company_id"], row["id"], but=row["generation"])
                await self._store.call(rows.note_tidy, row["id"])

    async def _remove(self, row: Row) -> None:
        await self._vectors.forget(row["company_id"], row["id"], but=None)
        try:
            if not await self._store.call(rows.is_file_shared, row["company_id"], row["sha256"]):
                # what is uploaded again after this look is put after the removal, and stays
                await self._storage.delete(row["company_id"], row["sha256"], unless_since=row["updated_at"])
        except StorageUnavailable as error:
            # its row stays, and the next round tries again
            log.warning("document_file_not_deleted", document_id=row["id"], reason=str(error))
            return
        await self._store.call(rows.forget, row["id"])
