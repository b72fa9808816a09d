"""Writes a session's state: each change at once, and an unchanged state again, since readers distrust an old one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from shared.clock import monotonic
from shared.logs import logger
from shared.states import SessionState
from webdriver.session import decisions
from webdriver.session.model import DriverPhase, Ending, SessionModel
from webdriver.session.reports import SessionReports

log = logger(__name__)

_LINKLESS: Final = frozenset({SessionState.NEEDS_LINK, SessionState.LOGGED_OUT})
"""States that prove that there is no link; in the others an unknown link is the last one that was known."""


class StateReporter:
    """Reports one session's state and history.

    Args:
        every_s: how often an unchanged state is written. stats: returns what the browser uses.
    """

    def __init__(
        self, reports: SessionReports, connection_id: int, every_s: float, stats: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._reports, self._connection_id, self._every_s, self._stats = reports, connection_id, every_s, stats
        # the first state is written when it is decided
        self._written_at = monotonic()

    def changed(self, old: SessionModel, new: SessionModel, now: float) -> None:
        """Write the state if it is another one; the link and the code belong to it."""
        if (old.state, old.detail, old.qr, old.link) != (new.state, new.detail, new.qr, new.link):
            if old.state is not new.state:
                log.info(
                    "session_state_changed",
                    connection_id=self._connection_id,
                    old=old.state,
                    new=new.state,
                    detail=new.detail,
                )
            self._write(new, now)

    def repeat(self, model: SessionModel, now: float) -> None:
        """Write the state again if the last time is long ago and the store has accepted everything so far."""
        # not while reports wait: the same state again would only lengthen the queue
        if now - self._written_at >= self._every_s and self._reports.are_taken:
            self._write(model, now)

    def acted(self, model: SessionModel, action: decisions.Action) -> None:
        """Record what is done for the session, in its history or for operators."""
        match action:
            case decisions.Record():
                self._reports.event(action.event, action.state, action.detail)
            case decisions.ReplacementDue():
                log.info("session_replacement_due", connection_id=self._connection_id, reason=action.reason)
            case decisions.Quarantined():
                log.error(
                    "session_quarantined",
                    connection_id=self._connection_id,
                    reason=action.reason,
                    for_s=round(action.for_s, 1),
                )
            case decisions.EndBrowser():
                self._ending(model, action)

    def _ending(self, model: SessionModel, action: decisions.EndBrowser) -> None:
        if action.ending is Ending.REPLACED:
            log.info("session_replaced", connection_id=self._connection_id, reason=action.reason)
        elif action.ending is Ending.CHROMIUM_MISSING:
            # once, not at each check: without Chromium every session would log the same line every few seconds
            if model.failures == 0:
                log.error("chromium_missing", connection_id=self._connection_id, reason=action.reason)
        elif action.ending is not Ending.LOGGED_OUT:
            log.warning(
                "session_failed",
                connection_id=self._connection_id,
                error=action.ending.value,
                reason=action.reason,
                attempt=model.failures + 1,
            )

    def _write(self, model: SessionModel, now: float) -> None:
        self._written_at = now
        self._reports.observed(
            model.state,
            detail=model.detail,
            qr=model.qr,
            proved_at=model.proved_at,
            link="" if model.state in _LINKLESS else model.link or None,
            stats=self._stats() if model.phase is DriverPhase.FOLLOWING else {},
        )
