"""What is known of a browser session, as frozen data; `events` change it, and `decisions` follow from them.

All instants are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from shared.states import DesiredSession, SessionState


class DriverPhase(Enum):
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
    phase: DriverPhase = DriverPhase.WAITING
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
