"""Reads the event stream from a position without skipping an event.

Ids are assigned before transactions commit, so a reader that has seen id 2 would miss an id 1 that commits later.
Therefore events are ordered by (transaction, id), and read only below the oldest transaction that still runs:
everything there has been committed or rolled back for good. A transaction that runs for minutes holds readers back for
as long; `EventPage.held_back` shows it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.store import events
from shared.store.events import Event
from shared.store.pool import Transaction

_TEXT: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")
_WINDOW: Final = 10_000
"""Initial number of transactions per statement; each read narrows or widens it by what it finds."""
_WIDEST: Final = 1 << 40
"""Largest number of transactions per statement: more than a database ever has, so that the horizon is the limit. A
stream with few events for this reader is crossed in ever wider steps.
"""
_LONGEST_TRANSACTION: Final = timedelta(minutes=10)
"""No transaction lasts so long: the server ends idle ones after 30 seconds, and statements have a limit."""
_STEPS: Final = 8
"""Most statements of one read, so that it ends by its deadline."""


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """Everything up to here has been read: the transaction, and the last event of it."""

    xid: int = 0
    id: int = 0

    def __str__(self) -> str:
        return f"{self.xid}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that `str` wrote. Raises `ValueError` for what is none."""
        found = _TEXT.fullmatch(text)
        if found is None or max(int(found[1]), int(found[2])) >= 1 << 63:
            raise ValueError("no position in the stream of events")
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, kw_only=True, slots=True)
class EventPage:
    """What one read returned.

    Attributes:
        events: in order. position: where the next read goes on, to be kept together with what was done about the
            events. complete: nothing that may be read was left out. held_back: transactions that have begun since the
            oldest one that still runs; they are read when it ends. read_at: when the horizon was asked, by the
            database's clock.
    """

    events: Sequence[Event]
    position: Position
    complete: bool
    held_back: int
    read_at: datetime


class EventReader:
    """Follows the stream for one consumer.

    Args:
        company_id: only this company's events; None: all. types, subjects: only these types, and all of these
            subjects; types None: all.
    """

    def __init__(
        self,
        *,
        company_id: str | None = None,
        types: Sequence[str] | None = None,
        subjects: Sequence[str] = (),
    ) -> None:
        self._company_id, self._types, self._subjects = company_id, types, subjects
        self._window = _WINDOW

    def read(
        self, transaction: Transaction, position: Position, *, most: int, passed_at: datetime | None = None
    ) -> EventPage:
        """Return up to `most` events after `position`. Changes nothing: read again from the same position, it returns
        the same events and later ones.

        Args:
            passed_at: an instant (`EventPage.read_at`) at which the position was at the horizon, where the caller knows
                one: the partitions of earlier days are not looked at.
        """
        # queried first: the statements below then see every transaction before it
        found_horizon = events.horizon(transaction)
        horizon, newest, read_at = found_horizon.oldest, found_horizon.next, found_horizon.at
        # what comes after the position was still running then, or began later
        since = None if passed_at is None else passed_at - _LONGEST_TRANSACTION
        for _ in range(_STEPS):
            before = min(horizon, position.xid + self._window)
            found = events.read(
                transaction,
                after=(position.xid, position.id),
                before=before,
                since=since,
                company_id=self._company_id,
                types=self._types,
                subjects=self._subjects,
                most=most,
            )
            if len(found) >= most:
                # More events than requested: the window was too wide, and PostgreSQL sorted rows that were not
                # returned.
                self._window = max(1, self._window // 2)
                # Inside the window, not at its end: the rest has not been returned, perhaps of the same transaction.
                last = found[-1]
                return EventPage(
                    events=found,
                    position=Position(last.xid, last.id),
                    complete=False,
                    held_back=newest - horizon,
                    read_at=read_at,
                )
            # The window is read to its end. `max`: with a horizon below the position (a restored database), it stays.
            position = max(position, Position(before))
            if found or before >= horizon:
                return EventPage(
                    events=found,
                    position=position,
                    complete=before >= horizon,
                    held_back=newest - horizon,
                    read_at=read_at,
                )
            # Empty, and the horizon is farther: wider, since the events of others are skipped by the index at little
            # cost.
            self._window = min(_WIDEST, self._window * 4)
        return EventPage(events=(), position=position, complete=False, held_back=newest - horizon, read_at=read_at)
