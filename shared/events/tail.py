"""The end of the stream in memory: one reader for all who follow it in this process.

However many clients and webhooks wait, the database is asked once each interval, and an event is serialised once. Who
is behind the part that is kept here reads pages of its own until it has caught up.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from shared.clock import left, monotonic
from shared.events import public
from shared.events.catalogue import Selection
from shared.events.public import PublicEvent, PublicPage
from shared.events.reader import EventReader, Position
from shared.process.periodic import repeat
from shared.store import events
from shared.store.pool import Transaction
from shared.store.store import Store

SOON_S: Final = 0.05
"""Seconds between two reads while events come."""
SLOW_S: Final = 0.2
"""Seconds between two reads otherwise: how long a first event waits for its followers."""
_SOON_FOR_S: Final = 2.0
"""Seconds of quick reads after the last event."""
_UNUSED_S: Final = 30.0
"""Seconds without a follower after which the stream is not read any more."""
_PAGE: Final = 500
"""Events of one read."""
_EVENTS_MOST: Final = 5_000
_BYTES_MOST: Final = 8 << 20
"""What is kept: seconds of a busy installation, and a bounded part of the process."""
_DELETED: Final = "message.deleted"
_EVERYTHING: Final = Selection(company_id=None)


class EventTail:
    """Follows the stream while it has followers.

    Args:
        stopping: set when the process drains: all waits end then.

    Attributes:
        reads: queries so far. followers: who follows now.
    """

    def __init__(self, store: Store, stopping: asyncio.Event) -> None:
        self._store, self._drains = store, stopping
        self._reader: EventReader = public.reader_of(_EVERYTHING)
        # Only the event loop touches these, and no step between two awaits leaves them inconsistent.
        self._events: list[PublicEvent] = []
        self._bytes = 0
        # what is kept are all events after the first position, up to the second; None: the stream is not read now
        self._start: Position | None = None
        self._end = Position()
        self._passed_at: datetime | None = None
        self._needed, self._started = asyncio.Event(), asyncio.Event()
        self._waiting: dict[str | None, set[asyncio.Future[None]]] = {}
        self._soon_until = self._used_until = 0.0
        self.reads = self.followers = 0

    @property
    def stopping(self) -> bool:
        """Whether the process drains."""
        return self._drains.is_set()

    async def run(self) -> None:
        """Read the stream for as long as it has followers; to be spawned once."""
        await repeat("event-tail", self._look, SLOW_S, wake=self._needed)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Count a follower for as long as the block runs."""
        self.followers += 1
        try:
            yield
        finally:
            self.followers -= 1
            self._used_until = monotonic() + _UNUSED_S

    async def page(
        self, selection: Selection, position: Position, *, most: int, wait_by: float | None = None
    ) -> PublicPage:
        """Return up to `most` events after a position; where there are none yet, wait until the monotonic instant
        `wait_by` for the first. Within a block of `following` if it waits.

        Raises:
            PositionExpired, PositionUnknown, StoreUnavailable: see `shared.events.public.read`.
        """
        if wait_by is not None:
            # before the first read: what it does not find any more is then kept here
            await self._start_reading(wait_by)
        while True:
            found = self._from_memory(selection, position, most)
            if found is None:
                found = await self._store.call(public.read, selection, position, most=most)
            if found.events or wait_by is None or not left(wait_by) or self._drains.is_set():
                return found
            position = found.position
            if found.complete:
                # registered in the same step in which memory was searched: no event slips in between
                await self._wait_for_event(selection.company_id, wait_by)

    def _from_memory(self, selection: Selection, position: Position, most: int) -> PublicPage | None:
        """Return the events after a position, None when some of them may not be kept here."""
        if self._start is None or self._passed_at is None or not self._start <= position <= self._end:
            return None
        names = {row.name for row in selection.rows()}
        chosen: list[PublicEvent] = []
        first = bisect_right(self._events, position, key=lambda event: event.position)
        for event in self._events[first:]:
            if event.row.name in names and selection.company_id in (None, event.company_id):
                if len(chosen) == most:
                    return PublicPage(
                        events=chosen, position=chosen[-1].position, complete=False, read_at=self._passed_at
                    )
                chosen.append(event)
        return PublicPage(events=chosen, position=self._end, complete=True, read_at=self._passed_at)

    async def _start_reading(self, by: float) -> None:
        self._used_until = monotonic() + _UNUSED_S
        if self._start is None:
            self._needed.set()
            await self._first_of(asyncio.ensure_future(self._started.wait()), by)

    async def _wait_for_event(self, company_id: str | None, by: float) -> None:
        """Return when there is something new for a company, when the time is over, or when the process stops."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(company_id, set()).add(waiting)
        try:
            # not for longer than the stream is surely read
            await self._first_of(waiting, min(by, monotonic() + _UNUSED_S / 2))
            self._used_until = monotonic() + _UNUSED_S
        finally:
            others = self._waiting[company_id]
            others.discard(waiting)
            if not others:
                del self._waiting[company_id]

    async def _first_of(self, awaited: asyncio.Future[None] | asyncio.Task[bool], by: float) -> None:
        stopping = asyncio.ensure_future(self._drains.wait())
        try:
            await asyncio.wait({awaited, stopping}, timeout=left(by), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            awaited.cancel()

    async def _look(self) -> float | None:
        if not self.followers and monotonic() >= self._used_until:
            self._forget()
            return _UNUSED_S
        self.reads += 1
        if self._start is None:
            horizon = await self._store.call(events.horizon)
            self._start = self._end = Position(horizon.oldest)
            self._passed_at = horizon.at
            self._started.set()
            return SOON_S
        page = await self._store.call(_read, self._reader, self._end, self._passed_at)
        await self._forget_content(page)
        self._keep(page)
        if not page.complete:
            return 0.0
        if page.events:
            self._soon_until = monotonic() + _SOON_FOR_S
        return SOON_S if monotonic() < self._soon_until else SLOW_S

    async def _forget_content(self, page: PublicPage) -> None:
        """Serialise kept events of messages again that a page says are deleted: their content is served no more."""
        gone = frozenset[int]().union(*(event.about for event in page.events if event.type == _DELETED))
        if not gone:
            return
        places = {event.position: place for place, event in enumerate(self._events) if event.about & gone}
        now = {event.position: event for event in await self._store.call(public.at, list(places))} if places else {}
        for position, place in places.items():
            # one that is not there any more was dropped by retention just now: it stands in no page either
            if position in now:
                self._bytes += len(now[position].body) - len(self._events[place].body)
                self._events[place] = now[position]

    def _keep(self, page: PublicPage) -> None:
        self._events += page.events
        self._end = page.position
        if page.complete:
            self._passed_at = page.read_at
        self._bytes += sum(len(event.body) for event in page.events)
        dropped = 0
        while len(self._events) - dropped > _EVENTS_MOST or self._bytes > _BYTES_MOST:
            gone = self._events[dropped]
            self._start, dropped = gone.position, dropped + 1
            self._bytes -= len(gone.body)
        del self._events[:dropped]
        for company_id in {event.company_id for event in page.events} | ({None} if page.events else set()):
            for waiting in self._waiting.get(company_id, ()):
                if not waiting.done():
                    waiting.set_result(None)

    def _forget(self) -> None:
        self._events.clear()
        self._bytes, self._start, self._passed_at = 0, None, None
        self._started.clear()


def _read(transaction: Transaction, reader: EventReader, position: Position, passed_at: datetime | None) -> PublicPage:
    page = reader.read(transaction, position, most=_PAGE, passed_at=passed_at)
    return PublicPage(
        events=public.serialise(transaction, page.events),
        position=page.position,
        complete=page.complete,
        read_at=page.read_at,
    )
