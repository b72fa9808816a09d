"""A browser session as frozen data: what is known (model), what happens (events), what is to be done (actions).

All instants are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from shared.states import DesiredSession, SessionState
from webdriver.page.bridge import PageState


class Phase(Enum):
    """Where the driver of Chromium is."""

    WAITING = "no browser runs until `next_life_at`"
    STARTING = "a start slot is waited for, or the browser starts"
    FOLLOWING = "the page is probed"
    ENDING = "the browser is being ended"
    OVER = "logged out as an operator asked; nothing follows"


class Ending(Enum):
    """Why a life of the session ends."""

    FAILED = "failed"
    CHROMIUM_MISSING = "there is no Chromium"
    REFUSED = "WhatsApp refuses the account or the address"
    LOGGED_OUT = "the link to the phone is gone"
    REPLACED = "a fresh browser is due"


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionModel:
    """One session.

    Attributes:
        desired: what an operator wants. state, detail: what it is, and why. since: of the last change of state.
        next_life_at: while WAITING, when the next browser may start. life_began_at, browser_began_at: of the present
            life; the second one after the wait for a start slot. followed_at: when probing began.
        probe_at: when the page is probed next. answered_at: when its script answered last, whatever it answered; None:
            not in this life.
        proved_at: when a loaded page last reported its own state; only that proves a state.
        reported_at: when the page last reported a message. qr: the code that it shows.
        link: names the link to the phone (own number and device); empty while it is not known or there is none.
        failures: lives in a row that ended early. unanswered_sends: sends in a row whose outcome the page did not
            report.
        replace_for: why a fresh browser is due; empty: it is not. replace_by: from then on between two sends.
            replaced_at: the last time.
        asked_to_log_out: the page was asked to end its link.
    """

    desired: DesiredSession
    state: SessionState = SessionState.ABSENT
    detail: str = ""
    since: float = 0.0
    phase: Phase = Phase.WAITING
    ending: Ending | None = None
    next_life_at: float = 0.0
    life_began_at: float = 0.0
    browser_began_at: float = 0.0
    followed_at: float = 0.0
    probe_at: float = 0.0
    answered_at: float | None = None
    proved_at: float | None = None
    reported_at: float = 0.0
    qr: str = ""
    link: str = ""
    was_unlinked: bool = False
    ready_after_s: float | None = None
    failures: int = 0
    restarts: int = 0
    replacements: int = 0
    unanswered_sends: int = 0
    restart_asked: bool = False
    replace_for: str = ""
    replace_by: float = 0.0
    replaced_at: float = float("-inf")
    link_ended: bool = False
    asked_to_log_out: bool = False


# events


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed.

    Attributes:
        connects: of the account within the last hour. connect_wait_s: how long it should not connect again. is_sending:
            a send is under way.
    """

    connects: int = 0
    connect_wait_s: float = 0.0
    is_sending: bool = False


@dataclass(frozen=True, slots=True)
class DesiredChanged:
    """An operator wants another state."""

    desired: DesiredSession


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """An operator wants a fresh browser now."""


@dataclass(frozen=True, slots=True)
class SlotAcquired:
    """The browser may start now."""


@dataclass(frozen=True, slots=True)
class BrowserStarted:
    """Chromium runs and opens the page."""


@dataclass(frozen=True, slots=True)
class LifeFailed:
    """The browser did not start, or tab, browser or pipe are gone.

    Attributes:
        reason: for operators. chromium_missing: there is none to start.
    """

    reason: str
    chromium_missing: bool = False


@dataclass(frozen=True, slots=True)
class BrowserEnded:
    """Nothing of the browser is left; `problem` is empty unless something survived."""

    problem: str = ""


@dataclass(frozen=True, slots=True)
class PageAnswered:
    """The page's script answered a probe."""

    page: PageState


@dataclass(frozen=True, slots=True)
class PageUnanswered:
    """A probe brought no answer: not in time, or the document was on its way out (then another one follows)."""

    timed_out: bool


@dataclass(frozen=True, slots=True)
class PageChanged:
    """The page reported a change of its own, or moved to another address."""


@dataclass(frozen=True, slots=True)
class PageReported:
    """The page reported a message, an ack or the like; `foreign`: not one that we sent."""

    foreign: bool


@dataclass(frozen=True, slots=True)
class LinkEnded:
    """The page reported a logout."""


@dataclass(frozen=True, slots=True)
class LogOutAnswered:
    """The page took the order to log out, or left at once for its new address: both are right."""


@dataclass(frozen=True, slots=True)
class SendEnded:
    """A send ended; `answered` None: it never reached the page, so it proves nothing."""

    answered: bool | None


@dataclass(frozen=True, slots=True)
class TooMuchUsed:
    """The browser uses more than it may.

    Attributes:
        hard: it is killed at once; else replaced at a quiet moment. connects: of the account within the last hour.
    """

    reason: str
    hard: bool
    connects: int = 0


@dataclass(frozen=True, slots=True)
class Stopped:
    """The process stops, or the session is not desired any more."""


Event: TypeAlias = (
    Tick
    | DesiredChanged
    | RestartAsked
    | SlotAcquired
    | BrowserStarted
    | LifeFailed
    | BrowserEnded
    | PageAnswered
    | PageUnanswered
    | PageChanged
    | PageReported
    | LinkEnded
    | LogOutAnswered
    | SendEnded
    | TooMuchUsed
    | Stopped
)


# actions: the first four take time, and the driver carries them out one after the other


@dataclass(frozen=True, slots=True)
class StartBrowser:
    """Acquire a start slot and start a browser; ends in BrowserStarted or LifeFailed."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the page for its state; ends in PageAnswered, PageUnanswered or LifeFailed."""


@dataclass(frozen=True, slots=True)
class LogOut:
    """Have the page end its link; ends in LogOutAnswered."""


@dataclass(frozen=True, slots=True)
class EndBrowser:
    """End the browser; ends in BrowserEnded.

    One that is REPLACED may write its profile first; a profile that is LOGGED_OUT is removed.
    """

    ending: Ending
    reason: str


@dataclass(frozen=True, slots=True)
class KillBrowser:
    """Kill the main process now."""


@dataclass(frozen=True, slots=True)
class ReleaseStartSlot:
    """Another session may start."""


@dataclass(frozen=True, slots=True)
class Record:
    """Write an event of the session's history: `state`, `linked` or `replaced`."""

    event: str
    state: SessionState
    detail: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Report a quarantine to operators."""

    reason: str
    for_s: float


@dataclass(frozen=True, slots=True)
class ReplacementDue:
    """Report that the browser is replaced at the next quiet moment."""

    reason: str


Action: TypeAlias = (
    StartBrowser | Probe | LogOut | EndBrowser | KillBrowser | ReleaseStartSlot | Record | Quarantined | ReplacementDue
)
