"""Alerts and silences: typed functions for `queries/alerts.sql`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.alert_policy import AlertChange, AlertKey
from shared.store.pool import Row, Transaction, json

SILENCES_MOST: Final = 100
"""Silences at once: each alert is compared with all of them."""


def write(transaction: Transaction, host: str, change: AlertChange, *, age_s: float) -> None:
    """Keep what changed, `age_s` seconds after it did; done twice, it changes nothing."""
    facts: dict[str, Any] = {
        "host": host,
        "name": change.rule.name,
        "labels": json(dict(change.labels)),
        "summary": change.summary,
        "value": change.value,
    }
    if change.is_on:
        transaction.execute("fire_alert", severity=change.rule.severity, age_s=age_s, **facts)
    else:
        transaction.execute("end_alert", **facts)


def notify(transaction: Transaction) -> int:
    """Write the events of alerts that are on and not silenced. Returns how many."""
    return transaction.execute("notify_alerts")


def left_on(transaction: Transaction, host: str) -> list[tuple[AlertKey, float]]:
    """Return the alerts that a host's recorder left on, with their last values."""
    return [
        ((row["name"], tuple((str(name), str(value)) for name, value in row["labels"].items())), row["value"])
        for row in transaction.rows("alerts_on", host=host)
    ]


def listed(transaction: Transaction, *, is_on: bool | None, before: int, most: int) -> list[Row]:
    """Return alerts with ids below `before`, newest first. `is_on`: only those that are, or are not."""
    return transaction.rows("list_alerts", is_on=is_on, before=before, most=most)


def silence(
    transaction: Transaction, *, name: str, labels: Mapping[str, str], reason: str, seconds: float, created_by: str
) -> Row | None:
    """Silence alerts. `name`: of a rule; empty: all. Returns the silence, None when there are `SILENCES_MOST`."""
    return transaction.row(
        "add_silence",
        name=name,
        labels=json(dict(labels)),
        reason=reason,
        seconds=seconds,
        created_by=created_by,
        most=SILENCES_MOST,
    )


def silences(transaction: Transaction) -> list[Row]:
    """Return the silences that last."""
    return transaction.rows("list_silences")


def end_silence(transaction: Transaction, silence_id: int) -> Row | None:
    """End a silence; None when none is active."""
    return transaction.row("end_silence", id=silence_id)
