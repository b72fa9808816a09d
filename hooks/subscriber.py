"""Serves one subscriber: follows the stream from its position, delivers side by side and in order within each
conversation, and keeps what was not taken.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any, Final, TypeAlias

from hooks import rows
from hooks.rows import SubscriberSettlement
from hooks.schedule import DOWN_AFTER, wait_s
from hooks.sending import DeliveryResult, Poster
from hooks.signature import keys_of, signature
from hooks.window import DeliveryWindow, WindowEntry
from shared.clock import monotonic, utc_now
from shared.events import public
from shared.events.catalogue import TEST_TYPE, Selection
from shared.events.public import PositionExpired, PositionUnknown, PublicEvent
from shared.events.reader import Position
from shared.events.tail import EventTail
from shared.fail_points import hit
from shared.http_client.places import PlaceHolder
from shared.http_client.request import HttpTarget
from shared.logs import logger
from shared.media.errors import FetchFailed
from shared.process.metrics import Metrics
from shared.process.periodic import until_available, wait_for_event
from shared.store import events as stream
from shared.store.pool import Row
from shared.store.store import Store

log = logger(__name__)

PAGE: Final = 100
"""Events read at once."""
WINDOW: Final = 200
"""Events that were read and are not written, from which on no page more is read: how far other conversations get ahead
of a slow delivery. These and a page may be delivered again after the death of the process."""
_GATHER_S: Final = 0.1
"""Time in which deliveries are gathered that are written together."""
SIDE_BY_SIDE: Final = 50
"""Deliveries to one subscriber at once: one that answers after a quarter of a second on average takes 200 a second."""
_WAIT_S: Final = 10.0
"""Longest wait for an event; after it the position is written, so that it follows an idle stream."""
_RETRIES_S: Final = 1.0
"""Seconds between two looks for what is due again, while something is."""
_LOOK_S: Final = 60.0
"""Longest time without such a look: all that waits is read for each, a thousand rows."""
OPEN_MOST: Final = 1000
"""Events that wait, from which on the stream is not read further: the others wait there."""
_LITTLE: Final = 50
"""Events that wait, down to which they are delivered before the stream is read again."""
_OF_CONVERSATION: Final = 10
"""Events of one conversation that wait and are delivered one after the other, before others get the place."""
_REFUSED: Final = DeliveryResult(status=None, error="address_refused")
Settle: TypeAlias = Callable[[SubscriberSettlement], Awaitable[Row | None]]
"""Writes one settlement; returns None when the subscriber is not this incarnation's any more. Raises
`StoreUnavailable`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscriber:
    """One row of `hooks`, opened."""

    id: int
    url: str
    selection: Selection
    phone_indexes: frozenset[int]
    secrets: tuple[str, ...] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    position: Position
    version: int
    failing_since: datetime | None = None


class HookMetrics:
    """Counts what is delivered."""

    def __init__(self, metrics: Metrics) -> None:
        self.deliveries = metrics.counter("hook_deliveries", "Deliveries tried, by outcome.", ("outcome",))
        self.seconds = metrics.histogram("hook_delivery_seconds", "Time from request to answer of a delivery.")


class SubscriberLoop:
    """Serves one subscriber until it is not this incarnation's any more, or the process stops.

    Args:
        settle: writes what is settled, together with what other loops settle. stop: set when either is so.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        *,
        store: Store,
        settle: Settle,
        tail: EventTail,
        poster: Poster,
        metrics: HookMetrics,
        incarnation: str,
        stop: asyncio.Event,
        disable_after_s: float,
    ) -> None:
        self._one, self._store, self._settle_together, self._tail, self._poster = (
            subscriber,
            store,
            settle,
            tail,
            poster,
        )
        self._target, self._keys = _target_of(subscriber, poster), keys_of(subscriber.secrets)
        self._holder = PlaceHolder(subscriber.selection.company_id)
        self._metrics, self._incarnation, self.stop, self._disable_after_s = metrics, incarnation, stop, disable_after_s
        self._position = subscriber.position
        self._places = asyncio.Semaphore(SIDE_BY_SIDE)
        # Events that wait, by conversation: a later one of the same is kept behind them. Counted when it is decided,
        # before it is written, so that no event of the conversation passes meanwhile.
        self._waiting: Counter[str] = Counter()
        # Of these, the ones that the stream will show once more, after a replay: they are delivered as what waits.
        self._ahead: frozenset[Position] = frozenset()
        self._window = DeliveryWindow(WINDOW)
        # what is to be delivered next, by conversation, and the task that delivers it
        self._next: dict[str, deque[tuple[WindowEntry, PublicEvent]]] = {}
        self._chains: dict[str, asyncio.Task[None]] = {}
        # the tasks that deliver what waits, by conversation; set when one has ended
        self._retried: dict[str, asyncio.Task[None]] = {}
        self._went_on = asyncio.Event()
        self._failures = DOWN_AFTER if subscriber.failing_since else 0
        self._drains = False
        self._look_by = 0.0

    @property
    def is_down(self) -> bool:
        """Whether nothing but one probe at a time is sent, since nothing is taken."""
        return self._failures >= DOWN_AFTER

    @property
    def _is_full(self) -> bool:
        """Whether so much waits that first that is delivered: from `OPEN_MOST` on, until little is left."""
        total = self._waiting.total()
        self._drains = total >= OPEN_MOST or (self._drains and total > _LITTLE)
        return self._drains

    async def run(self) -> None:
        """Serve it. Raises nothing but bugs."""
        self._waiting = await until_available("hook-waiting", lambda: self._store.call(rows.waiting, self._one.id))
        await self._begin_at(self._position)
        retries = self._start(self._retry(), "retries")
        writing = self._start(self._write_finished(), "positions")
        try:
            with self._tail.following():
                while not self.stop.is_set():
                    if self._is_full or (self.is_down and self._waiting.total()):
                        await wait_for_event(self.stop, _RETRIES_S)
                    elif await wait_for_event(self._window.room, _RETRIES_S):
                        await self._read_page()
        finally:
            # first what is under way there: its outcome is worth a second delivery less
            self.stop.set()
            self._went_on.set()
            try:
                await asyncio.gather(retries, *self._chains.values())
            finally:
                self._window.close()
                await writing

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task, whose bug ends the loop."""
        task = asyncio.create_task(work, name=f"hook-{name}-{self._one.id}")
        task.add_done_callback(self._stop_after_bug)
        return task

    def _stop_after_bug(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self.stop.set()

    async def _read_page(self) -> None:
        """Read a page, and let its events be delivered."""
        try:
            page = await until_available("hook-events", self._read)
        except PositionExpired:
            log.warning("hook_events_expired", hook_id=self._one.id)
            await self._begin_at(Position())
            return
        except PositionUnknown:
            # a database that was restored to an earlier state: from its end on
            await self._begin_at(Position((await until_available("hook-horizon", self._horizon)).oldest))
            return
        for event in page.events:
            if self._is_chosen(event) and event.position not in self._ahead:
                self._deliver(event)
        # the others are passed with it
        self._window.add(WindowEntry(page.position, self._settlement()))
        self._position = page.position

    async def _begin_at(self, position: Position) -> None:
        """Read the stream from a position on."""
        self._ahead = await until_available(
            "hook-waiting", lambda: self._store.call(rows.waiting_after, self._one.id, position)
        )
        self._position = position

    def _deliver(self, event: PublicEvent) -> None:
        """Let an event be delivered after those of its conversation."""
        entry = WindowEntry(event.position)
        self._window.add(entry)
        self._next.setdefault(event.conversation, deque()).append((entry, event))
        if event.conversation not in self._chains:
            chain = self._start(self._in_order(event.conversation), "conversation")
            self._chains[event.conversation] = chain

    async def _in_order(self, conversation: str) -> None:
        """Deliver events of one conversation, one after the other; what is not taken is kept, with all behind it."""
        following = self._next[conversation]
        while following and not self.stop.is_set():
            entry, event = following.popleft()
            settlement = self._settlement()
            async with self._places:
                if self.stop.is_set():
                    break
                if self._waiting[conversation] > 0 or self.is_down:
                    self._keep(settlement, event)
                else:
                    await self._try(event, conversation, settlement, attempts=0, first_at=None)
            if settlement.gone:
                # now, not when all before it is finished: nothing more is wanted
                await self._settle(settlement)
                settlement = self._settlement()
            self._window.finish(entry, settlement)
        # with no await since the last look: nothing is added to a chain that has ended
        del self._next[conversation], self._chains[conversation]

    async def _write_finished(self) -> None:
        """Write what is finished, together with what finishes soon after it, until the window is closed and empty."""
        while True:
            await self._window.finished.wait()
            await wait_for_event(self.stop, _GATHER_S)
            settlement = self._window.take()
            if settlement is None:
                return
            await self._settle(settlement)
            self._window.written()

    def _settlement(self) -> SubscriberSettlement:
        return SubscriberSettlement(hook_id=self._one.id, version=self._one.version)

    async def _read(self) -> public.PublicPage:
        return await self._tail.page(self._one.selection, self._position, most=PAGE, wait_by=monotonic() + _WAIT_S)

    async def _horizon(self) -> stream.Horizon:
        return await self._store.call(stream.horizon)

    def _is_chosen(self, event: PublicEvent) -> bool:
        # a test is for one subscriber alone, and is kept for it when it is asked for
        if event.type == TEST_TYPE:
            return False
        return not self._one.phone_indexes or event.phone_index in self._one.phone_indexes

    async def _retry(self) -> None:
        """Deliver again what is due, until the stop. Each conversation for itself: one whose delivery takes long holds
        up no other.
        """
        try:
            while not self.stop.is_set():
                self._went_on.clear()
                if self._waiting.total() and monotonic() >= self._look_by:
                    await self._retry_due()
                await wait_for_event(self._went_on, _RETRIES_S)
                if self._retried:
                    # one look for all that end about now
                    await wait_for_event(self.stop, _GATHER_S)
        finally:
            await asyncio.gather(*self._retried.values())

    async def _retry_due(self) -> None:
        """Start to deliver what is due, as far as places are free: one while the subscriber is down."""
        places, each = (1, 1) if self.is_down else (SIDE_BY_SIDE, _OF_CONVERSATION)
        free = places - len(self._retried)
        if free <= 0:
            return
        in_hand = list(self._retried)
        found = await until_available(
            "hook-retries",
            lambda: self._store.call(rows.due, self._one.id, in_hand=in_hand, most=free, each=each),
        )
        if not found:
            await until_available("hook-next-retry", lambda: self._find_next(in_hand))
            return
        positions = {Position(row["xid"], row["event_id"]): row["message_id"] for row in found}
        events = await until_available("hook-events", lambda: self._store.call(public.at, positions))
        by_position = {event.position: event for event in events}
        by_conversation: dict[str, list[Mapping[str, Any]]] = {}
        for row in found:
            by_conversation.setdefault(row["conversation"], []).append(row)
        for conversation, waiting in by_conversation.items():
            again = self._again(conversation, waiting, by_position)
            self._retried[conversation] = self._start(again, "retry")

    async def _again(
        self,
        conversation: str,
        found: Sequence[Mapping[str, Any]],
        by_position: Mapping[Position, PublicEvent],
    ) -> None:
        """Deliver events of one conversation that wait, one after the other, up to the first that is not taken."""
        settlement = self._settlement()
        for row in found:
            position = Position(row["xid"], row["event_id"])
            event = by_position.get(position)
            if event is None:
                # retention was quicker, or its type is not public any more: nothing is left to deliver
                log.warning("hook_event_gone", hook_id=self._one.id, position=str(position))
                self._done(settlement, position, conversation)
                continue
            async with self._places:
                if self.stop.is_set():
                    break
                is_taken = await self._try(
                    event,
                    conversation,
                    settlement,
                    attempts=row["attempts"],
                    first_at=row["first_at"],
                    kept=True,
                )
            if not is_taken:
                break
        await self._settle(settlement)
        # its rows are as they were written: only now may they be found again
        del self._retried[conversation]
        # the next of this conversation may be due, and a place is free
        self._look_by = 0.0
        self._went_on.set()

    async def _find_next(self, in_hand: Sequence[str]) -> None:
        """Note when the next look is worth while, for conversations that are not in hand."""
        # what is kept meanwhile brings it forward
        self._look_by = inf
        after_s = await self._store.call(rows.next_due_s, self._one.id, in_hand=in_hand)
        self._look_by = min(self._look_by, monotonic() + min(_LOOK_S if after_s is None else after_s, _LOOK_S))

    async def _try(
        self,
        event: PublicEvent,
        conversation: str,
        settlement: SubscriberSettlement,
        *,
        attempts: int,
        first_at: datetime | None,
        kept: bool = False,
    ) -> bool:
        """Deliver one event and note how it went. Returns whether it was taken. `kept`: it is a row that waits."""
        began, at = monotonic(), utc_now()
        result = await self._post(event)
        took_s = monotonic() - began
        attempts, first_at = attempts + 1, first_at or at
        after_s = None
        if result.is_taken:
            settlement.is_back = settlement.is_back or self.is_down
            self._failures, settlement.taken = 0, True
            if kept:
                self._done(settlement, event.position, conversation)
        else:
            self._failures, settlement.failed = self._failures + 1, True
            after_s = wait_s(
                attempts,
                (utc_now() - first_at).total_seconds(),
                retry_after_s=result.retry_after_s,
                is_down=self.is_down,
            )
            # counted once, whether it waits already or from now on; a dead letter lets its conversation go on
            self._count(conversation, (after_s is not None) - kept)
            settlement.kept.append(
                _kept(event, conversation, attempts=attempts, first_at=first_at, after_s=after_s, result=result)
            )
        outcome = "taken" if result.is_taken else "dead" if after_s is None else "failed"
        self._metrics.deliveries.labels(outcome).inc()
        self._metrics.seconds.observe(took_s)
        settlement.attempts.append(
            {
                "xid": event.position.xid,
                "event_id": event.position.id,
                "type": event.type,
                "at": at.isoformat(),
                "attempt": attempts,
                "outcome": outcome,
                "status": result.status,
                "error": result.error,
                "took_ms": round(took_s * 1000),
            }
        )
        settlement.gone = settlement.gone or result.is_gone
        return result.is_taken

    async def _post(self, event: PublicEvent) -> DeliveryResult:
        if self._target is None:
            return _REFUSED
        timestamp = int(utc_now().timestamp())
        webhook_id = str(event.position)
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._keys, webhook_id, timestamp, event.body),
        }
        hit("hook.posting")
        result = await self._poster.post(self._target, event.body, headers, self._holder)
        hit("hook.answered")
        return result

    def _keep(self, settlement: SubscriberSettlement, event: PublicEvent) -> None:
        self._count(event.conversation, 1)
        settlement.kept.append(_kept(event, event.conversation, attempts=0, first_at=None, after_s=0.0, result=None))

    def _done(self, settlement: SubscriberSettlement, position: Position, conversation: str) -> None:
        self._count(conversation, -1)
        settlement.done.append(position)

    def _count(self, conversation: str, change: int) -> None:
        self._waiting[conversation] += change
        if not self._waiting[conversation]:
            del self._waiting[conversation]

    async def _settle(self, settlement: SubscriberSettlement) -> None:
        """Write it; a subscriber that is not ours any more is left alone."""
        hit("hook.settling")
        written = await until_available("hook-settlement", lambda: self._settle_together(settlement))
        hit("hook.settled")
        if settlement.is_back:
            await until_available("hook-hurry", lambda: self._store.call(rows.hurry, self._one.id))
            self._look_by = 0.0
        # what has just been kept may be due before the rest; what was not tried lies behind another, unless it is down
        first = [row["after_s"] for row in settlement.kept if row["attempts"] or self.is_down]
        if first:
            self._look_by = min(self._look_by, monotonic() + min(first))
        if written is None:
            self.stop.set()
        elif settlement.gone:
            await self._disable("gone")
        elif (written["failing_s"] or 0.0) >= self._disable_after_s:
            await self._disable("failing")

    async def _disable(self, reason: str) -> None:
        log.warning("hook_disabled", hook_id=self._one.id, reason=reason)
        await until_available(
            "hook-end",
            lambda: self._store.call(rows.disable, hook_id=self._one.id, incarnation=self._incarnation, reason=reason),
        )
        self.stop.set()


def _target_of(subscriber: Subscriber, poster: Poster) -> HttpTarget | None:
    """Return where it is posted to, None for an address that may not be reached now."""
    try:
        return poster.target(subscriber.url, subscriber.headers)
    except FetchFailed:
        return None


def _kept(
    event: PublicEvent,
    conversation: str,
    *,
    attempts: int,
    first_at: datetime | None,
    after_s: float | None,
    result: DeliveryResult | None,
) -> Mapping[str, Any]:
    return {
        "xid": event.position.xid,
        "event_id": event.position.id,
        "message_id": event.message_id,
        "conversation": conversation,
        "state": "dead" if after_s is None else "waiting",
        "attempts": attempts,
        "first_at": None if first_at is None else first_at.isoformat(),
        "after_s": after_s or 0.0,
        "status": None if result is None else result.status,
        "error": "" if result is None else result.error,
    }
