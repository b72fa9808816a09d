"""What happens to a browser session, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from shared.states import DesiredSession
from webdriver.page.bridge import PageState


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
    """A probe was not answered: not in time, or because the document is being replaced."""

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
    """The page accepted the request to log out, or navigated away at once; both mean success."""


@dataclass(frozen=True, slots=True)
class SendEnded:
    """A send ended; `answered` is None if it never reached the page, which proves nothing."""

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
