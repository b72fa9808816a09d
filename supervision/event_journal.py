"""Writes supervision events to the journal and the log. Entries that the disk refuses are buffered and written later,
in order: a lost `slot_free` would leave a dead process's rows unreclaimed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.clock import utc_now
from shared.logs import logger
from shared.process.journal import JournalWriter, SupervisionEvent

log = logger(__name__)

_KEPT: Final = 100_000
"""Most entries kept in memory while the disk refuses them; beyond that the oldest are dropped."""
# The log's own lines would be repeated in the log.
_NOT_LOGGED: Final = frozenset({"log_tail"})


@dataclass(frozen=True)
class _Entry:
    event: SupervisionEvent
    slot: str
    incarnation: str
    details: Mapping[str, Any]
    at: datetime


class EventJournal:
    """Writes to `journal`; retries until the disk accepts.

    Attributes:
        seq: sequence number of the last entry written.
    """

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self._waiting: deque[_Entry] = deque(maxlen=_KEPT)
        self._refused = False
        self._seq_noticed = journal.seq

    @property
    def seq(self) -> int:
        """Sequence number of the last entry written."""
        return self._journal.seq

    def has_new_entries(self) -> bool:
        """Whether an entry was written since the last call."""
        noticed, self._seq_noticed = self._seq_noticed, self.seq
        return self._seq_noticed != noticed

    def write(
        self, event: SupervisionEvent, slot: str = "", incarnation: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        """Write one event; never raises for the disk's sake."""
        # The instant is taken now: an entry that is written later still has its time.
        entry = _Entry(event, slot, incarnation, details or {}, utc_now())
        says = {
            name: value for name, value in entry.details.items() if name not in _NOT_LOGGED and value not in (None, "")
        }
        log.info("supervision_event_written", happened=event.value, **({"slot": slot} if slot else {}), **says)
        # Behind those that wait: order in the journal is the order of events.
        self._waiting.append(entry)
        self.catch_up()

    def catch_up(self) -> None:
        """Write what waits, oldest first, until the disk refuses."""
        while self._waiting:
            entry = self._waiting[0]
            kind, _, instance = entry.slot.rpartition("-")
            try:
                self._journal.write(
                    entry.event,
                    slot=entry.slot,
                    kind=kind,
                    instance=int(instance or 0),
                    incarnation=entry.incarnation,
                    at=entry.at,
                    **entry.details,
                )
            except OSError as problem:
                # Once for each phase: the log's disk is probably the same one.
                if not self._refused:
                    log.error("journal_not_written", waiting=len(self._waiting), problem=str(problem))
                self._refused = True
                return
            self._refused = False
            # Only after the write: what the disk refused stays at the head.
            self._waiting.popleft()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()
