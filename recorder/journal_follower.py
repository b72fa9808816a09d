"""Follows the orchestrator's journal: events become rows, a free slot becomes reclaimed messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.delivery.reclaim import forget, reclaim
from shared.fail_points import hit
from shared.process import runtime
from shared.process.journal import JournalEntry, JournalReader, SupervisionEvent
from shared.process.metrics import Metrics
from shared.store import processes
from shared.store.pool import Transaction
from shared.store.store import Store

_BATCH: Final = 200
"""Entries of one transaction: after an outage thousands wait, and one that holds their rows' locks must stay short."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What one batch came to: how many events were new, and how many rows were given back."""

    events: int
    reclaimed: int


def _row(entry: JournalEntry) -> dict[str, Any]:
    return {
        "boot_id": entry.boot,
        "seq": entry.seq,
        "at": entry.at,
        "event": entry.event,
        "process_name": entry.kind,
        "instance": entry.instance if entry.slot else None,
        "incarnation": entry.incarnation,
        "detail": entry.details,
    }


def keep(transaction: Transaction, run_dir: Path, entries: Sequence[JournalEntry]) -> Kept:
    """Write a batch of events and reclaim the work of the incarnations that they prove dead, in one transaction;
    idempotent.
    """
    reclaimed = 0
    # Reclaim first, and in the events' transaction: an event `slot_free` that stands in the table then means that the
    # rows were given back.
    for entry in entries:
        if entry.event is SupervisionEvent.SLOT_FREE and entry.incarnation:
            reclaimed += len(reclaim(transaction, run_dir, entry.incarnation, why="slot_free"))
    return Kept(processes.write_events(transaction, [_row(entry) for entry in entries]), reclaimed)


class JournalFollower:
    """Follows one home's journal."""

    def __init__(self, store: Store, home: Path, metrics: Metrics) -> None:
        self._store, self._reader, self._run_dir = store, JournalReader(home), runtime.run_dir(home)
        self._events = metrics.counter("supervision_events", "Events of the orchestrator that were written down.")
        self._reclaimed = metrics.counter("reclaimed_messages", "Messages given back after a death.")
        self._reading = asyncio.Lock()

    @property
    def position(self) -> int:
        """Sequence number up to which everything is written."""
        return self._reader.position

    async def catch_up(self) -> None:
        """Process everything new. Raises `StoreUnavailable`; what was not written is then read again."""
        # one at a time: a failed batch is read again from the position, which the other one must not have moved past it
        async with self._reading:
            while entries := self._reader.read(_BATCH):
                try:
                    kept = await self._store.call(keep, self._run_dir, entries)
                # Also when this task is cancelled: the reader has moved on, and the batch would be skipped.
                except BaseException:
                    self._reader.rewind()
                    raise
                hit("journal.followed")
                # Only after the commit: until then the in-flight journal is the one record of what was sent.
                for entry in entries:
                    if entry.event is SupervisionEvent.SLOT_FREE and entry.incarnation:
                        forget(self._run_dir, entry.incarnation)
                hit("journal.forgotten")
                # Last. A death in between repeats the batch, which changes nothing: rows are given back, events have
                # their numbers.
                self._reader.commit(entries[-1].seq)
                self._events.inc(kept.events)
                self._reclaimed.inc(kept.reclaimed)

    def close(self) -> None:
        """Close the journal."""
        self._reader.close()
