"""Deletes what was kept long enough, in batches so small that no other transaction waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from shared.kinds import KINDS, RetentionRule
from shared.logs import logger
from shared.process.metrics import Metrics
from shared.settings import Settings
from shared.store.partitions import PARTITIONED, drop_partitions
from shared.store.retention import REPEATED_S, TABLES, Prune, prune_names, prune_rows
from shared.store.store import Store

log = logger(__name__)

_BATCH: Final = 500
"""Rows of one batch: a transaction of milliseconds, whose row locks and WAL no sender notices."""
_APART_S: Final = 0.05
"""Seconds between two batches: deleting is never in a hurry, and the disk is needed by commits."""
_DAY_S: Final = 86400.0
_RECORDS: Final = "retention_days"
"""Setting whose time holds for everything that has no setting of its own."""


class RetentionTask:
    """Deletes old rows of `shared.store.retention.TABLES`, of the tables that kinds name, and old days of events.

    Args:
        days: how long things are kept, by setting; 0: for ever, but metrics then as long as other records. most: rows
            of one batch. apart_s: pause between two batches.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        *,
        days: Mapping[str, float],
        most: int = _BATCH,
        apart_s: float = _APART_S,
    ) -> None:
        self._store, self._most, self._apart_s = store, most, apart_s
        self._age_s = {setting: value * _DAY_S for setting, value in days.items()}
        # Metrics have a time of their own because they are the most rows; 0 there must not mean that they grow for ever
        # while other records are deleted.
        self._age_s["metrics_retention_days"] = self._age_s["metrics_retention_days"] or self._age_s[_RECORDS]
        self._deleted = metrics.counter(
            "deleted_records", "Rows that were deleted because they were kept long enough.", ("table",)
        )

    @classmethod
    def from_settings(cls, store: Store, metrics: Metrics, settings: Settings) -> RetentionTask:
        """Return the retention that the settings ask for."""
        names = {
            _RECORDS,
            *(table.setting for table in PARTITIONED.values()),
            *(setting for setting, _ in TABLES.values()),
        }
        return cls(store, metrics, days={name: getattr(settings, name) for name in names})

    async def prune(self) -> None:
        """Delete everything that is old enough now. Raises `StoreUnavailable`; the next round goes on."""
        for table, (setting, prune) in TABLES.items():
            if age_s := self._age_s[setting]:
                await self._prune_table(table, prune, age_s)
        for parent, partitioned in PARTITIONED.items():
            if (age_s := self._age_s[partitioned.setting]) and (
                dropped := await self._store.call(drop_partitions, parent, age_s=age_s)
            ):
                log.info("partitions_dropped", parent=parent, partitions=dropped)
        if not (age_s := self._age_s[_RECORDS]):
            return
        for kind in KINDS:
            for retention in kind.retention:
                await self._prune_rows(retention, age_s)
        # Never below the time for which providers repeat: the operator's setting may be shorter.
        await self._store.call(prune_names, age_s=max(age_s, REPEATED_S))

    async def _prune_table(self, table: str, prune: Prune, age_s: float) -> None:
        deleted, after = 0, 0
        while True:
            batch = await self._store.call(prune, age_s=age_s, after=after, most=self._most)
            deleted += batch.deleted
            self._deleted.labels(table).inc(batch.deleted)
            if batch.after is None:
                break
            after = batch.after
            await asyncio.sleep(self._apart_s)
        if deleted:
            log.info("old_records_deleted", table=table, rows=deleted)

    async def _prune_rows(self, retention: RetentionRule, age_s: float) -> None:
        deleted, batch = 0, self._most
        # A full batch: more rows may be old enough.
        while batch == self._most:
            batch = await self._store.call(prune_rows, statement=retention.statement, age_s=age_s, most=self._most)
            deleted += batch
            self._deleted.labels(retention.table).inc(batch)
            await asyncio.sleep(self._apart_s)
        if deleted:
            log.info("old_records_deleted", table=retention.table, rows=deleted)
