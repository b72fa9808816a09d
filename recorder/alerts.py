"""Evaluates the table of alerts over the figures of all processes, keeps what changed as rows and writes its events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from shared.alert_policy import AlertChange, AlertPolicy, Figures
from shared.clock import monotonic
from shared.logs import logger
from shared.process import metrics_files
from shared.process.exposition import Family
from shared.process.metrics import Metrics
from shared.store import alerts
from shared.store.pool import Transaction
from shared.store.store import Store

log = logger(__name__)

_WAITING_MOST: Final = 1000
"""Changes that wait for the database at most; the oldest go first, since a later change of the same alert follows."""


class Alerts:
    """The alerts of one host. While the database is away they are decided, logged and kept in memory, and written when
    it is back.

    Args:
        host: its name. factor: by which the rules' durations are multiplied.
    """

    def __init__(self, store: Store, metrics: Metrics, home: Path, *, host: str, factor: float) -> None:
        self._store, self._home, self._host = store, home, host
        self._policy = AlertPolicy(factor=factor)
        self._resumed = False
        self._waiting: deque[tuple[AlertChange, float]] = deque(maxlen=_WAITING_MOST)
        self._on = metrics.gauge("alerts_on", "Alerts that are on, by name and severity.", ("alert", "severity"))

    async def judge(self) -> None:
        """Decide by the figures of now. Raises `StoreUnavailable` when that could not be written; it is kept."""
        figures = as_figures(await asyncio.to_thread(metrics_files.gather, self._home))
        for change in self._policy.step(figures, monotonic()):
            name, labels, severity = change.rule.name, dict(change.labels), change.rule.severity
            if change.is_on:
                log.warning("alert_fired", alert=name, labels=labels, severity=severity, summary=change.summary)
            else:
                log.info("alert_ended", alert=name, labels=labels, severity=severity, summary=change.summary)
            self._waiting.append((change, monotonic()))
        self._show()
        # also without a change: a silence may have ended
        await self._store.call(self._write, [*self._waiting])
        self._waiting.clear()
        if not self._resumed:
            # after what changed: an outage of the database must not keep the first decisions from being made
            self._policy.resume(await self._store.call(alerts.left_on, self._host), monotonic())
            self._resumed = True

    def _show(self) -> None:
        self._on.clear()
        severities = self._policy.severities()
        for name, count in self._policy.counts().items():
            self._on.labels(name, severities[name]).set(count)

    def _write(self, transaction: Transaction, waiting: Iterable[tuple[AlertChange, float]]) -> None:
        for change, at in waiting:
            alerts.write(transaction, self._host, change, age_s=monotonic() - at)
            # before the next change: it may be the end of this one, of which there is an event only after the first
            alerts.notify(transaction)
        alerts.notify(transaction)


def as_figures(families: Iterable[Family]) -> Figures:
    """Return families as the policy takes them: gauges and counters by name."""
    return {
        family.name: [(figure.labels, figure.value) for figure in family.samples]
        for family in families
        if family.type != "histogram"
    }
