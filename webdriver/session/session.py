"""One browser session: drives Chromium and page as `decide` says.

It restarts itself and never touches another session. What is decided is `decide`'s, the browser is `BrowserLife`'s, its
limits are `ResourceMonitor`'s, and what is written about it is `StateReporter`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from shared.chromium_path import ChromiumMissing
from shared.clock import monotonic, utc_now
from shared.errors import BulkheadError
from shared.logs import logger
from shared.messages import InDoubt, Outcome, Retry
from shared.process.periodic import wait_for_event
from shared.states import DesiredSession, SessionState
from webdriver.chromium import profile
from webdriver.chromium.browser import CallTimedOut
from webdriver.page.bridge import Bridge, PageEvent
from webdriver.page.page_events import PageEventHandler
from webdriver.session import decisions, events
from webdriver.session.browser_life import BrowserLife
from webdriver.session.connects import Connects
from webdriver.session.decide import decide, wake_at
from webdriver.session.model import DriverPhase, Ending, SessionModel
from webdriver.session.policy import SessionContext
from webdriver.session.ports import DesiredSessionRow
from webdriver.session.reports import SessionReports
from webdriver.session.resource_monitor import ResourceMonitor
from webdriver.session.start_slots import StartSlot
from webdriver.session.state_reporter import StateReporter

log = logger(__name__)

_POLL_S: Final = 0.2
"""Between two checks whether a restart that an operator asked for has begun."""
_BUSY: Final = frozenset({SessionState.STARTING, SessionState.SYNCING})
"""States in which a page may use the processor for long."""


class NotNow(BulkheadError):
    """Raised when a session cannot do what is asked in the state that it is in."""


class Session:
    """The session of one connection: the only holder of its model, which every event goes through and every action
    comes from. `run` is its life; the other methods are called on the same event loop.

    Attributes:
        sending, uploading: send slots, so that one message at a time is under way, and one with a file beside it.
        reports: the way to the store. page_events: handles what the page reports. resources: measures its browser.
    """

    def __init__(
        self, row: DesiredSessionRow, context: SessionContext, reports: Callable[[Callable[[], None]], SessionReports]
    ) -> None:
        self.connection_id = row.connection_id
        # the page carries out sends one after the other; answers would be later than the deadlines if several sends
        # waited in the page. Files have a lock of their own, so that a text can pass an upload that takes a minute.
        self.sending, self.uploading = asyncio.Lock(), asyncio.Lock()
        self.reports = reports(self._missed_something)
        self.page_events = PageEventHandler(self.reports, row.connection_id)
        self._context, self._policy = context, context.policy
        self._profile = profile.directory(context.home, row.connection_id)
        self._connects = Connects(
            profile.connects(self._profile),
            most=self._policy.connects_an_hour,
            pause_s=self._policy.quarantine_s,
            clock=time.time,
        )
        self._reporter = StateReporter(self.reports, row.connection_id, self._policy.prove_every_s, self.browser_stats)
        self._model = SessionModel(desired=row.desired, since=monotonic(), next_life_at=monotonic())
        # actions that take time, in order of decision; only `run` takes from it
        self._pending: deque[decisions.Action] = deque()
        self._wake = asyncio.Event()
        self._life: BrowserLife | None = None
        self.resources = ResourceMonitor(self._policy, self._connects, exceeded=self._happen)
        self._slot = StartSlot(context.starts)

    # what others read

    @property
    def state(self) -> SessionState:
        """What the session is."""
        return self._model.state

    @property
    def detail(self) -> str:
        """Why it is in its state, for operators."""
        return self._model.detail

    @property
    def restarts(self) -> int:
        """Lives that a failure began."""
        return self._model.restarts

    @property
    def replacements(self) -> int:
        """Planned restarts: a fresh browser in place of a healthy one."""
        return self._model.replacements

    @property
    def link(self) -> str:
        """Names the link of the page to the phone; empty while it is not known."""
        return self._model.link

    @property
    def unproved_s(self) -> float | None:
        """Seconds since the page last reported its state; None: never."""
        return None if self._model.proved_at is None else monotonic() - self._model.proved_at

    @property
    def may_burn(self) -> bool:
        """Whether its page may use the processor for long."""
        return self._model.state in _BUSY

    @property
    def pid(self) -> int | None:
        """Main process of its Chromium, None while there is none."""
        chromium = self._life.chromium if self._life else None
        return chromium.pid if chromium else None

    def page(self) -> Bridge | None:
        """Return the page of a session that is ready and accepts messages, else None.

        A link that the store does not know yet accepts none: rows are claimed for the account that the store knows.
        """
        model = self._model
        if model.link and self.reports.written_link != model.link:
            return None
        # past its deadline a replacement waits only for the sends under way: no new one may begin
        makes_way = model.replace_for and monotonic() >= model.replace_by
        if model.state is not SessionState.READY or makes_way or self._life is None:
            return None
        return self._life.bridge

    def stats(self) -> dict[str, Any]:
        """Return what health pages show."""
        unproved_s = self.unproved_s
        chromium = self._life.chromium if self._life else None
        return {
            "connectionId": self.connection_id,
            "state": self.state,
            "detail": self.detail,
            "provedAt": None if unproved_s is None else (utc_now() - timedelta(seconds=unproved_s)).isoformat(),
            "stateForSeconds": round(monotonic() - self._model.since, 1),
            "pid": self.pid,
            "sandboxed": chromium.sandboxed if chromium else None,
            "browser": self.browser_stats() or None,
        }

    def browser_stats(self) -> dict[str, Any]:
        """Return what its browser uses, as last measured, and how its life goes; empty while there is none."""
        usage = self.resources.stats()
        if not usage:
            return {}
        return {
            **usage,
            "readyAfterSeconds": self._model.ready_after_s,
            "connectsLastHour": self._connects.count(),
            "restarts": self.restarts,
        }

    # what operators and senders report

    def want(self, desired: DesiredSession) -> None:
        """Take over a changed desired state."""
        self._happen(events.DesiredChanged(desired))

    def record_outcome(self, outcome: Outcome) -> None:
        """Record the outcome of a send: after some unanswered ones in a row the page is restarted."""
        # a Retry proves nothing: nearly all are refused before the page is asked; all else but a doubt is an answer
        answered = None if isinstance(outcome, Retry) else not isinstance(outcome, InDoubt)
        self._happen(events.SendEnded(answered))

    def repeat_state(self) -> None:
        """Write the state again if the last time is long ago: readers treat an old state as unknown."""
        self._reporter.repeat(self._model, monotonic())

    async def restart(self, by: float) -> None:
        """Begin a new life now, also out of quarantine: an operator decided so. Returns when it has begun.

        Raises:
            NotNow: it did not end by the monotonic instant `by`.
        """
        # a new life is recognised by the instant of its start, whatever states were passed
        life = self._model.life_began_at
        self._happen(events.RestartAsked())
        while self._model.life_began_at == life:
            if monotonic() >= by:
                raise NotNow(f"the session is {self.state} and did not end in time")
            await asyncio.sleep(_POLL_S)

    async def pairing_code(self, phone: str, by: float) -> str:
        """Return a code to be typed into the phone with this number (digits).

        Raises:
            NotNow: the session shows no code now. PageRefused, BrowserLost, CallTimedOut, ScriptFailed: see `Bridge`.
        """
        bridge = self._life.bridge if self._life else None
        if self.state is not SessionState.NEEDS_LINK or bridge is None:
            raise NotNow(f"the session is {self.state}: it waits for no code")
        code = await bridge.pairing_code(phone, by)
        self.reports.event("pairing_code", self.state)
        return code

    @property
    def has_browser(self) -> bool:
        """Whether something of its browser may be there; also after `run`, if that did not see it end."""
        return self._life is not None

    async def wipe(self) -> None:
        """Remove the profile, and with it the link to the phone; only while no browser runs on it.

        A profile that resists is logged and stays.
        """
        try:
            await asyncio.to_thread(profile.wipe, self._profile)
        except OSError as problem:
            log.error("profile_not_wiped", connection_id=self.connection_id, exc_info=problem)
        else:
            self._connects.forget()
            self.reports.event("wiped", self.state)

    # its life

    async def run(self) -> None:
        """Keep the session in its desired state until cancelled; returns after a logout that was asked for."""
        try:
            while self._model.phase is not DriverPhase.OVER:
                if not self._pending:
                    self._happen(self._tick())
                    # everything that has happened so far has been decided
                    self._wake.clear()
                if self._pending:
                    # one at a time: a probe never meets a browser that is being ended
                    await self._perform(self._pending.popleft())
                else:
                    # woken by every event, and at the latest when the model itself wants to decide
                    await wait_for_event(self._wake, max(0.0, wake_at(self._model) - monotonic()))
                # a cancellation that met an error on its way out goes on here
                _raise_if_cancelled()
        except asyncio.CancelledError:
            self._happen(events.Stopped())
            # nothing is wrong: Chromium may write its profile
            # within the cancellation: the caller waits for this, with its own deadline
            try:
                await self._end_browser(politely=True)
            # No failure of the process: a helper that is stuck in the kernel, or that a machine under load has not yet
            # removed. Its profile stays locked, so that no other browser starts on it before that is gone.
            except (BulkheadError, OSError) as error:
                log.error("browser_not_ended", connection_id=self.connection_id, reason=str(error))
            raise

    def _tick(self) -> events.Tick:
        return events.Tick(
            connects=self._connects.count(),
            connect_wait_s=self._connects.wait_s(),
            is_sending=self.sending.locked() or self.uploading.locked(),
        )

    def _happen(self, event: events.Event) -> None:
        """Decide about an event and do at once what takes no time; the rest is done by `run`, in order."""
        # no await in here: events of the page, of senders and of `run` are decided one after the other
        now, old = monotonic(), self._model
        self._model, actions = decide(old, event, now, self._policy)
        # before the actions: the history shows a state before what follows from it
        self._reporter.changed(old, self._model, now)
        for action in actions:
            self._reporter.acted(self._model, action)
            match action:
                case decisions.KillBrowser():
                    if self._life:
                        self._life.kill()
                case decisions.ReleaseStartSlot():
                    self._slot.release()
                case decisions.StartBrowser() | decisions.Probe() | decisions.LogOut() | decisions.EndBrowser():
                    self._pending.append(action)
        self._wake.set()

    async def _perform(self, action: decisions.Action) -> None:
        """Carry out what takes time, to the event that it ends in."""
        try:
            match action:
                case decisions.StartBrowser():
                    await self._start_browser()
                case decisions.Probe():
                    await self._probe()
                case decisions.LogOut() if self._life:
                    await self._life.log_out()
                    self._happen(events.LogOutAnswered())
                case decisions.EndBrowser():
                    await self._end_browser(politely=action.ending is Ending.REPLACED)
                    if action.ending is Ending.LOGGED_OUT:
                        await self.wipe()
                    # also when the wipe failed, which is logged there: the life is over in any case
                    self._happen(events.BrowserEnded())
        except ChromiumMissing as error:
            self._happen(events.LifeFailed(str(error), chromium_missing=True))
        except Exception as error:  # noqa: BLE001 - one session's error ends this life alone
            self._failed(action, error)

    def _failed(self, action: decisions.Action, error: Exception) -> None:
        """Report that an action failed; an unforeseen one is logged with its traceback."""
        if not isinstance(error, BulkheadError | OSError):
            log.error("session_error", connection_id=self.connection_id, exc_info=error)
        reason = str(error) or type(error).__name__
        self._happen(
            events.BrowserEnded(reason) if isinstance(action, decisions.EndBrowser) else events.LifeFailed(reason)
        )

    async def _start_browser(self) -> None:
        # one of few: starting Chromiums compete with the pages that run for the processor
        await self._slot.acquire()
        self._happen(events.SlotAcquired())
        self._life = BrowserLife(
            self._context,
            self.connection_id,
            self._profile,
            handle=self._handle_event,
            moved=self._moved,
            lost=lambda reason: self._happen(events.LifeFailed(reason)),
        )
        await self._life.start(self._connects)
        self.resources.browser_started(self._life.chromium)
        self._happen(events.BrowserStarted())

    async def _probe(self) -> None:
        # it was decided while another action was under way: its life may be over
        if self._life is None or self._model.phase is not DriverPhase.FOLLOWING:
            return
        try:
            page = await self._life.probe()
        except CallTimedOut:
            self._happen(events.PageUnanswered(timed_out=True))
            return
        self._happen(events.PageUnanswered(timed_out=False) if page is None else events.PageAnswered(page))
        self.repeat_state()
        bridge = self._life.bridge
        if self.state is SessionState.READY and bridge is not None and bridge.lost_events:
            await self.page_events.catch_up(bridge)

    async def _end_browser(self, *, politely: bool) -> None:
        self._slot.release()
        self.resources.browser_ended()
        if self._life is not None:
            await self._life.end(politely=politely)
            # only now: an end that failed is repeated on the same object
            self._life = None

    # what the page reports

    def _handle_event(self, event: PageEvent) -> None:
        if event.kind == "logout":
            self._happen(events.LinkEnded())
        elif event.kind == "changed":
            self._happen(events.PageChanged())
        else:
            # our own message proves nothing: the page shows it before WhatsApp has it
            own = event.kind == "message" and isinstance(event.data, dict) and event.data.get("fromMe")
            self._happen(events.PageReported(foreign=not own))
            self.page_events.receive(event)

    def _moved(self, url: str) -> None:
        # WhatsApp Web goes to this address after a logout; its event about it may be lost with the document
        self._happen(events.LinkEnded() if "post_logout=1" in url else events.PageChanged())

    def _missed_something(self) -> None:
        if self._life and self._life.bridge:
            # reports that did not fit into the queue are queried from the page later
            self._life.bridge.lost_events = True


def _raise_if_cancelled() -> None:
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
