"""The service of kind webdriver: sessions, their channel, and the consumer that delivers through it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp

from shared.channels.pacing import WHATSAPP_WEB, spares_the_account
from shared.chromium_path import ChromiumMissing, find
from shared.clock import monotonic
from shared.delivery.consumer import Consumer
from shared.inbound.pipeline import BEAT_LIMIT_S, JournalPipeline
from shared.logs import logger
from shared.media.reach import reach_of
from shared.media.storage import open_storage
from shared.process.leased_work import Intervals, LeasedWork
from shared.process.service import Child, Severity
from shared.process.tasks import TaskRunner
from shared.states import SessionState
from webdriver import downloads
from webdriver.channel import BrowserChannel
from webdriver.chromium import processes
from webdriver.chromium.browser import is_browser_failure
from webdriver.downloads import Downloads
from webdriver.page.attachments import Attachments
from webdriver.page.wa_js import Library
from webdriver.session import actions, inbound_events
from webdriver.session.metrics import SessionGauges
from webdriver.session.outcome_feedback import OutcomeFeedback
from webdriver.session.policy import SessionContext, of_settings
from webdriver.session.records import Records
from webdriver.session.sessions import Sessions

log = logger(__name__)

_FEWEST_STARTS, _MOST_STARTS = 2, 8
"""Sessions that start at the same time without the setting, one for each processor: those that run keep answering."""

_SHARE_OF_ALL: Final = 0.9
"""Share of the process's soft memory ceiling for its browsers: one is replaced before the orchestrator ends all."""

_BEAT_LIMIT_S: Final = 20.0
"""Longest silence of the session loop: one call of the database with its deadline."""
_CLOSE_SESSIONS_S: Final = 4.0
"""Seconds of a drain that are reserved for browsers to write their profiles."""
_LEASE_S: Final = 1.0
"""Seconds between looks at the process's lease."""
_CLOSE_S: Final = 2.5
"""Seconds for browsers to end when the process must exit at once."""


async def open_service(child: Child) -> WebdriverService:
    """Make the service. Never fails: sessions report what is missing."""
    return WebdriverService(child)


class WebdriverService:
    """See `shared.process.service.Service`."""

    app: ASGIApp | None = None

    def __init__(self, child: Child) -> None:
        self._child, settings = child, child.settings
        self._context = SessionContext(
            home=settings.bulkhead_home,
            chromium_path=settings.chromium_path,
            url=settings.whatsapp_web_url or WHATSAPP_WEB,
            slot_lock_fd=child.supervised.lock_fd,
            page_library=Library(settings.wa_js_path, settings.path("cache")).source,
            starts=asyncio.Semaphore(
                settings.session_starts or min(_MOST_STARTS, max(_FEWEST_STARTS, len(os.sched_getaffinity(0))))
            ),
            policy=of_settings(settings),
            web_build=Path(settings.web_build_file).expanduser().absolute() if settings.web_build_file else None,
            memory_all_mb=child.kind.memory_soft_mb * _SHARE_OF_ALL,
        )
        self._received = child.metrics.counter("messages_received", "Messages that came in, each counted once.")
        # the page's events are journalled raw and processed here, so that no parser's error loses one
        self._inbound = JournalPipeline(
            child.store,
            child.metrics,
            kind=child.kind.name,
            handle=inbound_events.handle,
            committed=self._inbound_written,
        )
        records = Records(
            child.store, child.kind, child.identity.process_incarnation, self._inbound.wake, tracer=child.tracer
        )
        self._sessions = Sessions(records, self._context, child.spawn)
        self._storage = open_storage(settings)
        files = Downloads(
            child.store,
            self._storage,
            self._sessions,
            kind=child.kind.name,
            slot=child.identity.slot,
            incarnation=child.identity.process_incarnation,
        )
        self._downloads = LeasedWork(
            child,
            "downloads",
            files.rows(),
            capacity=downloads.AT_ONCE,
            intervals=Intervals(busy_s=downloads.INTERVAL_S, idle_s=downloads.INTERVAL_S),
            beat_limit_s=downloads.BEAT_LIMIT_S,
        )
        self._consumer = Consumer(
            child,
            OutcomeFeedback(
                BrowserChannel(self._sessions, Attachments(self._storage, settings.bulkhead_home, reach_of(settings))),
                self._sessions,
            ),
            in_flight=settings.kind("webdriver").in_flight,
            each=settings.webdriver_session_in_flight,
            send_s=settings.kind("webdriver").send_s,
            retry_base_s=settings.kind("webdriver").retry_base_s,
            breaker_most=settings.webdriver_breaker if spares_the_account(settings) else 0,
        )
        sessions = child.metrics.gauge("sessions", "Browser sessions, by state.", ("state",))
        for state in SessionState:
            sessions.labels(state).read = partial(self._sessions.count, state)
        child.metrics.gauge(
            "browsers_memory_bytes",
            "Proportional memory of all browsers, helpers included.",
            read=lambda: self._sessions.memory_mb() * 1e6,
        )
        child.metrics.gauge("session_restarts", "Restarts of the sessions that run now.", read=self._sessions.restarts)
        self._gauges = SessionGauges(child.metrics, self._sessions)
        self._tasks = TaskRunner(child, actions.handlers(self._sessions))

    def _inbound_written(self, new: int) -> None:
        self._received.inc(new)
        if new:
            self._downloads.wake()

    async def start(self) -> None:
        """End what an earlier life left behind, then start sessions and deliveries; neither waits for the database."""
        # first: helpers of a browser that dies from now on become children of this process, not of pid 1
        processes.adopt_orphans()
        # before any session starts: the slot is ours, so whatever still runs is of an earlier life
        await self._sessions.sweep()
        self._child.on_notify.append(self._sessions.notify)
        self._child.spawn(self._sessions.run(self._child.beats.loop("sessions", _BEAT_LIMIT_S)), "sessions")
        self._child.spawn(self._inbound.run(self._child.beats.loop("journal", BEAT_LIMIT_S)), "journal")
        self._child.spawn(self._sessions.measure(self._gauges.show), "browser-usage")
        self._child.spawn(self._follow_lease(), "session-lease")
        self._downloads.start()
        self._consumer.start()
        self._tasks.start()

    async def _follow_lease(self) -> None:
        """Let go of the sessions when this process's lease has run out: another host may have taken them."""
        lease, held = self._child.heartbeat.lease, False
        while True:
            holds = lease.left_s() > 0
            if held and not holds:
                self._sessions.let_go()
            held = holds
            await asyncio.sleep(_LEASE_S)

    async def drain(self, by: float) -> bool:
        """Finish the sends in hand, then close the browsers so that they write their profiles."""
        drained = all(
            await asyncio.gather(
                self._consumer.drain(by - _CLOSE_SESSIONS_S),
                self._tasks.drain(by - _CLOSE_SESSIONS_S),
                self._downloads.drain(by - _CLOSE_SESSIONS_S),
            )
        )
        self._child.beats.forget("sessions")
        # after the sends: they need their pages; the time kept back is for Chromium to write its profiles
        await self._sessions.close(by)
        # what the sessions journalled last is processed by the next life
        self._stop_inbound()
        return drained

    async def close(self) -> None:
        """End everything at once."""
        self._child.beats.forget("sessions")
        await self._consumer.close()
        await self._tasks.close()
        await self._downloads.close()
        await self._sessions.close(monotonic() + _CLOSE_S)
        self._stop_inbound()
        # last: downloads and sends use it
        await self._storage.close()

    def _stop_inbound(self) -> None:
        self._inbound.stop()
        self._child.beats.forget("journal")

    def readiness(self) -> Mapping[str, str]:
        """Sessions do not affect the readiness of the process: each reports its own state."""
        return self._consumer.readiness()

    def health(self) -> Mapping[str, Any]:
        """Return what the sessions are and whether there is a Chromium."""
        try:
            chromium = str(find(self._context.chromium_path))
        except ChromiumMissing as missing:
            chromium = f"missing: {missing}"
        return {
            "chromium": chromium,
            "sessions": self._sessions.stats(),
            "sessionStates": dict(self._sessions.states()),
            **self._consumer.health(),
        }

    def classify(self, error: BaseException) -> Severity:
        """A browser, tab or connection that is gone ends its session only; any other error ends the process."""
        return Severity.RECOVERABLE if is_browser_failure(error) else Severity.CRITICAL
