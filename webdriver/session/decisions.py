"""What is to be done for a browser session, as frozen data.

The first four take time, and the driver carries them out one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from shared.states import SessionState
from webdriver.session.model import Ending


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
