"""Decisions about a session as histories of events, with a clock of the test's: no browser, no store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.states import DesiredSession, SessionState
from webdriver.page.bridge import PageState
from webdriver.session import decisions, events
from webdriver.session.decide import decide, wake_at
from webdriver.session.model import DriverPhase, Ending, SessionModel
from webdriver.session.policy import SessionPolicy

S = SessionState
LINK = "60111222333:5@c.us"
MAIN = PageState(loaded=True, mode="MAIN", authenticated=True, link=LINK)
QR = PageState(loaded=True, mode="QR", code="2@code")
NOTHING = PageState(loaded=False)
SHOWN = {
    S.READY: MAIN,
    S.NEEDS_LINK: QR,
    S.SYNCING: replace(MAIN, mode="SYNCING"),
    S.OFFLINE: replace(MAIN, mode="OFFLINE"),
    S.CONFLICT: replace(MAIN, mode="CONFLICT"),
}


class History:
    """A session to which events happen at instants that the test sets."""

    def __init__(self, policy: SessionPolicy | None = None, desired: DesiredSession = DesiredSession.LINKED) -> None:
        self.policy = policy or SessionPolicy()
        self.now = 1000.0
        self.model = SessionModel(desired=desired, since=self.now, next_life_at=self.now)
        self.seen: list[SessionState] = []

    def happen(self, event: events.Event, after_s: float = 0.0) -> list[decisions.Action]:
        """Let an event happen so many seconds later and return what is to be done."""
        self.now += after_s
        old = self.model
        self.model, actions = decide(old, event, self.now, self.policy, lambda _, most: most)
        if self.model.state is not old.state:
            self.seen.append(self.model.state)
        return list(actions)

    def started(self) -> History:
        """Bring the browser up to its first probe."""
        assert decisions.StartBrowser() in self.happen(events.Tick())
        self.happen(events.SlotAcquired())
        self.happen(events.BrowserStarted())
        assert self.happen(events.Tick()) == [decisions.Probe()]
        return self

    def showing(self, state: SessionState) -> History:
        """Bring the page into a state."""
        self.started().happen(events.PageAnswered(SHOWN[state]))
        assert self.model.state is state
        return self

    def ended(self, *, after_s: float = 0.1) -> float:
        """Let the browser end; return how long the next life waits, in seconds."""
        self.happen(events.BrowserEnded(), after_s)
        return self.model.next_life_at - self.now


def of(actions: list[decisions.Action], kind: type[decisions.Action]) -> list[decisions.Action]:
    """Return the actions of one kind."""
    return [action for action in actions if isinstance(action, kind)]


def test_a_linked_page_is_ready_and_gives_its_start_slot_back() -> None:
    history = History().started()
    actions = history.happen(events.PageAnswered(MAIN), 0.7)
    assert actions == [decisions.Record("state", S.READY, ""), decisions.ReleaseStartSlot()]
    assert (history.model.proved_at, history.model.link) == (history.now, LINK)
    assert history.model.ready_after_s == 0.7
    assert wake_at(history.model) == history.now + history.policy.probe_every_s


def test_a_scanned_code_is_recorded_as_a_link() -> None:
    history = History().showing(S.NEEDS_LINK)
    assert history.model.qr == "2@code"
    assert history.happen(events.PageAnswered(SHOWN[S.SYNCING]), 3) == [decisions.Record("linked", S.SYNCING, "")]
    assert history.happen(events.PageAnswered(MAIN), 3) == [decisions.Record("state", S.READY, "")]
    assert history.model.qr == ""


@pytest.mark.parametrize("state", SHOWN)
def test_a_document_that_shows_nothing_proves_nothing(state: SessionState) -> None:
    """A reload into a build that fails, about:blank: the script answers, and what the last document showed is over."""
    history = History().showing(state)
    proved_at = history.model.proved_at
    history.happen(events.PageAnswered(NOTHING), 3)
    for _ in range(250):
        if of(history.happen(events.Tick(), 0.25), decisions.Probe):
            history.happen(events.PageAnswered(NOTHING))
        if history.model.phase is DriverPhase.ENDING:
            break
        assert (history.model.state, history.model.proved_at, history.model.qr) == (S.DEGRADED, proved_at, "")
    assert history.seen[-2:] == [S.DEGRADED, S.BACKING_OFF]
    assert history.model.detail == "the page is degraded and stays so"


def test_a_loaded_page_without_a_mode_proves_nothing_either() -> None:
    history = History().showing(S.READY)
    history.happen(events.PageAnswered(PageState(loaded=True)), 3)
    assert history.model.state is S.DEGRADED


def test_a_reload_that_works_needs_no_restart() -> None:
    history = History().showing(S.READY)
    history.happen(events.PageChanged(), 1)
    for page in (NOTHING, NOTHING, SHOWN[S.SYNCING], MAIN):
        assert of(history.happen(events.Tick(), 0.25), decisions.Probe)
        history.happen(events.PageAnswered(page))
        history.happen(events.PageChanged())
    assert history.seen[-3:] == [S.DEGRADED, S.SYNCING, S.READY]
    assert history.model.restarts == 0


@pytest.mark.parametrize("state", [S.READY, S.NEEDS_LINK, S.OFFLINE, S.CONFLICT])
def test_a_hung_page_is_degraded_after_one_probe_and_ended_after_two(state: SessionState) -> None:
    history = History().showing(state)
    hung_at = history.now
    history.now += history.policy.probe_every_s
    assert of(history.happen(events.Tick()), decisions.Probe)
    history.happen(events.PageUnanswered(timed_out=True), history.policy.probe_within_s)
    assert history.model.state is S.DEGRADED
    assert of(history.happen(events.Tick()), decisions.Probe)
    history.happen(events.PageUnanswered(timed_out=True), history.policy.probe_within_s)
    assert of(history.happen(events.Tick()), decisions.EndBrowser) == [
        decisions.EndBrowser(Ending.FAILED, "the page is hung")
    ]
    assert history.now - hung_at < 15


def test_a_page_that_synchronises_may_be_slow_and_one_that_never_loads_may_not() -> None:
    history = History().showing(S.SYNCING)
    history.happen(events.PageUnanswered(timed_out=True), 5)
    assert history.model.state is S.SYNCING
    history = History().started()
    for _ in range(61):
        history.happen(events.PageAnswered(NOTHING), 1)
    assert of(history.happen(events.Tick()), decisions.EndBrowser) == [
        decisions.EndBrowser(Ending.FAILED, "the page never loaded")
    ]


def test_failures_wait_longer_and_longer_until_a_life_lasts() -> None:
    history = History()
    waits = []
    for lived_s in (1, 1, 1, 120, 1):
        history.started().happen(events.LifeFailed("for the test"), lived_s)
        waits.append(history.ended())
        assert not history.happen(events.Tick(), waits[-1] / 2)
        history.now = history.model.next_life_at
    assert waits == [1.0, 2.0, 4.0, 1.0, 2.0]
    history.started()
    assert history.model.restarts == 5


def test_without_chromium_it_is_tried_again_at_a_steady_pace() -> None:
    history = History()
    history.happen(events.Tick())
    history.happen(events.LifeFailed("none is on PATH", chromium_missing=True))
    assert (history.model.state, history.ended()) == (S.BACKING_OFF, history.policy.missing_chromium_s)


def test_too_many_connects_mean_a_quarantine_that_only_a_human_ends() -> None:
    history = History()
    assert of(history.happen(events.Tick(connects=20, connect_wait_s=600.0)), decisions.Quarantined)
    assert (history.model.state, history.model.next_life_at) == (S.QUARANTINED, history.now + 600)
    assert history.happen(events.Tick(), 599) == []
    history.happen(events.RestartAsked())
    assert decisions.StartBrowser() in history.happen(events.Tick(connects=20, connect_wait_s=1.0))


@pytest.mark.parametrize("mode", ["TOS_BLOCK", "SMB_TOS_BLOCK", "PROXYBLOCK"])
def test_an_account_that_whatsapp_refuses_is_quarantined(mode: str) -> None:
    history = History().started()
    actions = history.happen(events.PageAnswered(PageState(loaded=True, mode=mode)))
    assert of(actions, decisions.EndBrowser) == [decisions.EndBrowser(Ending.REFUSED, f"WhatsApp answers {mode}")]
    assert history.model.state is S.QUARANTINED
    assert history.ended() == pytest.approx(history.policy.quarantine_s)


def test_a_link_that_is_ended_on_the_phone_wipes_and_shows_a_new_code() -> None:
    history = History().showing(S.READY)
    history.happen(events.LinkEnded(), 1)
    (ending,) = of(history.happen(events.Tick()), decisions.EndBrowser)
    assert ending == decisions.EndBrowser(Ending.LOGGED_OUT, "the link was ended on the phone")
    assert (history.model.state, history.model.link) == (S.LOGGED_OUT, "")
    history.ended()
    history.now = history.model.next_life_at
    history.showing(S.NEEDS_LINK)


def test_a_requested_logout_unlinks_the_phone_and_ends_there() -> None:
    history = History().showing(S.READY)
    history.happen(events.DesiredChanged(DesiredSession.LOGGED_OUT), 1)
    assert history.happen(events.Tick()) == [decisions.LogOut()]
    assert decisions.LogOut() not in history.happen(events.Tick(), 1)
    history.happen(events.LogOutAnswered(), 1)
    assert history.model.state is S.LOGGED_OUT
    history.happen(events.BrowserEnded())
    assert history.model.phase is DriverPhase.OVER


def test_a_logout_waits_for_no_backoff_and_not_for_ever_for_a_page() -> None:
    history = History().started()
    history.happen(events.LifeFailed("for the test"))
    assert history.ended() > 0
    history.happen(events.DesiredChanged(DesiredSession.LOGGED_OUT))
    history.showing(S.OFFLINE)
    history.happen(events.PageAnswered(SHOWN[S.OFFLINE]), 59)
    assert not of(history.happen(events.Tick()), decisions.EndBrowser)
    history.happen(events.PageAnswered(SHOWN[S.OFFLINE]), 1.1)
    (ending,) = of(history.happen(events.Tick()), decisions.EndBrowser)
    assert "remove the device there" in str(ending)


def test_a_browser_is_replaced_at_a_quiet_moment_between_two_sends_and_not_twice() -> None:
    history = History().showing(S.READY)
    history.happen(events.TooMuchUsed("it is old", hard=False), 8)
    history.happen(events.PageReported(foreign=True), 1)
    assert not of(history.happen(events.Tick()), decisions.EndBrowser), "a message came just now"
    history.happen(events.PageAnswered(MAIN), 6)
    assert not of(history.happen(events.Tick(is_sending=True)), decisions.EndBrowser)
    actions = history.happen(events.Tick())
    assert of(actions, decisions.EndBrowser) == [decisions.EndBrowser(Ending.REPLACED, "it is old")]
    assert decisions.Record("replaced", S.ABSENT, "it is old") in actions
    assert history.ended() == 0
    history.showing(S.READY)
    assert (history.model.replacements, history.model.restarts) == (1, 0)
    history.happen(events.TooMuchUsed("it is large", hard=False), 10)
    assert history.model.replace_for == "", "the last replacement was just now"


def test_replacements_leave_half_of_the_connects_to_failures() -> None:
    history = History().showing(S.READY)
    history.happen(events.TooMuchUsed("it is old", hard=False, connects=11), 10)
    assert history.model.replace_for == ""


def test_above_the_hard_ceiling_it_is_killed_whatever_is_under_way() -> None:
    history = History().showing(S.READY)
    actions = history.happen(events.TooMuchUsed("far too large", hard=True), 1)
    assert decisions.KillBrowser() in actions
    assert (history.model.state, history.model.detail) == (S.BACKING_OFF, "far too large")


def test_sends_without_an_answer_end_the_life_of_a_page_that_reports_itself_well() -> None:
    history = History().showing(S.READY)
    for answered in (False, False, None, True, False, False):
        assert not of(history.happen(events.SendEnded(answered)), decisions.EndBrowser)
    history.happen(events.PageReported(foreign=False))
    assert of(history.happen(events.SendEnded(False)), decisions.EndBrowser)
    history = History().showing(S.READY)
    for event in (
        events.SendEnded(False),
        events.SendEnded(False),
        events.PageReported(foreign=True),
        events.SendEnded(False),
    ):
        assert not of(history.happen(event), decisions.EndBrowser)


def test_what_comes_too_late_changes_nothing() -> None:
    history = History().started()
    history.happen(events.LifeFailed("the tab crashed"))
    before = history.model
    for event in (
        events.BrowserStarted(),
        events.PageAnswered(MAIN),
        events.PageUnanswered(True),
        events.LogOutAnswered(),
        events.LifeFailed("again"),
    ):
        assert history.happen(event) == []
    assert history.model == before


EVENTS = st.sampled_from(
    [
        events.Tick(),
        events.Tick(connects=20, connect_wait_s=100.0),
        events.Tick(is_sending=True),
        events.DesiredChanged(DesiredSession.LOGGED_OUT),
        events.DesiredChanged(DesiredSession.LINKED),
        events.RestartAsked(),
        events.SlotAcquired(),
        events.BrowserStarted(),
        events.LifeFailed("failed"),
        events.LifeFailed("missing", chromium_missing=True),
        events.PageAnswered(NOTHING),
        *(events.PageAnswered(page) for page in SHOWN.values()),
        events.PageAnswered(PageState(loaded=True, mode="TOS_BLOCK")),
        events.PageAnswered(PageState(loaded=True, mode="DEPRECATED_VERSION")),
        events.PageUnanswered(timed_out=True),
        events.PageUnanswered(timed_out=False),
        events.PageChanged(),
        events.PageReported(foreign=True),
        events.LinkEnded(),
        events.LogOutAnswered(),
        events.SendEnded(False),
        events.TooMuchUsed("large", hard=False),
        events.TooMuchUsed("huge", hard=True),
    ]
)


@given(st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 0.3, 6.0, 61.0])), max_size=60))
def test_whatever_happens_every_browser_that_starts_is_ended_and_every_step_is_listed(
    happened: list[tuple[events.Event, float]],
) -> None:
    history = History()
    running = 0
    for event, after_s in [*happened, (events.Stopped(), 0.0)]:
        if history.model.phase is DriverPhase.OVER:
            break
        actions = history.happen(event, after_s)
        running += len(of(actions, decisions.StartBrowser)) - len(of(actions, decisions.EndBrowser))
        if of(actions, decisions.EndBrowser):
            # as the driver does
            history.happen(events.BrowserEnded())
        assert running == (history.model.phase in (DriverPhase.STARTING, DriverPhase.FOLLOWING)) or isinstance(
            event, events.Stopped
        )
        assert history.model.state is not S.READY or history.model.phase is DriverPhase.FOLLOWING
        assert history.model.qr == "" or history.model.state is S.NEEDS_LINK
