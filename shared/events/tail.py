"""The end of the stream in memory: one reader for all followers in this process.

However many clients and webhooks wait, the database is queried once per interval, and each event is serialised once. A
follower behind the buffered part reads pages of its own until it has caught up.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
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
_SHARED_S: Final = 0.2
"""Seconds for which a page read for one follower serves others too: followers of one company that are behind read the
same pages. Content deleted meanwhile stays visible to them for that long.
"""
_SHARED_MOST: Final = 32
"""Pages that are kept for that."""
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
        # the buffer has all events after the first position, up to the second; None: the stream is not being read
        self._start: Position | None = None
        self._end = Position()
        self._passed_at: datetime | None = None
        self._needed = asyncio.Event()
        self._starting: set[asyncio.Future[None]] = set()
        self._waiting: dict[str | None, set[asyncio.Future[None]]] = {}
        self._soon_until = self._used_until = 0.0
        self._behind: dict[tuple[Selection, Position, int], asyncio.Future[PublicPage]] = {}
        self.reads = self.followers = 0

    @property
    def stopping(self) -> bool:
        """Whether the process drains."""
        return self._drains.is_set()

    async def run(self) -> None:
        """Read the stream for as long as it has followers; to be spawned once."""
        stopping = asyncio.create_task(self._end_waits(), name="event-tail-stop")
        try:
            await repeat("event-tail", self._look, SLOW_S, wake=self._needed)
        finally:
            stopping.cancel()

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
                found = await self._read_behind(selection, position, most)
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
        names = _names(selection)
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

    async def _read_behind(self, selection: Selection, position: Position, most: int) -> PublicPage:
        """Read a page that is not kept here, together with others that read the same one."""
        key = (selection, position, most)
        if (reading := self._behind.get(key)) is None:
            store = self._store.as_company_or_all(selection.company_id)
            reading = asyncio.ensure_future(store.call(public.read, selection, position, most=most))
            self._behind[key] = reading
            reading.add_done_callback(lambda _: self._keep_behind(key))
        # a follower that is cancelled does not end the read of the others
        return await asyncio.shield(reading)

    def _keep_behind(self, key: tuple[Selection, Position, int]) -> None:
        read = self._behind[key]
        if read.cancelled() or read.exception() is not None or len(self._behind) > _SHARED_MOST:
            del self._behind[key]
        else:
            asyncio.get_running_loop().call_later(_SHARED_S, self._behind.pop, key)

    async def _start_reading(self, by: float) -> None:
        self._used_until = monotonic() + _UNUSED_S
        if self._start is None:
            self._needed.set()
            await self._wait(self._starting, by)

    async def _wait_for_event(self, company_id: str | None, by: float) -> None:
        """Return when there is something new for a company, when the time is over, or when the process stops."""
        waits = self._waiting.setdefault(company_id, set())
        # not for longer than the stream is surely read
        await self._wait(waits, min(by, monotonic() + _UNUSED_S / 2))
        self._used_until = monotonic() + _UNUSED_S
        if not waits and self._waiting.get(company_id) is waits:
            del self._waiting[company_id]

    async def _wait(self, waits: set[asyncio.Future[None]], by: float) -> None:
        """Wait among others until all are woken, or until the monotonic instant `by`. One future and one timer: there
        may be a thousand such waits a second.
        """
        if self._drains.is_set():
            return
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(left(by), _wake, waiting)
        waits.add(waiting)
        try:
            await waiting
        finally:
            timer.cancel()
            waits.discard(waiting)

    async def _end_waits(self) -> None:
        """End every wait when the process stops."""
        await self._drains.wait()
        for waits in [self._starting, *self._waiting.values()]:
            _wake_all(waits)

    async def _look(self) -> float | None:
        if not self.followers and monotonic() >= self._used_until:
            self._forget()
            return _UNUSED_S
        self.reads += 1
        if self._start is None:
            horizon = await self._store.call(events.horizon)
            self._start = self._end = Position(horizon.oldest)
            self._passed_at = horizon.at
            _wake_all(self._starting)
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
        """Serialise buffered events again whose message was deleted according to a page, so that its content is no
        longer served.
        """
        gone = frozenset[int]().union(*(event.about for event in page.events if event.type == _DELETED))
        if not gone:
            return
        places = {event.position: place for place, event in enumerate(self._events) if event.about & gone}
        keys = {position: self._events[place].message_id for position, place in places.items()}
        now = {event.position: event for event in await self._store.call(public.at, keys)} if keys else {}
        for position, place in places.items():
            # a missing one was just dropped by retention, and appears in no page either
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
            _wake_all(self._waiting.get(company_id, ()))

    def _forget(self) -> None:
        self._events.clear()
        self._bytes, self._start, self._passed_at = 0, None, None


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _wake_all(waits: Iterable[asyncio.Future[None]]) -> None:
    for waiting in waits:
        _wake(waiting)


@lru_cache(maxsize=1024)
def _names(selection: Selection) -> frozenset[str]:
    return frozenset(row.name for row in selection.rows())


def _read(transaction: Transaction, reader: EventReader, position: Position, passed_at: datetime | None) -> PublicPage:
    page = reader.read(transaction, position, most=_PAGE, passed_at=passed_at)
    return PublicPage(
        events=public.serialise(transaction, page.events),
        position=page.position,
        complete=page.complete,
        read_at=page.read_at,
    )
