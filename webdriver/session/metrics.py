"""What each session's browser uses, as gauges for Prometheus, so that the one that uses up the machine is named."""

from __future__ import annotations

from typing import Final

from shared.process.metrics import Metrics
from webdriver.session.sessions import Sessions

_BROWSER: Final = {
    "session_memory_megabytes": ("Proportional memory of one session's browser, helpers included.", "pssMb"),
    "session_private_megabytes": ("Memory that would be free without this browser.", "ussMb"),
    "session_cpu": ("Processors that one session's browser uses.", "cpu"),
    "session_connects": ("Connects of one session within the last hour.", "connectsLastHour"),
}
"""Gauges by name: their help, and the field of `browser_stats` that they show."""


class SessionGauges:
    """The gauges, one value for each session that runs; brought up to date by `show`."""

    def __init__(self, metrics: Metrics, sessions: Sessions) -> None:
        self._sessions = sessions
        self._gauges = {name: metrics.gauge(name, purpose, ("connection",)) for name, (purpose, _) in _BROWSER.items()}
        self._unproved = metrics.gauge(
            "session_unproved_seconds", "Time since the page last proved that it works.", ("connection",)
        )

    def show(self) -> None:
        """Take over what was measured."""
        for gauge in (*self._gauges.values(), self._unproved):
            # a session that is gone would otherwise keep its last values
            gauge.clear()
        for session in self._sessions.all():
            name = str(session.connection_id)
            stats = session.browser_stats()
            for gauge, (_, field) in zip(self._gauges.values(), _BROWSER.values(), strict=True):
                if field in stats:
                    gauge.labels(name).set(stats[field])
            if session.unproved_s is not None:
                self._unproved.labels(name).set(session.unproved_s)
