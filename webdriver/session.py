"""One browser session: a Chromium, its page, and the state machine over both. It restarts itself and never touches another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from shared.backoff import full_jitter
from shared.clock import monotonic, utc_now
from shared.errors import BulkheadError
from shared.logs import logger
from shared.states import SESSION_TRANSITIONS, DesiredSession, SessionState, require_transition
from webdriver import processes, profile
from webdriver.bridge import Bridge, PageEvent, PageRefused, PageState
from webdriver.browser import Browser, BrowserLost, CallTimedOut, ScriptFailed
from webdriver.chromium import Chromium, ChromiumMissing, Launch, find
from webdriver.ports import WantedSession
from webdriver.reports import Reports
from webdriver.witness import Witness

log = logger(__name__)

S = SessionState

_STATES: Final = {"QR": S.NEEDS_LINK, "SYNCING": S.SYNCING, "MAIN": S.READY, "OFFLINE": S.OFFLINE, "CONFLICT": S.CONFLICT}
"""wa-js's stream modes; MAIN counts only while the page is authenticated."""

_REFUSED: Final = frozenset({"PROXYBLOCK", "TOS_BLOCK", "SMB_TOS_BLOCK"})
"""Stream modes in which WhatsApp wants nothing more of us: trying again would make it worse."""

_LOG_OUT_ANSWER_S: Final = 10.0
_LOG_OUT_S: Final = 60.0
_SOON_S: Final = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionPolicy:
    """How patient a session is. Durations in seconds.

    Attributes:
        start_s: for Chromium and its tab. load_s: until the page shows any state. probe_every_s, probe_within_s: between two questions to
            the page, and for one answer. silent_s: a page without an answer for so long counts as hung: after two
            unanswered questions, 13 seconds after it hung at the latest.
        prove_every_s: how often a proof of life is written while nothing changes.
        backoff_base_s, backoff_cap_s, stable_s: wait before a restart; a life of `stable_s` resets it.
        restarts_an_hour: more than so many, and the session is quarantined for `quarantine_s`: an account that reconnects all the time is banned.
    """

    start_s: float = 20.0
    load_s: float = 60.0
    probe_every_s: float = 3.0
    probe_within_s: float = 5.0
    silent_s: float = 9.5
    prove_every_s: float = 5.0
    close_s: float = 3.0
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    stable_s: float = 60.0
    restarts_an_hour: int = 20
    quarantine_s: float = 900.0
    missing_chromium_s: float = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What all sessions of this process stand on.

    Attributes:
        chromium_path, url: settings, the address already resolved. slot_lock_fd: inherited by every Chromium; -1: none.
        page_library: gives wa-js's source. starts: limits how many sessions start at once.
    """

    home: Path
    chromium_path: str
    url: str
    slot_lock_fd: int
    page_library: Callable[[], Awaitable[str]]
    starts: asyncio.Semaphore
    policy: SessionPolicy


class _Failed(BulkheadError):
    """This life of the session is over; it restarts."""


class _LoggedOut(BulkheadError):
    """The link to the phone is gone; the profile is worth nothing any more."""


class _Refused(BulkheadError):
    """WhatsApp refuses this account or address; restarting would make it worse."""


class Session:
    """The session of one connection. `run` is its life; the rest is asked by others on the same event loop.

    Attributes:
        state, detail: what is seen of it. proved_at: last answer of the page. since: monotonic instant of the last change of state.
        sending: held by whoever sends, so that one message at a time is under way. witness: takes what the page tells.
    """

    def __init__(self, wanted: WantedSession, ground: Ground, reports: Callable[[Callable[[], None]], Reports]) -> None:
        self.connection_id = wanted.connection_id
        self.desired = wanted.desired
        self.state, self.detail = S.ABSENT, ""
        self.proved_at: datetime | None = None
        self.since = monotonic()
        self.restarts = 0
        self.sending = asyncio.Lock()
        self.reports = reports(self._missed_something)
        self.witness = Witness(self.reports, wanted.connection_id)
        self._ground, self._policy = ground, ground.policy
        self._profile = profile.directory(ground.home, wanted.connection_id)
        self._bridge: Bridge | None = None
        self._chromium: Chromium | None = None
        self._qr = ""
        self._written_at = 0.0
        self._logged_out = False
        self._look = asyncio.Event()
        self._started_at: deque[float] = deque()

    def page(self) -> Bridge | None:
        """Return the page of a session that is ready, else None."""
        return self._bridge if self.state is S.READY else None

    @property
    def pid(self) -> int | None:
        """Main process of its Chromium, None while there is none."""
        return self._chromium.pid if self._chromium else None

    def figures(self) -> dict[str, Any]:
        """Return what health pages show."""
        return {
            "connectionId": self.connection_id,
            "state": self.state,
            "detail": self.detail,
            "provedAt": self.proved_at.isoformat() if self.proved_at else None,
            "stateForSeconds": round(monotonic() - self.since, 1),
            "restarts": self.restarts,
            "pid": self.pid,
        }

    def memory_mb(self) -> dict[str, float]:
        """Return the memory of its Chromium, helpers included. Reads /proc for many milliseconds: call it in a thread."""
        return processes.resident_mb(self._chromium.pids()) if self._chromium else {"rss": 0.0, "pss": 0.0}

    def want(self, desired: DesiredSession) -> None:
        """Take over a changed desired state."""
        self.desired = desired
        self._look.set()

    # its life

    async def run(self) -> None:
        """Keep the session as it should be until cancelled; returns after a logout that was asked for."""
        attempt = 1
        try:
            while True:
                started = monotonic()
                wait_s = await self._one_life(attempt)
                # a cancellation that met an error on its way out goes on here
                _raise_if_cancelled()
                if self.desired is DesiredSession.LOGGED_OUT and self.state is S.LOGGED_OUT:
                    return
                attempt = 2 if monotonic() - started >= self._policy.stable_s else attempt + 1
                await asyncio.sleep(wait_s)
                self.restarts += 1
        except asyncio.CancelledError:
            self._become(S.ABSENT, "stopped")
            raise

    async def _one_life(self, attempt: int) -> float:
        """Live once; return how long to wait before the next life."""
        policy = self._policy
        try:
            await self._live()
        except _LoggedOut as error:
            self._become(S.LOGGED_OUT, str(error))
            try:
                await asyncio.to_thread(profile.wipe, self._profile)
            except OSError as problem:
                log.error("profile_not_wiped", connection_id=self.connection_id, exc_info=problem)
        except ChromiumMissing as error:
            self._become(S.BACKING_OFF, str(error))
            if attempt == 1:
                log.error("chromium_missing", connection_id=self.connection_id, reason=str(error))
            return policy.missing_chromium_s
        except (BulkheadError, OSError) as error:
            self._become(S.BACKING_OFF, str(error))
            log.warning("session_failed", connection_id=self.connection_id, error=type(error).__name__, reason=str(error), attempt=attempt)
            if isinstance(error, _Refused):
                return self._quarantine(str(error))
        now = monotonic()
        self._started_at.append(now)
        while self._started_at[0] < now - 3600:
            self._started_at.popleft()
        if len(self._started_at) > policy.restarts_an_hour:
            return self._quarantine(f"{len(self._started_at)} restarts within an hour; last: {self.detail}")
        return full_jitter(attempt + 1, policy.backoff_base_s, policy.backoff_cap_s)

    def _quarantine(self, reason: str) -> float:
        if self.state is S.LOGGED_OUT:
            self._become(S.BACKING_OFF, reason)
        self._become(S.QUARANTINED, reason)
        log.error("session_quarantined", connection_id=self.connection_id, reason=reason, for_s=self._policy.quarantine_s)
        # afterwards one more failure within the hour is enough
        return self._policy.quarantine_s

    async def _live(self) -> None:
        """One life: start the browser, follow the page. Always leaves by an error."""
        self._become(S.STARTING, "")
        self._logged_out = False
        browser: Browser | None = None
        turn = _Turn(self._ground.starts)
        try:
            await turn.take()
            by = monotonic() + self._policy.start_s
            launch = Launch(
                executable=find(self._ground.chromium_path),
                profile=self._profile,
                marker=processes.mark(self._ground.home, self.connection_id),
                keep_open=(self._ground.slot_lock_fd,) if self._ground.slot_lock_fd >= 0 else (),
            )
            self._chromium = await Chromium.start(launch, by)
            self._chromium.gone.add_done_callback(lambda _: self._look.set())
            browser = await Browser.open(self._chromium.endpoint, by)
            browser.lost.add_done_callback(lambda _: self._look.set())
            browser.on_navigated(self._navigated)
            self._bridge = Bridge(browser, self._ground.page_library, self._heard)
            await self._bridge.open(self._ground.url, by)
            log.info("browser_started", connection_id=self.connection_id, pid=self._chromium.pid)
            await self._follow(browser, self._bridge, turn)
        except asyncio.CancelledError:
            # we are asked to stop and nothing is wrong: Chromium may write its profile
            if browser is not None and self._chromium is not None and await browser.close(monotonic() + self._policy.close_s):
                await asyncio.wait({self._chromium.gone}, timeout=self._policy.close_s)
            raise
        finally:
            turn.give_back()
            self._bridge, self._qr = None, ""
            chromium, self._chromium = self._chromium, None
            if browser is not None:
                await browser.close(monotonic())
            if chromium is not None:
                await chromium.end()

    async def _follow(self, browser: Browser, bridge: Bridge, turn: _Turn) -> None:
        policy = self._policy
        load_by = answered_at = monotonic()
        load_by += policy.load_s
        while True:
            self._look.clear()
            asked_at = monotonic()
            page = await self._ask(bridge)
            if page is not None:
                answered_at = monotonic()
                self._see(page)
            if self._logged_out:
                raise _LoggedOut("logged out" if self.desired is DesiredSession.LOGGED_OUT else "the link was ended on the phone")
            if browser.lost.done():
                raise _Failed(browser.lost.result())
            if monotonic() - answered_at >= policy.silent_s:
                raise _Failed("the page is hung")
            if self.state is not S.STARTING:
                turn.give_back()
            elif monotonic() >= load_by:
                raise _Failed("the page never loaded")
            if self.desired is DesiredSession.LOGGED_OUT:
                await self._log_out(bridge)
            if self.state is S.READY and bridge.lost_events:
                await self.witness.catch_up(bridge)
            self._trim_log()
            # a page that is loading, or that left a question open, is asked again soon
            pause_s = policy.probe_every_s if page is not None and page.mode else max(0.0, _SOON_S - (monotonic() - asked_at))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), pause_s)

    async def _ask(self, bridge: Bridge) -> PageState | None:
        """Ask the page how it is; None when it did not answer."""
        try:
            return await bridge.probe(monotonic() + self._policy.probe_within_s)
        except CallTimedOut:
            if self.state is S.READY:
                self._become(S.DEGRADED, "the page does not answer")
        except (BrowserLost, ScriptFailed, PageRefused) as error:
            # also how a document ends that another one follows
            log.debug("probe_unanswered", connection_id=self.connection_id, reason=str(error))
        return None

    def _see(self, page: PageState) -> None:
        """Take over what the page says."""
        self.proved_at = utc_now()
        if not page.loaded or not page.mode:
            return
        if page.mode in _REFUSED:
            raise _Refused(f"WhatsApp answers {page.mode}")
        if page.mode not in _STATES:
            raise _Failed(f"WhatsApp answers {page.mode}")
        state = _STATES[page.mode]
        if state is S.READY and not page.authenticated:
            state = S.SYNCING
        if state is S.READY and page.info == "OFFLINE":
            state = S.OFFLINE
        qr = page.code if state is S.NEEDS_LINK else ""
        if state is not self.state or qr != self._qr:
            self._qr = qr
            self._become(state, "")
        elif monotonic() - self._written_at >= self._policy.prove_every_s:
            self._write()

    def _become(self, state: SessionState, detail: str) -> None:
        if state is not self.state:
            require_transition(SESSION_TRANSITIONS, self.state, state)
            log.info("session_state_changed", connection_id=self.connection_id, old=self.state, new=state, detail=detail)
            self.since = monotonic()
        self.state, self.detail = state, detail
        self._write()

    def _write(self) -> None:
        self._written_at = monotonic()
        self.reports.observed(self.state, detail=self.detail, qr=self._qr if self.state is S.NEEDS_LINK else "", proved_at=self.proved_at)

    async def _log_out(self, bridge: Bridge) -> None:
        if self.state is S.READY:
            # the page answers, or leaves at once for its new address: both are right
            with suppress(BrowserLost, CallTimedOut, ScriptFailed, PageRefused):
                await bridge.log_out(monotonic() + _LOG_OUT_ANSWER_S)
            raise _LoggedOut("logged out")
        if self.state is S.NEEDS_LINK:
            raise _LoggedOut("was not linked")
        if monotonic() - self.since >= _LOG_OUT_S:
            raise _LoggedOut("the phone could not be told; remove the device there")

    # what the page tells

    def _heard(self, event: PageEvent) -> None:
        if event.kind in ("message", "ack"):
            self.witness.heard(event)
        else:
            self._logged_out = self._logged_out or event.kind == "logout"
            self._look.set()

    def _navigated(self, url: str) -> None:
        self._logged_out = self._logged_out or "post_logout=1" in url
        self._look.set()

    def _missed_something(self) -> None:
        if self._bridge:
            self._bridge.lost_events = True

    def _trim_log(self) -> None:
        if self._chromium:
            with suppress(FileNotFoundError):
                self._chromium.trim_log()


def _raise_if_cancelled() -> None:
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Turn:
    """A place among the sessions that start at the same time; given back once."""

    def __init__(self, starts: asyncio.Semaphore) -> None:
        self._starts, self._held = starts, False

    async def take(self) -> None:
        await self._starts.acquire()
        self._held = True

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._starts.release()
