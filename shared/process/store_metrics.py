"""Figures of a process's own pool: its connections, waits for one, and how long each statement takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shared.process.metrics import Metrics
from shared.store.store import Store

STATEMENT_BUCKETS_S: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""Bounds in seconds, few of them: each statement has them all. 1 ms is a look-up, 100 ms is slow, 10 s is the longest
deadline of most callers.
"""


class StoreMetrics:
    """Shows one store in the metrics of its process; a `shared.store.observer.StoreObserver`.

    Args:
        is_up: whether the database could be worked with lately.
    """

    def __init__(self, metrics: Metrics, store: Store, *, is_up: Callable[[], bool]) -> None:
        metrics.gauge(
            "database_up", "1 while this process can work with PostgreSQL, else 0.", read=lambda: float(is_up())
        )
        metrics.gauge(
            "database_connections_in_use", "Connections that run a transaction.", read=lambda: store.stats.in_use
        )
        metrics.gauge("database_connections_idle", "Connections that wait for work.", read=lambda: store.stats.idle)
        metrics.gauge(
            "database_connections_limit", "Most connections this process may open.", read=lambda: store.stats.limit
        )
        metrics.gauge(
            "database_callers_waiting", "Callers that wait for a connection.", read=lambda: store.stats.waiting
        )
        self._waits = metrics.histogram(
            "database_wait_seconds", "Time that callers waited for a connection, of those who found none free."
        )
        # apart from the process's other metrics: of these some hundred series, no rows are written in the metrics table
        apart = Metrics()
        self._statements = apart.histogram(
            "statement_seconds",
            "Time of one SQL statement, from sending it to its answer, by its name.",
            ("statement",),
            buckets=STATEMENT_BUCKETS_S,
        )
        metrics.also(apart.families)
        store.observe(self)

    def statement_ran(self, name: str, seconds: float) -> None:
        """Count a statement. Names are those of the program's own statements, so they are bounded."""
        self._statements.labels(name).observe(seconds)

    def waited(self, seconds: float) -> None:
        """Count a wait for a connection."""
        self._waits.observe(seconds)
