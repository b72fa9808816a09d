"""How long statements and waits for a connection take, as the metrics of a process show them."""

from __future__ import annotations

import psycopg2
import pytest

from shared.errors import StoreUnavailable
from shared.process.metrics import Metrics
from shared.process.store_metrics import StoreMetrics
from shared.store.pool import Transaction
from shared.store.store import Store, ping
from tests.store.env import open_store


def counts(metrics: Metrics, name: str) -> dict[str, float]:
    """Return how often what was measured, by the statement's name if there is one."""
    (family,) = [one for one in metrics.families() if one.name == f"bulkhead_{name}"]
    return {
        sample.labels.get("statement", ""): sample.value for sample in family.samples if sample.name.endswith("_count")
    }


def test_every_statement_is_counted_by_its_name_also_one_that_fails(database_url: str) -> None:
    metrics, store = Metrics({"kind": "test"}), open_store(database_url)
    StoreMetrics(metrics, store, is_up=lambda: True)
    assert counts(metrics, "statement_seconds") == {}, "one that never ran has no series"
    store.run(ping)
    store.run(ping)

    def fail(transaction: Transaction) -> None:
        transaction.rows("list_alerts", is_on=None, before="no number", most=1)

    with pytest.raises(psycopg2.DataError):
        store.run(fail)
    assert counts(metrics, "statement_seconds") == {"ping": 2, "list_alerts": 1}
    # each heartbeat writes this into a table that is kept
    assert not [name for name in metrics.snapshot() if name.startswith("statement")]
    assert metrics.snapshot()["database_up"] == 1
    store.close()


def test_a_wait_for_a_connection_is_measured_and_none_where_there_was_one(database_url: str) -> None:
    metrics, store = Metrics(), open_store(database_url, limit=1, connect_s=0.2)
    StoreMetrics(metrics, store, is_up=lambda: True)

    def ask_for_a_second(_: Transaction, other: Store) -> None:
        other.run(ping)

    store.run(ping)
    assert metrics.snapshot()["database_wait_seconds_count"] == 0
    with pytest.raises(StoreUnavailable, match="in use"):
        store.run(ask_for_a_second, store)
    found = metrics.snapshot()
    assert found["database_wait_seconds_count"] == 1
    # a part of the 0.2 s has passed when the wait begins
    assert 0.1 < found["database_wait_seconds_sum"] < 5
    store.close()
