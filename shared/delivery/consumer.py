"""Everything a kind needs to deliver: hint worker, dispatcher, relay, reconciler; put together once for all
channels."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from shared.channels.worlds import worlds
from shared.clock import left
from shared.delivery import reclaim as reclaiming
from shared.delivery.breaker import Breaker
from shared.delivery.channel import Channel
from shared.delivery.dispatcher import Dispatcher
from shared.delivery.in_flight_journal import InFlightJournal, InFlightJournalUnwritable, path_of
from shared.delivery.pacer import Pacer
from shared.delivery.reconcile import Reconciler
from shared.delivery.relay import Relay
from shared.delivery.webhook_outages import WebhookOutages
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.logs import logger
from shared.messages import Policy
from shared.process import runtime
from shared.process.service import Child
from shared.queues.hints import Hints
from shared.queues.installation import own_hints_later
from shared.queues.worker import HintWorker

log = logger(__name__)

_STORE_AWAY_S: Final = 0.25
"""Seconds between attempts to give back leftovers while PostgreSQL is away."""
_DISK_FULL_S: Final = 1.0
"""Seconds between attempts to make the in-flight journal on a full disk."""
_HINTS_END_S: Final = 1.5
"""Longest wait in seconds for the hint loop's end: one blocking wait (`WAIT_S` of the hint worker), and some room."""
_HINT_LOOP_LIMIT_S: Final = 6.0
"""Longest time in seconds between two beats of the hint loop: one blocking wait and one Redis time limit, with room for
a busy machine. Beyond it the process counts as hung."""


class Consumer:
    """Delivers one kind's messages.

    Args:
        child: the process. channel: how to send. in_flight, each: sends at once, of all and of one connection (0: no
            limit). send_s: time for one send. retry_base_s: first wait between attempts. breaker_most: failed sends in
            a row that pause a connection; 0: never. webhook_outages: of the kind, where proof comes by webhooks, so
            that their absence is evidence.
    """

    def __init__(
        self,
        child: Child,
        channel: Channel,
        *,
        in_flight: int,
        each: int = 0,
        send_s: float,
        retry_base_s: float,
        breaker_most: int = 0,
        webhook_outages: WebhookOutages | None = None,
    ) -> None:
        self._child, kind, settings = child, child.kind, child.settings
        incarnation = child.identity.process_incarnation
        self._hints = Hints(settings.redis_url, settings.redis_timeout_s)
        self._run_dir = runtime.run_dir(settings.bulkhead_home)
        self._journal = InFlightJournal(path_of(self._run_dir, incarnation), in_flight)
        self._dispatcher = Dispatcher(
            child.store,
            channel,
            child.metrics,
            self._journal,
            kind=kind.name,
            incarnation=incarnation,
            in_flight=in_flight,
            each=each,
            send_s=send_s,
            attempts=settings.send_attempts,
            retry_base_s=retry_base_s,
            breaker=Breaker(breaker_most),
            worlds=worlds(settings),
            lease_covers=child.heartbeat.lease.covers,
            tracer=child.tracer,
        )
        self._pacer = Pacer(child.store, settings, kind=kind.name)
        self._relay = Relay(child.store, self._dispatcher, child.metrics, kind=kind.name, host=settings.host)
        # the settings table allows just these words
        policy: Policy = settings.in_doubt_policy  # type: ignore[assignment]
        self._reconciler = Reconciler(
            child.store,
            channel,
            child.metrics,
            kind=kind.name,
            incarnation=incarnation,
            host=settings.host,
            policy=policy,
            window_s=settings.in_doubt_window_s,
            attempts=settings.send_attempts,
            outages=webhook_outages,
            requeued=self._dispatcher.offer,
            worlds=worlds(settings),
        )
        self._loop = asyncio.get_running_loop()
        self._worker: HintWorker | None = None
        self._thread: threading.Thread | None = None
        self._delivers = self._drains = False
        self._problem = ""

    def _offer_from_thread(self, ids: list[int]) -> None:
        # the dispatcher belongs to the event loop; the hint worker has a thread, since redis-py blocks
        self._loop.call_soon_threadsafe(self._dispatcher.offer, ids)

    def start(self) -> None:
        """Start to deliver; while the disk has no space for the in-flight journal, as soon as it has."""
        self._child.spawn(self._pacer.run(), "pacer")
        self._child.spawn(self._reclaim_leftovers(), "leftovers")
        if self._has_journal():
            self._deliver()
        else:
            self._child.spawn(self._deliver_later(), "in-flight-journal")

    def _has_journal(self) -> bool:
        try:
            self._journal.open()
        except InFlightJournalUnwritable as error:
            if not self._problem:
                log.error("in_flight_journal_unwritable", problem=str(error))
            self._problem = str(error)
            return False
        self._problem = ""
        return True

    async def _deliver_later(self) -> None:
        while not self._has_journal():
            await asyncio.sleep(_DISK_FULL_S)
        self._deliver()

    def _deliver(self) -> None:
        self._delivers = True
        self._dispatcher.start()
        for task in self._dispatcher.loops():
            self._child.watch(task)
        self._child.spawn(self._relay.run(), "relay")
        self._child.spawn(self._reconciler.run(), "reconciler")
        # last: everything that a hint wakes runs by now
        self._child.spawn(self._take_hints(), "hint-queue")

    async def _take_hints(self) -> None:
        """Take hints as soon as the database has said whose."""
        await own_hints_later(self._child.store, self._hints)
        if self._drains:
            return
        settings = self._child.settings
        self._worker = HintWorker(
            self._hints,
            self._child.kind,
            name=self._child.identity.process_incarnation,
            capacity=lambda: self._dispatcher.capacity,
            offer=self._offer_from_thread,
            beat=self._child.beats.loop("hints", max(_HINT_LOOP_LIMIT_S, 3 * settings.redis_timeout_s)),
        )
        # daemon: a read from a frozen Redis must not keep the process alive after its drain
        self._thread = threading.Thread(target=self._worker.work, name="hints", daemon=True)
        self._thread.start()

    async def _reclaim_leftovers(self) -> None:
        """Reclaim the rows of earlier incarnations of this slot; usually the recorder has done so already."""
        slot, living = self._child.identity.slot, self._child.identity.process_incarnation
        for incarnation in reclaiming.leftovers(self._run_dir, slot, living):
            while True:
                try:
                    await self._child.store.call(
                        partial(reclaiming.reclaim, why="next_life"), self._run_dir, incarnation
                    )
                # for as long as it takes: the rows stay claimed by a dead incarnation until this is written
                except StoreUnavailable:
                    await asyncio.sleep(_STORE_AWAY_S)
                    continue
                hit("leftovers.reclaimed")
                # after the commit: a journal removed before it would turn unsent rows into rows in doubt
                reclaiming.forget(self._run_dir, incarnation)
                break

    async def drain(self, by: float) -> bool:
        """Accept nothing new, finish what is in flight until the monotonic instant `by`. Returns whether nothing is
        left."""
        self._drains = True
        if not self._delivers:
            return True
        # before the dispatcher drains: hints taken from now on would only be dropped
        if self._worker is not None:
            self._worker.stop()
        drained = await self._dispatcher.drain(by)
        if self._thread is not None:
            # a frozen Redis must not delay the exit: the thread takes nothing any more
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join, min(left(by), _HINTS_END_S))
        self._child.beats.forget("hints")
        return drained

    async def close(self) -> None:
        """Stop at once; rows that are still in flight are reclaimed by the reader of the in-flight journal."""
        self._drains = True
        if self._worker is not None:
            self._worker.stop()
            self._child.beats.forget("hints")
        await self._dispatcher.close()
        # with messages still in flight the file stays: it is the evidence of how far each send came
        self._journal.close(remove=self._dispatcher.in_flight == 0)
        self._hints.close()

    def readiness(self) -> Mapping[str, str]:
        """Return what is missing for sending, by name."""
        return {"disk": self._problem} if self._problem else {}

    def health(self) -> Mapping[str, Any]:
        """Return facts for `GET /health`."""
        counted = self._dispatcher.metrics
        return {
            "queueReachable": self._worker is not None and self._worker.is_connected,
            "messagesSent": counted.sent,
            "messagesFailed": counted.failed,
            "avgResponseTime": round(counted.send_seconds / counted.sent, 4) if counted.sent else None,
        }
