"""Deletes what was kept for RETENTION_DAYS, in batches so small that nobody waits for them."""

from __future__ import annotations

import asyncio
from typing import Final

from shared.kinds import KINDS
from shared.kinds import Retention as KindRetention
from shared.logs import logger
from shared.process.metrics import Metrics
from shared.store import events
from shared.store.retention import REPEATED_S, TABLES, prune_names, prune_rows
from shared.store.store import Store

log = logger(__name__)

_BATCH: Final = 500
_APART_S: Final = 0.05
"""Pause between two batches: deleting is never in a hurry."""
_DAY_S: Final = 86400.0


class Retention:
    """Deletes old rows of `shared.store.retention.TABLES`.

    Args:
        days: how long they are kept; 0: for ever. most: rows of one batch. apart_s: pause between two batches.
    """

    def __init__(
        self, store: Store, metrics: Metrics, *, days: float, most: int = _BATCH, apart_s: float = _APART_S
    ) -> None:
        self._store, self._age_s, self._most, self._apart_s = store, days * _DAY_S, most, apart_s
        self._deleted = metrics.counter("deleted_records", "Rows that were deleted after RETENTION_DAYS.", ("table",))

    async def prune(self) -> None:
        """Delete everything that is old enough now. Raises `StoreUnavailable`; the next round goes on."""
        if not self._age_s:
            return
        for table, prune in TABLES.items():
            deleted, after = 0, 0
            while True:
                batch = await self._store.call(prune, age_s=self._age_s, after=after, most=self._most)
                deleted += batch.deleted
                self._deleted.labels(table).inc(batch.deleted)
                if batch.after is None:
                    break
                after = batch.after
                await asyncio.sleep(self._apart_s)
            if deleted:
                log.info("old_records_deleted", table=table, rows=deleted)
        for kind in KINDS:
            for retention in kind.retention:
                await self._prune_rows(retention)
        if dropped := await self._store.call(events.drop_partitions, "events_others", age_s=self._age_s):
            log.info("event_partitions_dropped", parent="events_others", partitions=dropped)
        await self._store.call(prune_names, age_s=max(self._age_s, REPEATED_S))

    async def _prune_rows(self, retention: KindRetention) -> None:
        deleted, batch = 0, self._most
        while batch == self._most:
            batch = await self._store.call(
                prune_rows, statement=retention.statement, age_s=self._age_s, most=self._most
            )
            deleted += batch
            self._deleted.labels(retention.table).inc(batch)
            await asyncio.sleep(self._apart_s)
        if deleted:
            log.info("old_records_deleted", table=retention.table, rows=deleted)
