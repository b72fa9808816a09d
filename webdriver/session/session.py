"""One browser session: a Chromium, its page, and the state machine over both. It restarts itself and never touches another."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from shared.backoff import BackoffPolicy
from shared.clock import monotonic, utc_now
from shared.errors import BulkheadError
from shared.logs import logger
from shared.messages import InDoubt, Outcome, Retry
from shared.states import SESSION_TRANSITIONS, DesiredSession, SessionState, require_transition
from webdriver.chromium import processes, profile
from webdriver.chromium.browser import Browser, BrowserLost, CallTimedOut, ScriptFailed
from webdriver.chromium.process import Chromium, ChromiumMissing, Launch, find
from webdriver.chromium.processes import Glance, Memory
from webdriver.page.bridge import Bridge, PageEvent, PageRefused, PageState
from webdriver.page.page_events import PageEventHandler
from webdriver.session.connects import Connects
from webdriver.session.policy import SessionContext
from webdriver.session.ports import WantedSession
from webdriver.session.reports import Reports
from webdriver.session.resource_usage import ResourceUsage
from webdriver.session.start_slots import StartSlot

log = logger(__name__)

S = SessionState

_STATES: Final = {
    "QR": S.NEEDS_LINK,
    "SYNCING": S.SYNCING,
    "MAIN": S.READY,
    "OFFLINE": S.OFFLINE,
    "CONFLICT": S.CONFLICT,
}
"""wa-js's stream modes; MAIN counts only while the page is authenticated."""

_REFUSED: Final = frozenset({"PROXYBLOCK", "TOS_BLOCK", "SMB_TOS_BLOCK"})
"""Stream modes in which WhatsApp wants nothing more of us: trying again would make it worse."""

_BUSY: Final = frozenset({S.STARTING, S.SYNCING})
"""States in which a page may be busy for long."""

_LOG_OUT_ANSWER_S: Final = 10.0
_LOG_OUT_S: Final = 60.0
_SOON_S: Final = 0.2


class _Failed(BulkheadError):
    """This life of the session is over; it restarts."""


class _LoggedOut(BulkheadError):
    """The link to the phone is gone; the profile is worth nothing any more."""


class _Refused(BulkheadError):
    """WhatsApp refuses this account or address; restarting would make it worse."""


class _Replaced(BulkheadError):
    """Nothing is wrong, but a fresh browser is wanted."""


class NotNow(BulkheadError):
    """Raised when a session cannot do what is asked in the state that it is in."""


class Session:
    """The session of one connection. `run` is its life; the rest is asked by others on the same event loop.

    Attributes:
        state, detail: what is seen of it. proved_at: last answer of the page. since: monotonic instant of the last change of state.
        restarts, replacements: lives after the first: those that a failure began, and those that we wanted.
        sending, uploading: held by whoever sends, so that one message at a time is under way, and one with a file beside it.
        witness: takes what the page tells.
    """

    def __init__(self, wanted: WantedSession, context: SessionContext, reports: Callable[[Callable[[], None]], Reports]) -> None:
        self.connection_id = wanted.connection_id
        self.desired = wanted.desired
        self.state, self.detail = S.ABSENT, ""
        self.proved_at: datetime | None = None
        self.since = monotonic()
        self.restarts = self.replacements = 0
        self.sending, self.uploading = asyncio.Lock(), asyncio.Lock()
        self.reports = reports(self._missed_something)
        self.page_events = PageEventHandler(self.reports, wanted.connection_id)
        self._context, self._policy = context, context.policy
        self._profile = profile.directory(context.home, wanted.connection_id)
        self._connects = Connects(
            profile.connects(self._profile),
            most=self._policy.connects_an_hour,
            pause_s=self._policy.quarantine_s,
            clock=time.time,
        )
        self._bridge: Bridge | None = None
        self._chromium: Chromium | None = None
        self._appetite: ResourceUsage | None = None
        self._qr = ""
        self._heard_at = 0.0
        self._began_at = self._life_began_at = self._written_at = monotonic()
        self._ready_after_s: float | None = None
        self._logged_out = False
        self._unanswered = 0
        self._condemned = ""
        self._replace_for, self._replace_by, self._replaced_at = "", 0.0, float("-inf")
        self._asked_to_restart = False
        self._look, self._wake = asyncio.Event(), asyncio.Event()

    def page(self) -> Bridge | None:
        """Return the page of a session that is ready and takes messages, else None."""
        making_way = self._replace_for and monotonic() >= self._replace_by
        return self._bridge if self.state is S.READY and not making_way else None

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
            "pid": self.pid,
            "sandboxed": self._chromium.sandboxed if self._chromium else None,
            "browser": self.browser_figures() or None,
        }

    def browser_figures(self) -> dict[str, Any]:
        """Return what its browser uses, as last measured, and how its life goes; empty while there is none."""
        if self._appetite is None:
            return {}
        life = {
            "readyAfterSeconds": self._ready_after_s,
            "connectsLastHour": self._connects.count(),
            "restarts": self.restarts,
        }
        return self._appetite.figures(monotonic()) | life

    @property
    def usage(self) -> ResourceUsage | None:
        """What its browser uses; None while there is none."""
        return self._appetite

    def glance(self, seen: Glance) -> bool:
        """Take in what its browser uses now. Returns whether a closer look at its memory is due."""
        return self._appetite is not None and self._appetite.glance(seen, monotonic(), may_burn=self.state in _BUSY)

    def look_closely(self) -> Memory | None:
        """Return the memory of its browser, helpers included. Reads /proc for many milliseconds: call it in a thread."""
        # asked once: the loop may end its browser meanwhile
        chromium = self._chromium
        return processes.memory(chromium.pids()) if chromium else None

    def weigh(self, memory: Memory | None) -> None:
        """Take in the memory of its browser, where it was looked at, and act on what it is too much of."""
        if self._appetite is None or self._chromium is None:
            return
        if memory is not None:
            self._appetite.look(memory, monotonic())
        verdict, reason = self._appetite.verdict(monotonic())
        if verdict == "kill" and not self._condemned:
            self._condemn(reason)
            self._chromium.kill()
        elif verdict == "recycle":
            self.replace(reason)

    def replace(self, reason: str) -> None:
        """Have a fresh browser at the next quiet moment, unless there was one just now or the account connects too often as it is."""
        policy = self._policy
        if (
            self._replace_for
            or monotonic() - self._replaced_at < policy.replace_apart_s
            or self._connects.count() * 2 > policy.connects_an_hour
        ):
            return
        self._replace_for, self._replace_by = reason, monotonic() + policy.recycle_within_s
        log.info("session_replacement_due", connection_id=self.connection_id, reason=reason)

    def judge(self, outcome: Outcome) -> None:
        """Take in what came of a send: a page that says it is well but whose sends nobody answers is not."""
        if not isinstance(outcome, InDoubt):
            self._unanswered = 0 if not isinstance(outcome, Retry) else self._unanswered
            return
        self._unanswered += 1
        if self._unanswered >= self._policy.deaf_after and self._bridge is not None:
            self._condemn(f"the page says that it is well, but {self._unanswered} sends in a row were not answered")

    def want(self, desired: DesiredSession) -> None:
        """Take over a changed desired state. A logout does not wait for the end of a backoff or a quarantine."""
        if desired is not self.desired and desired is DesiredSession.LOGGED_OUT:
            self._wake.set()
        self.desired = desired
        self._look.set()

    def tell_again(self) -> None:
        """Write what is seen again, if the last time is long ago: what nobody confirms is not believed."""
        if monotonic() - self._written_at >= self._policy.prove_every_s and self.reports.are_taken:
            self._write()

    async def restart(self, by: float) -> None:
        """Begin a new life now, also out of quarantine: somebody decided so. Returns when it has begun.

        Raises:
            NotNow: it did not end by the monotonic instant `by`.
        """
        life = self._life_began_at
        self._asked_to_restart = True
        self._look.set()
        self._wake.set()
        while self._life_began_at == life:
            if monotonic() >= by:
                raise NotNow(f"the session is {self.state} and did not end in time")
            await asyncio.sleep(_SOON_S)

    async def pairing_code(self, phone: str, by: float) -> str:
        """Return a code to be typed into the phone with this number (digits).

        Raises:
            NotNow: the session shows no code now. PageRefused, BrowserLost, CallTimedOut, ScriptFailed: see `Bridge`.
        """
        if self.state is not S.NEEDS_LINK or self._bridge is None:
            raise NotNow(f"the session is {self.state}: it waits for no code")
        code = await self._bridge.pairing_code(phone, by)
        self.reports.event("pairing_code", self.state)
        return code

    # its life

    async def run(self) -> None:
        """Keep the session as it should be until cancelled; returns after a logout that was asked for."""
        attempt = 1
        try:
            while True:
                somebody_decided = self._asked_to_restart or self.desired is DesiredSession.LOGGED_OUT
                if (wait_s := self._connects.wait_s()) and not somebody_decided:
                    self._quarantine(
                        f"{self._connects.count()} connects within an hour; last: {self.detail or 'a life of an earlier process'}",
                        wait_s,
                    )
                    await self._rest(wait_s)
                    continue
                self._asked_to_restart = False
                self._life_began_at = started = monotonic()
                pause_s = await self._one_life(attempt)
                # a cancellation that met an error on its way out goes on here
                _raise_if_cancelled()
                if self.desired is DesiredSession.LOGGED_OUT and self.state is S.LOGGED_OUT:
                    return
                if self.state is S.ABSENT:
                    self.replacements += 1
                    continue
                attempt = 2 if monotonic() - started >= self._policy.stable_s else attempt + 1
                await self._rest(pause_s)
                self.restarts += 1
        except asyncio.CancelledError:
            self._become(S.ABSENT, "stopped")
            raise

    async def _rest(self, for_s: float) -> None:
        """Wait, unless somebody asks for a restart."""
        self._wake.clear()
        if not self._asked_to_restart:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), for_s)

    async def _one_life(self, attempt: int) -> float:
        """Live once; return how long to wait before the next life, in seconds."""
        policy = self._policy
        try:
            await self._live()
        except _Replaced as reason:
            self._replaced_at = monotonic()
            log.info("session_replaced", connection_id=self.connection_id, reason=str(reason))
            return 0.0
        except _LoggedOut as error:
            self._become(S.LOGGED_OUT, str(error))
            await self.wipe()
        except ChromiumMissing as error:
            self._become(S.BACKING_OFF, str(error))
            if attempt == 1:
                log.error("chromium_missing", connection_id=self.connection_id, reason=str(error))
            return policy.missing_chromium_s
        except (BulkheadError, OSError) as error:
            self._become(S.BACKING_OFF, str(error))
            log.warning(
                "session_failed",
                connection_id=self.connection_id,
                error=type(error).__name__,
                reason=str(error),
                attempt=attempt,
            )
            if isinstance(error, _Refused):
                self._quarantine(str(error), policy.quarantine_s)
                return policy.quarantine_s
        return BackoffPolicy(base_s=policy.backoff_base_s, cap_s=policy.backoff_cap_s).jittered_s(attempt)

    async def wipe(self) -> None:
        """Remove the profile, and with it the link to the phone; only while no browser runs on it. A profile that resists is logged and stays."""
        try:
            await asyncio.to_thread(profile.wipe, self._profile)
            self._connects.forget()
        except OSError as problem:
            log.error("profile_not_wiped", connection_id=self.connection_id, exc_info=problem)
        else:
            self.reports.event("wiped", self.state)

    def _quarantine(self, reason: str, for_s: float) -> None:
        if self.state is S.LOGGED_OUT:
            self._become(S.BACKING_OFF, reason)
        self._become(S.QUARANTINED, reason)
        log.error("session_quarantined", connection_id=self.connection_id, reason=reason, for_s=round(for_s, 1))

    async def _live(self) -> None:
        """One life: start the browser, follow the page. Always leaves by an error."""
        self._become(S.STARTING, "")
        self._logged_out, self._condemned, self._replace_for, self._unanswered, self._ready_after_s = (
            False,
            "",
            "",
            0,
            None,
        )
        browser: Browser | None = None
        turn = StartSlot(self._context.starts)
        try:
            await turn.take()
            self._began_at = monotonic()
            by = self._began_at + self._policy.start_s
            launch = Launch(
                executable=find(self._context.chromium_path),
                profile=self._profile,
                marker=processes.mark(self._context.home, self.connection_id),
                keep_open=(self._context.slot_lock_fd,) if self._context.slot_lock_fd >= 0 else (),
                flags=self._context.flags,
            )
            self._connects.note()
            self._chromium = await Chromium.start(launch, by)
            self._appetite = ResourceUsage(self._policy, monotonic())
            self._chromium.gone.add_done_callback(lambda _: self._look.set())
            browser = await Browser.open(self._chromium.pipe, by)
            browser.lost.add_done_callback(lambda _: self._look.set())
            browser.on_navigated(self._navigated)
            if self._context.web_build is not None:
                await browser.pin(self._context.url, await asyncio.to_thread(self._context.web_build.read_bytes), by)
            self._bridge = Bridge(browser, self._context.page_library, self._heard)
            await self._bridge.open(self._context.url, by)
            log.info(
                "browser_started",
                connection_id=self.connection_id,
                pid=self._chromium.pid,
                sandboxed=self._chromium.sandboxed,
            )
            await self._follow(browser, self._bridge, turn)
        except (asyncio.CancelledError, _Replaced):
            # nothing is wrong: Chromium may write its profile
            if (
                browser is not None
                and self._chromium is not None
                and await browser.close(monotonic() + self._policy.close_s)
            ):
                await asyncio.wait({self._chromium.gone}, timeout=self._policy.close_s)
            raise
        finally:
            turn.give_back()
            self._bridge, self._appetite, self._qr = None, None, ""
            chromium, self._chromium = self._chromium, None
            if browser is not None:
                await browser.close(monotonic())
            if chromium is not None:
                await chromium.end()

    async def _follow(self, browser: Browser, bridge: Bridge, turn: StartSlot) -> None:
        policy = self._policy
        followed_at = answered_at = monotonic()
        while True:
            self._look.clear()
            asked_at = monotonic()
            page = await self._ask(bridge)
            if page is not None:
                answered_at = monotonic()
                self._see(page)
            if self._logged_out:
                raise _LoggedOut(
                    "logged out" if self.desired is DesiredSession.LOGGED_OUT else "the link was ended on the phone"
                )
            if self._condemned:
                raise _Failed(self._condemned)
            if browser.lost.done():
                raise _Failed(browser.lost.result())
            if monotonic() - answered_at >= policy.silent_s:
                raise _Failed("the page is hung")
            if self.state is not S.STARTING:
                turn.give_back()
            if monotonic() - max(self.since, followed_at) >= policy.longest.get(self.state, math.inf):
                raise _Failed(
                    "the page never loaded" if self.state is S.STARTING else f"the page is {self.state} and stays so"
                )
            if self.desired is DesiredSession.LOGGED_OUT:
                await self._log_out(bridge)
            self._make_way()
            if self.state is S.READY and bridge.lost_events:
                await self.page_events.catch_up(bridge)
            self._trim_log()
            # a page that is loading, or that left a question open, is asked again soon
            pause_s = (
                policy.probe_every_s if page is not None and page.mode else max(0.0, _SOON_S - (monotonic() - asked_at))
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), pause_s)

    def _make_way(self) -> None:
        """Leave by `_Replaced` when somebody asked for a restart, or when a fresh browser is due and nothing is in hand."""
        if self._asked_to_restart:
            self._become(S.ABSENT, "a restart was asked for")
            raise _Replaced(self.detail)
        if not self._replace_for or self.sending.locked() or self.uploading.locked():
            return
        is_quiet = monotonic() - self._heard_at >= self._policy.quiet_s
        if is_quiet or monotonic() >= self._replace_by:
            self._become(S.ABSENT, self._replace_for)
            self.reports.event("replaced", S.ABSENT, self._replace_for)
            raise _Replaced(self._replace_for)

    def _condemn(self, reason: str) -> None:
        self._condemned = reason
        self._look.set()

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
        if state is S.READY and self._ready_after_s is None:
            self._ready_after_s = round(monotonic() - self._began_at, 1)
        if state is not self.state or qr != self._qr:
            self._qr = qr
            self._become(state, "")
        else:
            self.tell_again()

    def _become(self, state: SessionState, detail: str) -> None:
        if state is not self.state:
            require_transition(SESSION_TRANSITIONS, self.state, state)
            log.info(
                "session_state_changed", connection_id=self.connection_id, old=self.state, new=state, detail=detail
            )
            self.reports.event(
                "linked" if self.state is S.NEEDS_LINK and state in (S.SYNCING, S.READY) else "state", state, detail
            )
            self.since = monotonic()
        self.state, self.detail = state, detail
        self._write()

    def _write(self) -> None:
        self._written_at = monotonic()
        qr = self._qr if self.state is S.NEEDS_LINK else ""
        self.reports.observed(
            self.state, detail=self.detail, qr=qr, proved_at=self.proved_at, figures=self.browser_figures()
        )

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
        if event.kind in ("changed", "logout"):
            self._logged_out = self._logged_out or event.kind == "logout"
            self._look.set()
            return
        self._heard_at = monotonic()
        if not (event.kind == "message" and isinstance(event.data, dict) and event.data.get("fromMe")):
            # what came from elsewhere proves that the page's line lives
            self._unanswered = 0
        self.page_events.heard(event)

    def _navigated(self, url: str) -> None:
        self._logged_out = self._logged_out or "post_logout=1" in url
        self._look.set()

    def _missed_something(self) -> None:
        if self._bridge:
            self._bridge.lost_events = True

    def _trim_log(self) -> None:
        if self._chromium:
            self._chromium.trim_log()


def _raise_if_cancelled() -> None:
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
