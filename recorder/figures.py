"""Figures of the whole installation, read from the database every few seconds: what waits, what is left to a human, how
old heartbeats are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.process import runtime, status_file
from shared.process.metrics import Gauge, Metrics
from shared.store import processes
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from shared.tenancy.company_settings import usual_minutes

_COUNTED_MOST: Final = 100_000
"""Rows of one count: some tens of milliseconds. Beyond it, that there are so many is what matters."""


class InstallationFigures:
    """The gauges, brought up to date by `read`. Without the database they have no values: old ones would be wrong."""

    def __init__(self, store: Store, metrics: Metrics, home: Path) -> None:
        self._store, self._home = store, home
        self._backlog = metrics.gauge(
            "backlog_messages",
            "Messages that wait to be sent, by the kind that sends them; 100,000 at most.",
            ("queue",),
        )
        self._oldest = metrics.gauge(
            "backlog_oldest_seconds",
            "How long the oldest of them has been due; those of paused connections are left out.",
            ("queue",),
        )
        self._in_doubt = metrics.gauge(
            "in_doubt_messages", "Messages that may have been sent, by the kind that sent them.", ("queue",)
        )
        self._held = metrics.gauge("held_messages", "Those of them that are left to a human.", ("queue",))
        self._dead = metrics.gauge(
            "dead_letters", "Messages that failed for good or are left to a human, and are kept; 100,000 at most."
        )
        self._hooks = metrics.gauge(
            "hooks", "Webhooks: active, paused, disabled, or failing for more than a minute.", ("state",)
        )
        self._retries = metrics.gauge(
            "hook_retries", "Deliveries of webhooks that wait for another try, or were given up.", ("state",)
        )
        self._readers = metrics.gauge(
            "events_lag_seconds",
            "Age of the first event that a reader of the stream has not passed: the slowest webhook, the message "
            "broker.",
            ("reader",),
        )
        self._connections = metrics.gauge("connections", "Connections by type and state.", ("connection_type", "state"))
        self._heartbeats = metrics.gauge(
            "heartbeat_age_seconds", "Time since each process of this host wrote its heartbeat.", ("process",)
        )
        self._lag = metrics.gauge("reading_lag_seconds", "How far lists, searches and figures are behind the messages.")
        self._waiting = metrics.gauge(
            "customers_waiting", "Customers who wait for a human, all and those beyond their company's limit.", ("who",)
        )
        self._longest = metrics.gauge("customers_waiting_longest_seconds", "How long the first of them has waited.")
        metrics.gauge("home_free_bytes", "Free space on the disk of BULKHEAD_HOME.", read=self._free)
        self._complete_at = monotonic()

    def complete(self) -> None:
        """Note that lists, searches and figures are up to date now."""
        self._complete_at = monotonic()

    async def read(self) -> None:
        """Take over what the database has. Raises `StoreUnavailable`."""
        self._lag.set(monotonic() - self._complete_at)
        try:
            found = await self._store.call(_read, _COUNTED_MOST)
        except StoreUnavailable:
            for gauge in (self._backlog, self._oldest, self._in_doubt, self._held, self._hooks, self._retries,
                          self._readers, self._connections, self._heartbeats, self._dead, self._waiting,
                          self._longest):  # fmt: skip
                gauge.clear()
            raise
        _show(self._backlog, found["queues"], ("queue",), "messages")
        _show(self._oldest, found["queues"], ("queue",), "oldest_s")
        _show(self._in_doubt, found["doubts"], ("queue",), "in_doubt")
        _show(self._held, found["doubts"], ("queue",), "held")
        _show(self._hooks, found["hooks"], ("state",), "hooks")
        _show(self._retries, found["retries"], ("state",), "deliveries")
        _show(self._readers, found["readers"], ("reader",), "lag_s")
        _show(self._connections, found["connections"], ("connection_type", "status"), "connections")
        self._dead.set(found["dead"][0]["messages"])
        (waiting,) = found["waiting"]
        self._waiting.labels("all").set(waiting["customers"])
        self._waiting.labels("late").set(waiting["late"])
        self._longest.set(waiting["longest_s"])
        self._heartbeats.clear()
        for process, age_s in self._ages(found["processes"]).items():
            self._heartbeats.labels(process).set(age_s)

    def _ages(self, rows: Sequence[Row]) -> Mapping[str, float]:
        """Return the ages of heartbeats of processes that this host's orchestrator says should run; it is their rows
        that mean something: others are of slots that are not used any more, or of other hosts.
        """
        known = status_file.read(runtime.status_file(self._home))
        if known is None or not known.is_fresh:
            return {}
        ages: dict[str, float] = {}
        for row in rows:
            slot = known.values.get("slots", {}).get(f"{row['process_name']}-{row['instance']}", {})
            # a process that starts has not written yet: the row is of its slot's last life
            if slot.get("state") == "ready" and slot.get("incarnation") == row["incarnation"]:
                ages[f"{row['process_name']}-{row['instance']}"] = row["silent_s"]
        return ages

    def _free(self) -> float:
        facts = os.statvfs(self._home)
        return float(facts.f_bavail * facts.f_frsize)


def _read(transaction: Transaction, most: int) -> dict[str, list[Row]]:
    return {
        "queues": transaction.rows("queue_figures", most=most),
        "doubts": transaction.rows("doubt_figures", most=most),
        "dead": transaction.rows("dead_figures", most=most),
        "hooks": transaction.rows("hook_figures"),
        "retries": transaction.rows("hook_retry_figures", most=most),
        "readers": transaction.rows("reader_figures"),
        "connections": transaction.rows("connection_figures"),
        "waiting": transaction.rows("waiting_figures", most=most, limit_minutes=usual_minutes("waitingLimitMinutes")),
        "processes": processes.statuses(transaction),
    }


def _show(gauge: Gauge, rows: Sequence[Row], labels: Sequence[str], value: str) -> None:
    # what has no row any more would keep its last value
    gauge.clear()
    for row in rows:
        gauge.labels(*(row[name] for name in labels)).set(_number(row[value]))


def _number(value: Any) -> float:
    return float(value or 0)
