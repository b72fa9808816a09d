"""Every decision about a browser session, as one pure function of model, event and time.

`Session` carries the actions out. Histories of events are replayed as data in tests/webdriver/test_decide.py.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from shared.backoff import BackoffPolicy
from shared.states import SESSION_TRANSITIONS, DesiredSession, SessionState, require_transition
from webdriver.page.bridge import PageState
from webdriver.session import decisions, events
from webdriver.session.model import DriverPhase, Ending, SessionModel
from webdriver.session.policy import SessionPolicy

S = SessionState

STATES: Final = {
    "QR": S.NEEDS_LINK,
    "SYNCING": S.SYNCING,
    "MAIN": S.READY,
    "OFFLINE": S.OFFLINE,
    "CONFLICT": S.CONFLICT,
}
"""wa-js's stream modes; MAIN counts only while the page is authenticated."""

REFUSALS: Final = frozenset({"PROXYBLOCK", "TOS_BLOCK", "SMB_TOS_BLOCK"})
"""Stream modes in which WhatsApp refuses the account: trying again would make it worse."""

LOG_OUT_S: Final = 60.0
"""How long a logout waits for a page that can notify the phone."""
SOON_S: Final = 0.2
"""Between two probes of a page that loads, or that left the last one open."""

_BUSY: Final = frozenset({S.STARTING, S.SYNCING})
"""States in which a page may be too busy to answer in time."""
_UNPROVED: Final = frozenset({S.STARTING, S.DEGRADED})
"""States that claim nothing about the page."""


def decide(
    model: SessionModel,
    event: events.Event,
    now: float,
    policy: SessionPolicy,
    uniform: Callable[[float, float], float] = random.uniform,
) -> tuple[SessionModel, tuple[decisions.Action, ...]]:
    """Return the session after `event` and what is to be done, in order.

    Args:
        now: monotonic instant of the event. uniform: source of jitter.
    Raises:
        IllegalTransition: a bug: `SESSION_TRANSITIONS` does not list the step.
    """
    # changes are collected in a mutable object and leave it as one frozen model, so that a step is whole or not at all
    decision = _Decision(model, now, policy, uniform)
    decision.handle(event)
    return decision.model, tuple(decision.actions)


def wake_at(model: SessionModel) -> float:
    """Return the instant of the next `Tick` that may decide something."""
    return model.next_life_at if model.phase is DriverPhase.WAITING else model.probe_at


class _Decision:
    """One call of `decide`."""

    def __init__(
        self, model: SessionModel, now: float, policy: SessionPolicy, uniform: Callable[[float, float], float]
    ) -> None:
        self.model, self._now, self._policy, self._uniform = model, now, policy, uniform
        self.actions: list[decisions.Action] = []

    def handle(self, event: events.Event) -> None:  # noqa: PLR0912 - one branch for each event that there is
        match event:
            case events.Tick():
                self._tick(event)
            case events.DesiredChanged(desired):
                self._desire(desired)
            case events.RestartAsked():
                self._change(restart_asked=True)
                self._hurry()
            # the wait for a start slot does not count as time that the browser takes to be ready
            case events.SlotAcquired():
                self._change(browser_began_at=self._now)
            # since the clock of `silent_s` begins here, the start of Chromium does not count against the page
            case events.BrowserStarted() if self.model.phase is DriverPhase.STARTING:
                self._change(
                    phase=DriverPhase.FOLLOWING, followed_at=self._now, answered_at=self._now, probe_at=self._now
                )
            case events.LifeFailed():
                self._fail(event.reason, Ending.CHROMIUM_MISSING if event.chromium_missing else Ending.FAILED)
            case events.BrowserEnded():
                self._ended(event)
            case events.PageAnswered(page):
                self._answered(page)
            case events.PageUnanswered():
                self._unanswered(event)
            case events.PageChanged():
                self._change(probe_at=self._now)
            case events.PageReported():
                # an event from elsewhere proves that the page's connection to WhatsApp works
                unanswered = 0 if event.foreign else self.model.unanswered_sends
                self._change(reported_at=self._now, unanswered_sends=unanswered)
            # only noted: `_follow` ends the life in order, at the next tick
            case events.LinkEnded():
                self._change(link_ended=True, probe_at=self._now)
            case events.LogOutAnswered() if self.model.phase is DriverPhase.FOLLOWING:
                self._end(Ending.LOGGED_OUT, "logged out")
            case events.SendEnded():
                self._send_ended(event)
            case events.TooMuchUsed():
                self._too_much_used(event)
            case events.Stopped():
                self._enter(S.ABSENT, "stopped")
                self._change(phase=DriverPhase.ENDING)
            case events.BrowserStarted() | events.LogOutAnswered():
                # the life ended meanwhile
                return

    # between two lives

    def _desire(self, desired: DesiredSession) -> None:
        if desired is self.model.desired:
            return
        self._change(desired=desired)
        if desired is DesiredSession.LOGGED_OUT:
            # a logout does not wait for the end of a backoff or a quarantine
            self._hurry()

    def _hurry(self) -> None:
        if self.model.phase is DriverPhase.WAITING:
            self._change(next_life_at=self._now)
        else:
            self._change(probe_at=self._now)

    def _begin(self, tick: events.Tick) -> None:
        model = self.model
        decided = model.restart_asked or model.desired is DesiredSession.LOGGED_OUT
        # the limit guards against loops: what an operator asks for does not wait
        if tick.connect_wait_s and not decided:
            last = model.detail or "a life of an earlier process"
            self._quarantine(f"{tick.connects} connects within an hour; last: {last}", tick.connect_wait_s)
            self._change(next_life_at=self._now + tick.connect_wait_s)
            return
        self._change(
            phase=DriverPhase.STARTING,
            ending=None,
            life_began_at=self._now,
            browser_began_at=self._now,
            answered_at=None,
            link_ended=False,
            asked_to_log_out=False,
            replace_for="",
            restart_asked=False,
            unanswered_sends=0,
            ready_after_s=None,
        )
        self._enter(S.STARTING, "")
        self.actions.append(decisions.StartBrowser())

    def _ended(self, event: events.BrowserEnded) -> None:
        model, policy = self.model, self._policy
        if event.problem:
            if model.state not in (S.BACKING_OFF, S.QUARANTINED):
                # something of the old browser survived SIGKILL: the next life waits as after a failure, and `claim`
                # refuses the profile
                self._enter(S.BACKING_OFF, event.problem)
            self._change(ending=Ending.FAILED)
        if self.model.ending is Ending.LOGGED_OUT and model.desired is DesiredSession.LOGGED_OUT:
            self._change(phase=DriverPhase.OVER)
            return
        if self.model.ending is Ending.REPLACED:
            self._change(replacements=model.replacements + 1, replaced_at=self._now)
            # a replacement is no failure, and messages are waiting: no pause
            pause_s = 0.0
        else:
            # a long life shows that starting works: only short lives in a row lengthen the pause
            failures = 1 if self._now - model.life_began_at >= policy.stable_s else model.failures + 1
            self._change(failures=failures, restarts=model.restarts + 1)
            match self.model.ending:
                # a fixed interval, no backoff: an operator installs Chromium at some time, and the check only looks at
                # a path
                case Ending.CHROMIUM_MISSING:
                    pause_s = policy.missing_chromium_s
                case Ending.REFUSED:
                    pause_s = policy.quarantine_s
                case _:
                    # with jitter: sessions that failed at the same time would otherwise start at the same time
                    backoff = BackoffPolicy(base_s=policy.backoff_base_s, cap_s=policy.backoff_cap_s)
                    pause_s = backoff.jittered_s(failures, self._uniform)
        self._change(phase=DriverPhase.WAITING, next_life_at=self._now + pause_s)
        if self.model.restart_asked:
            self._hurry()

    # while a browser runs

    def _tick(self, tick: events.Tick) -> None:
        model = self.model
        if model.phase is DriverPhase.WAITING and self._now >= model.next_life_at:
            self._begin(tick)
        elif model.phase is DriverPhase.FOLLOWING:
            self._follow(tick)

    def _follow(self, tick: events.Tick) -> None:
        """Check the session's limits, the most conclusive ones about the page first."""
        model, policy, now = self.model, self._policy, self._now
        # first: without a link nothing below can succeed
        if model.link_ended:
            by_us = model.desired is DesiredSession.LOGGED_OUT
            self._end(Ending.LOGGED_OUT, "logged out" if by_us else "the link was ended on the phone")
        # the script itself is silent, whatever state it reported last
        elif model.answered_at is not None and now - model.answered_at >= policy.silent_s:
            self._fail("the page is hung")
        # a page that answers but does not progress; `followed_at`, since STARTING includes the wait for a slot
        elif now - max(model.since, model.followed_at) >= policy.longest.get(model.state, math.inf):
            self._fail(
                "the page never loaded" if model.state is S.STARTING else f"the page is {model.state} and stays so"
            )
        elif model.desired is DesiredSession.LOGGED_OUT and self._log_out():
            return
        # after the logout, which ends the life as well
        elif model.restart_asked:
            self._end(Ending.REPLACED, "a restart was asked for")
        # never during a send, which would end in doubt; past `replace_by` new sends wait for it (`Session.page`)
        elif model.replace_for and not tick.is_sending and self._may_replace():
            self._end(Ending.REPLACED, model.replace_for)
            self.actions.append(decisions.Record("replaced", S.ABSENT, model.replace_for))
        elif now >= model.probe_at:
            # set again by the answer
            self._change(probe_at=now + SOON_S)
            self.actions.append(decisions.Probe())

    def _may_replace(self) -> bool:
        # what arrives during a replacement is found by catch-up only: better in a quiet moment
        is_quiet = self._now - self.model.reported_at >= self._policy.quiet_s
        return is_quiet or self._now >= self.model.replace_by

    def _log_out(self) -> bool:
        """Take the next step of a logout. Returns False while there is nothing to do but wait."""
        model = self.model
        if model.state is S.NEEDS_LINK:
            self._end(Ending.LOGGED_OUT, "was not linked")
        # asked once: if the page does not answer, the limit below ends the wait
        elif model.state is S.READY and not model.asked_to_log_out:
            self._change(asked_to_log_out=True)
            self.actions.append(decisions.LogOut())
        elif self._now - model.since >= LOG_OUT_S:
            self._end(Ending.LOGGED_OUT, "the phone could not be notified; remove the device there")
        else:
            return False
        return True

    def _answered(self, page: PageState) -> None:
        if self.model.phase is not DriverPhase.FOLLOWING:
            return
        self._change(answered_at=self._now, probe_at=self._now + SOON_S)
        if not page.loaded or not page.mode:
            # the script answers, but the document has not shown a state: what an earlier document showed is not valid
            # any more
            if self.model.state not in _UNPROVED:
                self._enter(S.DEGRADED, "the page loads again")
            return
        # before the table of states: an unknown mode is a failure with a short pause, a refusal is one with a long
        # pause
        if page.mode in REFUSALS:
            self._fail(f"WhatsApp answers {page.mode}", Ending.REFUSED)
        elif page.mode not in STATES:
            self._fail(f"WhatsApp answers {page.mode}")
        else:
            self._show(page)

    def _show(self, page: PageState) -> None:
        """Take over the state that a loaded page reports."""
        self._change(proved_at=self._now, probe_at=self._now + self._policy.probe_every_s)
        state = STATES[page.mode]
        # the stream may be in MAIN before the account is
        if state is S.READY and not page.authenticated:
            state = S.SYNCING
        # the mode may still be MAIN while the connection to WhatsApp is down
        if state is S.READY and page.info == "OFFLINE":
            state = S.OFFLINE
        if state is S.READY and self.model.ready_after_s is None:
            self._change(ready_after_s=round(self._now - self.model.browser_began_at, 1))
        # `linked` is recorded once for each scan, not at each restart of a linked session
        is_new = self.model.was_unlinked and state in (S.SYNCING, S.READY)
        self._change(link=page.link, was_unlinked=state is S.NEEDS_LINK or (self.model.was_unlinked and not is_new))
        self._enter(state, "", qr=page.code if state is S.NEEDS_LINK else "", event="linked" if is_new else "state")

    def _unanswered(self, event: events.PageUnanswered) -> None:
        if self.model.phase is not DriverPhase.FOLLOWING:
            return
        # a busy page may miss one probe; a hung one is found by `silent_s` in any state
        if event.timed_out and self.model.state not in _BUSY | _UNPROVED:
            self._enter(S.DEGRADED, "the page does not answer")

    def _send_ended(self, event: events.SendEnded) -> None:
        if event.answered is None or self.model.phase is not DriverPhase.FOLLOWING:
            return
        unanswered = 0 if event.answered else self.model.unanswered_sends + 1
        self._change(unanswered_sends=unanswered)
        if unanswered >= self._policy.deaf_after:
            self._fail(f"the page reports that it works, but {unanswered} sends in a row were not answered")

    def _too_much_used(self, event: events.TooMuchUsed) -> None:
        model, policy = self.model, self._policy
        if model.phase is not DriverPhase.FOLLOWING:
            return
        if event.hard:
            # at once and not through the queue: an orderly end would wait for a probe while the memory grows
            self.actions.append(decisions.KillBrowser())
            self._fail(event.reason)
        elif (
            not model.replace_for
            and self._now - model.replaced_at >= policy.replace_apart_s
            # WhatsApp bans accounts that connect too often: half of the allowed connects is left for failures
            and event.connects * 2 <= policy.connects_an_hour
        ):
            self._change(replace_for=event.reason, replace_by=self._now + policy.recycle_within_s)
            self.actions.append(decisions.ReplacementDue(event.reason))

    # the end of a life

    def _fail(self, reason: str, ending: Ending = Ending.FAILED) -> None:
        if self.model.phase in (DriverPhase.STARTING, DriverPhase.FOLLOWING):
            self._end(ending, reason)

    def _end(self, ending: Ending, reason: str) -> None:
        match ending:
            case Ending.LOGGED_OUT:
                self._change(link="")
                self._enter(S.LOGGED_OUT, reason)
            case Ending.REPLACED:
                self._enter(S.ABSENT, reason)
            case Ending.REFUSED:
                self._quarantine(reason, self._policy.quarantine_s)
            case _:
                self._enter(S.BACKING_OFF, reason)
        self._change(phase=DriverPhase.ENDING, ending=ending)
        self.actions += [decisions.ReleaseStartSlot(), decisions.EndBrowser(ending, reason)]

    def _quarantine(self, reason: str, for_s: float) -> None:
        # where the table has no direct transition, the history shows the state in between
        if S.QUARANTINED not in SESSION_TRANSITIONS[self.model.state] and self.model.state is not S.QUARANTINED:
            self._enter(S.BACKING_OFF, reason)
        self._enter(S.QUARANTINED, reason)
        self.actions.append(decisions.Quarantined(reason, for_s))

    # the model

    def _enter(self, state: SessionState, detail: str, *, qr: str = "", event: str = "state") -> None:
        model = self.model
        if state is not model.state:
            require_transition(SESSION_TRANSITIONS, model.state, state)
            self._change(since=self._now)
            self.actions.append(decisions.Record(event, state, detail))
            if model.state is S.STARTING:
                # left STARTING: the page has loaded or failed, and the next browser may start
                self.actions.append(decisions.ReleaseStartSlot())
        # a code that the page does not show now must not be scanned
        self._change(state=state, detail=detail, qr=qr)

    def _change(self, **fields: Any) -> None:
        self.model = replace(self.model, **fields)
