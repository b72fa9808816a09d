"""What each session's browser uses, as gauges for Prometheus, so that the one that uses up the machine is named."""

from __future__ import annotations

from typing import Final

from shared.process.metrics import Metrics
from webdriver.session.sessions import Sessions

_MB: Final = 1e6
"""Bytes of the megabytes in `browser_stats`."""


class SessionGauges:
    """The gauges, one value for each session that runs; brought up to date by `show`."""

    def __init__(self, metrics: Metrics, sessions: Sessions) -> None:
        self._sessions = sessions
        # with the field of `browser_stats` that each shows, and its unit
        self._gauges = (
            (
                metrics.gauge(
                    "session_memory_bytes",
                    "Proportional memory of one session's browser, helpers included.",
                    ("connection",),
                ),
                "pssMb",
                _MB,
            ),
            (
                metrics.gauge(
                    "session_private_bytes", "Memory that would be free without this browser.", ("connection",)
                ),
                "ussMb",
                _MB,
            ),
            (metrics.gauge("session_cpu", "Processors that one session's browser uses.", ("connection",)), "cpu", 1.0),
            (
                metrics.gauge("session_connects", "Connects of one session within the last hour.", ("connection",)),
                "connectsLastHour",
                1.0,
            ),
        )
        self._unproved = metrics.gauge(
            "session_unproved_seconds", "Time since the page last proved that it works.", ("connection",)
        )

    def show(self) -> None:
        """Take over what was measured."""
        for gauge in (*(gauge for gauge, _, _ in self._gauges), self._unproved):
            # a session that is gone would otherwise keep its last values
            gauge.clear()
        for session in self._sessions.all():
            name = str(session.connection_id)
            stats = session.browser_stats()
            for gauge, field, unit in self._gauges:
                if field in stats:
                    gauge.labels(name).set(stats[field] * unit)
            if session.unproved_s is not None:
                self._unproved.labels(name).set(session.unproved_s)
