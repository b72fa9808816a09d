"""The time limits of a session, the limits of its browser, and what all sessions of a process share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.settings import Settings
from shared.states import SessionState
from webdriver.chromium.process import FLAGS


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionPolicy:
    """Limits of a session. Durations in seconds.

    Attributes:
        start_s: for Chromium and its tab. longest: a state in which a page may not stay for longer; it is restarted
            then.
        probe_every_s, probe_within_s: interval of probes, and longest wait for an answer. silent_s: a page without an
            answer for so long counts as hung: after two unanswered probes, at most 13 seconds after it hung.
        prove_every_s: interval at which an unchanged state is written; readers distrust one older than 15 seconds.
        deaf_after: sends in a row without an answer in time; then the page's connection to WhatsApp counts as dead,
            whatever the page reports.
        backoff_base_s, backoff_cap_s, stable_s: wait before a restart; a life of `stable_s` resets it.
        connects_an_hour: an account that connects all the time is banned: after so many within an hour (counted across
            lives of this process) the session is quarantined and tries again each `quarantine_s`, until the hour is
            quieter.
        memory_soft_mb, max_age_s: a browser above one of these is replaced when nothing was sent or received for
            `quiet_s`, at the latest after `recycle_within_s`, then between two sends; never twice within
            `replace_apart_s`. 0: no limit. Memory is proportional (PSS).
        memory_hard_mb: a browser above it is killed at once and starts again.
        cpu_most, cpu_for_s: a page that uses more than so many processors for so long is replaced too; while it
            synchronises it may.
    """

    start_s: float = 45.0
    longest: Mapping[SessionState, float] = field(
        default_factory=lambda: {
            SessionState.STARTING: 60.0,
            SessionState.DEGRADED: 60.0,
            SessionState.SYNCING: 900.0,
            SessionState.OFFLINE: 300.0,
        }
    )
    probe_every_s: float = 3.0
    probe_within_s: float = 5.0
    silent_s: float = 9.5
    prove_every_s: float = 5.0
    deaf_after: int = 3
    close_s: float = 3.0
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    stable_s: float = 60.0
    connects_an_hour: int = 20
    quarantine_s: float = 900.0
    missing_chromium_s: float = 15.0
    memory_soft_mb: float = 800.0
    memory_hard_mb: float = 1400.0
    max_age_s: float = 86400.0
    cpu_most: float = 0.8
    cpu_for_s: float = 60.0
    quiet_s: float = 5.0
    recycle_within_s: float = 600.0
    replace_apart_s: float = 300.0


def of_settings(settings: Settings) -> SessionPolicy:
    """Return the policy that an operator has set."""
    return SessionPolicy(
        connects_an_hour=settings.session_connects_per_hour,
        memory_soft_mb=settings.session_memory_soft_mb,
        memory_hard_mb=settings.session_memory_hard_mb,
        max_age_s=settings.session_max_age_h * 3600,
        cpu_most=settings.session_cpu_most,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionContext:
    """What all sessions of this process share.

    Attributes:
        chromium_path, url: settings, the address already resolved. slot_lock_fd: inherited by every Chromium; -1: none.
        page_library: gives wa-js's source. starts: limits how many sessions start at once.
        web_build: file of the page's document to be used in place of what the address answers; None: none. flags: of
            every Chromium.
        memory_all_mb: proportional memory that all browsers together should stay below; 0: no limit.
    """

    home: Path
    chromium_path: str
    url: str
    slot_lock_fd: int
    page_library: Callable[[], Awaitable[str]]
    starts: asyncio.Semaphore
    policy: SessionPolicy
    web_build: Path | None = None
    memory_all_mb: float = 0.0
    flags: Sequence[str] = FLAGS
