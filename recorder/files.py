"""Deletes files that were not asked for within MEDIA_RETENTION_DAYS and that no open message needs, and files whose
messages were deleted: first what is known of them, then the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from shared.logs import logger
from shared.media.errors import StorageUnavailable
from shared.media.storage import Storage
from shared.process.metrics import Metrics
from shared.store import media
from shared.store.pool import Row, Transaction
from shared.store.store import Store

log = logger(__name__)

_DAY_S: Final = 86400.0
_BATCH: Final = 100
"""Files of one transaction, whose bytes are deleted one by one afterwards."""


class OldFiles:
    """Deletes old files.

    Args:
        days: after which an unused file is deleted; 0: never.
    """

    def __init__(self, store: Store, storage: Storage, metrics: Metrics, *, days: float) -> None:
        self._store, self._storage, self._days = store, storage, days
        self._deleted = metrics.counter("deleted_files", "Files that were deleted after MEDIA_RETENTION_DAYS.")

    async def prune(self) -> None:
        """Delete everything that is old enough or released. Raises `StoreUnavailable`; the next round goes on."""
        deleted = 0
        while rows := await self._store.call(media.remove_released, most=_BATCH):
            deleted += await self._delete_all(rows, media.RELEASED_GRACE_S)
        while self._days and (rows := await self._store.call(media.expire, days=self._days, most=_BATCH)):
            deleted += await self._delete_all(rows, self._days * _DAY_S)
        if deleted:
            log.info("old_files_deleted", files=deleted)

    async def _delete_all(self, rows: Sequence[Row], unused_s: float) -> int:
        return sum([await self._delete(row, unused_s) for row in rows])

    async def _delete(self, row: Row, unused_s: float) -> bool:
        company_id, sha256 = row["company_id"], row["sha256"]
        try:
            # A file that was stored again meanwhile stays: its row is written again too. Half of the time, so that a
            # difference between the clocks of the database and of the storage does not matter.
            gone = await self._storage.delete(
                company_id, sha256, unless_since=row["used_at"] + timedelta(seconds=unused_s / 2)
            )
        # The row comes back, or its bytes would be forgotten in the storage. It counts as used now, so that the next
        # round does not meet the same file first.
        except StorageUnavailable as error:
            log.warning("old_file_not_deleted", reason=str(error))
            await self._store.call(_remember_again, row)
            return False
        self._deleted.inc(int(gone))
        return gone


def _remember_again(transaction: Transaction, row: Row) -> None:
    if row["released_at"] is None:
        media.remember(
            transaction,
            row["company_id"],
            row["sha256"],
            size=row["size"],
            mimetype=row["mimetype"],
            filename=row["filename"],
            is_animated=row["is_animated"],
        )
    else:
        media.remember_received(
            transaction,
            row["company_id"],
            row["sha256"],
            size=row["size"],
            mimetype=row["mimetype"],
            is_animated=row["is_animated"],
        )
        media.release(transaction, row["company_id"], row["sha256"])
