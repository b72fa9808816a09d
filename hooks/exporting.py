"""Publishes the companies' events to a message broker: one more cursor over the stream, and no queue of its own. While
the broker is away events wait where they are anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from hooks import rows
from shared.backoff import BackoffPolicy
from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.events.catalogue import TEST_TYPE, Selection
from shared.events.public import PositionExpired, PositionUnknown, PublicEvent, PublicPage
from shared.events.reader import Position
from shared.events.tail import EventTail
from shared.logs import logger
from shared.process.metrics import Metrics
from shared.process.periodic import until_available, wait_for_event
from shared.store.store import Store

log = logger(__name__)

PAGE: Final = 100
"""Events that are published at once: what may come again after the death of the process."""
LEASE_S: Final = 15.0
_RENEW_S: Final = 4.0
_WAIT_S: Final = 4.0
"""Longest wait for an event; after it the position is written, so that it follows an idle stream."""
BACKOFF: Final = BackoffPolicy(base_s=0.5, cap_s=30.0)
NAME: Final = "amqp"
_EVERYTHING: Final = Selection(company_id=None)


class Broker(Protocol):
    """What publishes events; `hooks.amqp.EventBroker`."""

    unroutable: int

    async def publish(self, events: list[PublicEvent]) -> None:
        """Publish events and return when each is confirmed."""

    async def close(self) -> None:
        """Close the connection."""


OpenBroker: TypeAlias = Callable[[], Awaitable[Any]]
"""Connects."""


class EventExport:
    """Publishes while this incarnation holds the lease.

    Args:
        open_broker: connects. away: the error by which the broker says that it is away. stop: set when the process
            drains.
    Attributes:
        state: `waiting` (another process publishes), `away`, or `connected`.
    """

    def __init__(
        self,
        store: Store,
        tail: EventTail,
        metrics: Metrics,
        *,
        incarnation: str,
        open_broker: OpenBroker,
        away: type[Exception],
        stop: asyncio.Event,
    ) -> None:
        self._store, self._tail, self._incarnation = store, tail, incarnation
        self._open_broker, self._away, self._stop = open_broker, away, stop
        self._published = metrics.counter("amqp_events", "Events published to the broker, by outcome.", ("outcome",))
        self._failures = 0
        self.state = "waiting"

    async def run(self) -> None:
        """Publish until the stop. Raises nothing but bugs."""
        await until_available("amqp-add", lambda: self._store.call(rows.add_export, NAME))
        with self._tail.following():
            while not self._stop.is_set():
                position = await until_available("amqp-lease", self._lease)
                if position is None:
                    self.state = "waiting"
                    await wait_for_event(self._stop, _RENEW_S)
                    continue
                try:
                    await self._connected(position)
                except self._away as problem:
                    self._failures += 1
                    self.state = "away"
                    self._published.labels("failed").inc()
                    log.warning("amqp_away", reason=str(problem), failures=self._failures)
                    await wait_for_event(self._stop, BACKOFF.jittered_s(self._failures))
        await self._give_back()

    async def _connected(self, position: Position) -> None:
        """Publish from a position on, until the lease is lost or the process stops. Raises `away`."""
        broker: Broker = await self._open_broker()
        if self._failures:
            log.info("amqp_back")
        self.state = "connected"
        # beside the work: a broker that is short of memory holds up a publication for as long as it likes
        renewing = asyncio.create_task(self._renew(), name="amqp-lease")
        try:
            while not self._stop.is_set() and not renewing.done():
                page = await self._page(position)
                if page is None:
                    return
                events = [event for event in page.events if event.company_id and event.type != TEST_TYPE]
                returned = broker.unroutable
                if not await self._is_published(broker, events):
                    return
                self._failures = 0
                self._count(len(events), broker.unroutable - returned)
                if not await until_available("amqp-position", partial(self._move, page.position)):
                    return
                position = page.position
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await broker.close()

    async def _is_published(self, broker: Broker, events: list[PublicEvent]) -> bool:
        """Publish, or give up when the process stops: what is not confirmed then is published again by the next.
        Returns whether all is confirmed.
        """
        if not events:
            return True
        publishing = asyncio.create_task(broker.publish(events))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({publishing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not publishing.done():
                return False
            await publishing
            return True
        finally:
            stopping.cancel()
            publishing.cancel()
            await asyncio.gather(publishing, stopping, return_exceptions=True)

    async def _page(self, position: Position) -> PublicPage | None:
        """Return the next page; None when the position had to be moved."""
        try:
            return await until_available(
                "amqp-events",
                lambda: self._tail.page(_EVERYTHING, position, most=PAGE, wait_by=monotonic() + _WAIT_S),
            )
        except PositionExpired:
            log.warning("amqp_events_expired")
            await until_available("amqp-position", lambda: self._move(Position()))
        except PositionUnknown:
            # a database that was restored to an earlier state: from its end on
            await until_available("amqp-position", lambda: self._store.call(rows.end_export, NAME, self._incarnation))
        return None

    def _count(self, published: int, unroutable: int) -> None:
        self._published.labels("confirmed").inc(published - unroutable)
        if unroutable:
            self._published.labels("unroutable").inc(unroutable)
            log.warning("amqp_unroutable", events=unroutable)

    async def _lease(self) -> Position | None:
        row = await self._store.call(rows.lease_export, NAME, self._incarnation, LEASE_S)
        return None if row is None else Position(row["xid"], row["event_id"])

    async def _move(self, position: Position) -> bool:
        return await self._store.call(rows.move_export, NAME, self._incarnation, position, LEASE_S)

    async def _renew(self) -> None:
        """Keep the lease; return when it is lost."""
        while await until_available("amqp-lease", self._lease) is not None:
            await asyncio.sleep(_RENEW_S)

    async def _give_back(self) -> None:
        try:
            await self._store.call(rows.release_export, self._incarnation)
        # the lease ends by itself
        except StoreUnavailable as error:
            log.warning("amqp_not_released", reason=str(error))
