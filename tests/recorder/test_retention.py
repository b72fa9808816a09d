"""What is kept for a time only goes after that time; what is still needed, and messages with their history, stay."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from recorder.retention import RetentionTask
from shared.process.metrics import Metrics
from shared.settings import Settings
from shared.store import retention
from shared.store.store import Store
from tests.recorder.test_recorder import RecorderEnv
from tests.store.env import StoreEnv, open_store
from tests.support.database import query
from tests.support.waiting import eventually

DAY = "now() - interval '1 day' * "


def fill(url: str) -> None:
    """Write rows of 40, 20 and 0 days; of raw events also one that waits and one that could not be read."""
    query(url, "INSERT INTO companies (id, name) VALUES ('old', '')")
    query(
        url,
        "INSERT INTO phone_configs (company_id, phone_index, connection_type, process_name) VALUES ('old', 0, "
        "'wwebjs', '')",
    )
    for number, days in enumerate((40, 40, 40, 20, 0)):
        query(url, f"INSERT INTO event_names (name, written_at) VALUES ('name {number}', {DAY}{days})")
        query(url, f"INSERT INTO event_positions (source, seq, updated_at) VALUES ('boot {number}', 1, {DAY}{days})")
    for days, processed, outcome in (
        (40, "now()", ""),
        (40, "NULL", ""),
        (40, "now()", "not understood"),
        (40, "now()", ""),
        (20, "now()", ""),
    ):
        query(
            url,
            f"INSERT INTO inbound_journal (process_name, source, received_at, body, processed_at, outcome) "
            f"VALUES ('meta', 'meta', {DAY}{days}, '', {processed}, '{outcome}')",
        )


def kept(url: str) -> dict[str, list[int]]:
    """Return the ids in the table."""
    return {"inbound_journal": [row["id"] for row in query(url, "SELECT id FROM inbound_journal ORDER BY id")]}


def prune(store: Store, days: float, *, messages: float = 0.0, **given: Any) -> Metrics:
    """Let one round run to its end, and return its metrics."""
    metrics = Metrics()
    kept_for = {
        "retention_days": days,
        "metrics_retention_days": 0.0,
        "message_retention_days": messages,
    }
    asyncio.run(RetentionTask(store, metrics, days=kept_for, **given).prune())
    return metrics


@pytest.mark.parametrize("most", [1, 2, 100])
def test_rows_go_when_they_are_old_enough(database_url: str, most: int) -> None:
    fill(database_url)
    store = open_store(database_url)
    try:
        metrics = prune(store, 30.0, most=most, apart_s=0.0)
        left = {
            "inbound_journal": [2, 3, 5],
        }
        assert kept(database_url) == left
        assert metrics.snapshot()["deleted_records_total{table=inbound_journal}"] == 2
        prune(store, 30.0, most=most, apart_s=0.0)
        assert kept(database_url) == left
        prune(store, 10.0, most=most, apart_s=0.0)
        assert kept(database_url) == {
            "inbound_journal": [2, 3],
        }
        # a provider may repeat a webhook for a week: for that time names are kept whatever the setting
        assert [len(query(database_url, f"SELECT * FROM {table}")) for table in ("event_names", "event_positions")] == [
            1,
            1,
        ]
    finally:
        store.close()


def test_zero_days_keep_everything(database_url: str) -> None:
    fill(database_url)
    before = kept(database_url)
    store = open_store(database_url)
    try:
        prune(store, 0.0)
    finally:
        store.close()
    assert kept(database_url) == before


def test_finished_messages_go_when_the_setting_asks_for_it_and_open_ones_stay(database_url: str) -> None:
    env = StoreEnv(database_url)
    old, open_one, young = env.accept("a", "b", "c")
    for row_id, state, days in ((old, "delivered", 40), (open_one, "in_doubt", 40), (young, "sent", 3)):
        env.set(row_id, f"state = '{state}', created_at = {DAY}{days}")
    for days in (40, 3):
        query(
            database_url,
            "INSERT INTO inbound_messages (company_id, connection_id, provider_id, chat_id, sender, type, content, "
            "at, created_at) "
            f"SELECT company_id, id, 'in {days}', 'c', 's', 'text', '{{}}', now(), {DAY}{days} FROM phone_configs",
        )
    store = open_store(database_url)
    try:
        prune(store, 30.0, most=1, apart_s=0.0)
        assert len(query(database_url, "SELECT id FROM messages")) == 3, "off unless it is set"
        metrics = prune(store, 30.0, messages=30.0, most=1, apart_s=0.0)
        assert [row["id"] for row in query(database_url, "SELECT id FROM messages ORDER BY id")] == [open_one, young]
        assert [row["provider_id"] for row in query(database_url, "SELECT provider_id FROM inbound_messages")] == [
            "in 3"
        ]
        assert metrics.snapshot()["deleted_records_total{table=messages}"] == 1
        assert len(query(database_url, "SELECT id FROM events WHERE subject = 'message'")) == 3, "of today"
    finally:
        store.close()
        env.close()


def test_what_is_young_is_not_even_read(database_url: str) -> None:
    fill(database_url)
    store = open_store(database_url)
    try:
        batches = [store.run(retention.prune_journal, age_s=30 * 86400.0, after=after, most=2) for after in (0, 2, 4)]
    finally:
        store.close()
    assert batches == [
        retention.Batch(deleted=1, after=2),
        retention.Batch(deleted=1, after=4),
        retention.Batch(deleted=0, after=None),
    ]


def test_a_message_outlives_the_raw_event_that_it_was_read_from(database_url: str) -> None:
    StoreEnv(database_url).close()  # makes a company with a connection
    query(
        database_url,
        f"INSERT INTO inbound_journal (process_name, source, received_at, body, processed_at) VALUES ('meta', 'meta', "
        f"{DAY}40, '', now())",
    )
    query(
        database_url,
        "INSERT INTO inbound_messages (company_id, connection_id, journal_id, provider_id, chat_id, sender, type, "
        "content, at) "
        "SELECT company_id, id, 1, 'x', 'c', 's', 'text', '{}', now() FROM phone_configs",
    )
    store = open_store(database_url)
    try:
        prune(store, 30.0)
    finally:
        store.close()
    assert query(database_url, "SELECT provider_id, journal_id FROM inbound_messages") == [
        {"provider_id": "x", "journal_id": None}
    ]


def test_the_recorder_does_it(home: Path, database_url: str) -> None:
    fill(database_url)
    assert Settings().retention_days == 30.0
    env = RecorderEnv(home, database_url, retention_days=10)
    try:
        env.start()
        eventually(
            lambda: kept(database_url)["inbound_journal"] == [2, 3],
            15,
            lambda: f"{kept(database_url)}\n{env.entry.log.read_text()}",
        )
    finally:
        env.close()
