"""Deletes companies with everything of theirs: rows of every table, files, profiles of their browser sessions.

What is left to do is read from the tables, so that a death at any point repeats at most one batch. A company is deleted
in stages:

    settling   its sends in flight end, and its sessions log out; bounded, since a page may never answer
    rows       every table with rows of companies, in bounded batches, until a whole round finds nothing
    files      everything in storage that is the company's
    profiles   the processes of its sessions confirm that nothing of their profiles is left; then rows once more
    last       the company's own row goes, then what was written while it was there
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from shared.channels.registry import CHANNELS
from shared.clock import Monotonic, monotonic
from shared.fail_points import hit
from shared.kinds import KINDS
from shared.logs import logger
from shared.media.errors import StorageUnavailable
from shared.media.storage import Storage
from shared.store import audit, companies
from shared.store.companies import CompanyTable, Deletion
from shared.store.pool import Transaction
from shared.store.store import Store

log = logger(__name__)

SETTLE_S: Final = max(row.send_s for row in KINDS) + 30.0
"""Longest wait, in seconds, for sends in flight: the longest send of any kind, and time to settle it or to reclaim it
from a dead process. What is written about a row that is gone changes nothing.
"""
UNLINK_S: Final = 60.0
"""Longest wait, in seconds, for sessions to log out; after it they are removed as they are, and the phone lists the
device until it is removed there.
"""
_BLOCKS: Final = 1000
"""Blocks of one batch: 8 MB of each partition are read in some hundredths of a second."""
_JOURNAL_ROWS: Final = 500
_FILES: Final = 200
"""Files of one batch."""
_APART_S: Final = 0.01
"""Seconds between two batches: senders go first."""
_TURN_S: Final = 2.0
"""Seconds after which the next company has its turn."""
_AT_ONCE: Final = 20
"""Companies that are worked on in one round."""
_SESSION_TYPES: Final = tuple(channel.name for channel in CHANNELS if channel.session)
_EVENTS: Final = "events"
_CONFIRMING: Final = ("phone_status", "phone_configs")
"""Tables by which the processes of sessions confirm that a profile is gone."""


@dataclass
class _Round:
    """Where a walk through the tables is; lost with the process, which begins anew."""

    tables: list[CompanyTable]
    table: int = 0
    block: int = 0
    found: int = 0
    journal_after: int | None = 0


@dataclass
class _Work:
    """What this process has done for one deletion, in addition to what was noted before."""

    rows: int
    files: int
    round: _Round | None = None
    # everything but the rows by which profiles are confirmed to be gone is deleted
    waits: bool = False
    noted: tuple[str, int, int] = field(default=("", 0, 0))


class CompanyDeletion:
    """Deletes companies whose deletion was asked for.

    Args:
        settle_s, unlink_s: longest waits; see `SETTLE_S`, `UNLINK_S`.
    """

    def __init__(
        self,
        store: Store,
        storage: Storage,
        *,
        settle_s: float = SETTLE_S,
        unlink_s: float = UNLINK_S,
        blocks: int = _BLOCKS,
        clock: Monotonic = monotonic,
    ) -> None:
        self._store, self._storage, self._clock = store, storage, clock
        self._settle_s, self._unlink_s, self._blocks = settle_s, unlink_s, blocks
        self._work: dict[int, _Work] = {}

    async def advance(self) -> None:
        """Go on with every deletion for a while. Raises `StoreUnavailable`; the next call goes on."""
        deletions = await self._store.call(companies.open_deletions, most=_AT_ONCE)
        for deletion in deletions:
            by = self._clock() + _TURN_S
            try:
                while self._clock() < by and await self._step(deletion):
                    await asyncio.sleep(_APART_S)
            # The next round tries again; the other companies go on.
            except StorageUnavailable as error:
                log.warning("company_files_not_deleted", task_id=deletion.id, reason=str(error))
        self._work = {one.id: self._work[one.id] for one in deletions if one.id in self._work}

    async def _step(self, deletion: Deletion) -> bool:
        """Do one batch. Returns whether there may be more to do at once."""
        work = self._work.get(deletion.id)
        if work is None:
            kept = deletion.progress
            work = self._work[deletion.id] = _Work(kept.get("deletedRows", 0), kept.get("deletedFiles", 0))
        company = deletion.company_id
        waiting = await self._store.call(companies.unsettled, company, _SESSION_TYPES)
        if (waiting.sending and deletion.age_s < self._settle_s) or (
            waiting.sessions and deletion.age_s < self._unlink_s
        ):
            await self._note(deletion, work, "settling")
            return False
        await self._store.call(companies.remove_connections, company)
        hit("deletion.removed")
        return await self._delete(deletion, work)

    async def _delete(self, deletion: Deletion, work: _Work) -> bool:
        """Do one batch of what is deleted when nothing is under way any more. Returns whether there may be more."""
        company = deletion.company_id
        profiles = await self._store.call(companies.profiles, company, _SESSION_TYPES)
        if profiles and work.waits:
            return False
        if work.waits:
            work.waits, work.round = False, None
        if not await self._rows(deletion, work, but=_CONFIRMING if profiles else ()):
            return True
        if deleted := await self._storage.delete_all(company, most=_FILES):
            work.files += deleted
            hit("deletion.files")
            await self._note(deletion, work, "files")
        elif profiles:
            work.waits = True
            await self._note(deletion, work, "profiles")
            return False
        elif await self._store.call(companies.delete, company):
            hit("deletion.gone")
            return await self._last(deletion, work)
        else:
            # files of it are known again: one was being stored
            work.round = None
        return True

    async def _rows(self, deletion: Deletion, work: _Work, *, but: tuple[str, ...]) -> bool:
        """Delete one batch of rows. Returns whether a whole round has found nothing. `but`: tables that stay."""
        if work.round is None:
            tables = await self._store.call(companies.tables)
            work.round = _Round([table for table in tables if table.name not in but])
            await self._store.call(companies.delete_buckets, deletion.company_id)
        walk = work.round
        if walk.journal_after is not None:
            walk.journal_after = await self._store.call(
                companies.delete_journal, deletion.company_id, after=walk.journal_after, most=_JOURNAL_ROWS
            )
            return False
        if walk.table == len(walk.tables):
            if not walk.found:
                return True
            work.round = None
            return False
        deleted, more = await self._store.call(
            companies.delete_rows,
            deletion.company_id,
            walk.tables[walk.table],
            first=walk.block,
            blocks=self._blocks,
        )
        hit("deletion.rows")
        walk.found += deleted
        work.rows += deleted
        walk.table, walk.block = (walk.table, walk.block + self._blocks) if more else (walk.table + 1, 0)
        await self._note(deletion, work, "rows")
        return False

    async def _last(self, deletion: Deletion, work: _Work) -> bool:
        """Delete what was written while the company's row was still there, and end the task."""
        events = [table for table in await self._store.call(companies.tables) if table.name == _EVENTS]
        for table in events:
            block, more = 0, True
            while more:
                deleted, more = await self._store.call(
                    companies.delete_rows, deletion.company_id, table, first=block, blocks=self._blocks
                )
                work.rows += deleted
                block += self._blocks
                await asyncio.sleep(_APART_S)
        while deleted := await self._storage.delete_all(deletion.company_id, most=_FILES):
            work.files += deleted
        if await self._store.call(_end, deletion, rows=work.rows, files=work.files):
            log.info("company_deleted", task_id=deletion.id, rows=work.rows, files=work.files)
        return False

    async def _note(self, deletion: Deletion, work: _Work, stage: str) -> None:
        state = (stage, work.rows, work.files)
        # a batch that found nothing changes nothing
        if state != work.noted:
            work.noted = state
            await self._store.call(
                companies.note_deletion,
                deletion.id,
                {"stage": stage, "deletedRows": work.rows, "deletedFiles": work.files},
            )


def _end(transaction: Transaction, deletion: Deletion, *, rows: int, files: int) -> bool:
    """End the task, with an event of the audit that names the company and no person."""
    if not companies.end_deletion(transaction, deletion.id, {"deletedRows": rows, "deletedFiles": files}):
        return False
    audit.write(
        transaction,
        name="companies.deleted",
        # of the installation: it outlives the company
        company_id=None,
        facts={
            "operation": "DELETE /api/v2/companies/{companyId}",
            "key": deletion.by,
            "address": None,
            "requestId": f"task-{deletion.id}",
            "subject": {"companyId": deletion.company_id},
            "before": None,
            "after": {"deletedRows": rows, "deletedFiles": files},
        },
    )
    return True
