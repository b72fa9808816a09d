"""A database with data of the schema before `events` migrates into it, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yoyo

from shared.messages import Receipt
from shared.states import MessageState
from shared.store import messages, migrate, processes, receipts, sessions
from shared.store.store import Store
from tests.store.env import LONG_AGO, open_store
from tests.support.database import query

DUMP = Path(__file__).with_name("data") / "schema_0009.sql"
HISTORY = "SELECT message_id, state, at, attempt, incarnation, code, detail, extra FROM message_events ORDER BY id"
SESSIONS = "SELECT connection_id, at, event, state, detail, incarnation FROM session_events ORDER BY id"
PROCESSES = (
    "SELECT boot_id, seq, at, event, process_name, instance, incarnation, detail FROM process_events ORDER BY id"
)
ACCOUNTS = "SELECT process_name, account_id, kind, value, at, name FROM account_events ORDER BY id"


def _tables(url: str) -> dict[str, list[Any]]:
    return {statement: query(url, statement) for statement in (HISTORY, SESSIONS, PROCESSES, ACCOUNTS)}


@pytest.fixture
def old_url(empty_database_url: str) -> str:
    """A database as it was before the migration."""
    with closing(psycopg2.connect(empty_database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(DUMP.read_text(encoding="utf-8"))
        connection.commit()
    return empty_database_url


@pytest.fixture
def store(old_url: str) -> Iterator[Store]:
    made = open_store(old_url)
    yield made
    made.close()


def test_everything_that_happened_is_an_event_and_answers_stay_as_they_were(old_url: str, store: Store) -> None:
    before = _tables(old_url)
    (connection,) = {row["connection_id"] for row in before[SESSIONS]}
    assert migrate.apply(old_url)[0] == "0010.events"

    for message_id in {row["message_id"] for row in before[HISTORY]}:
        expected = [dict(row) for row in before[HISTORY] if row["message_id"] == message_id]
        history = [dict(row) for row in store.run(messages.history, message_id)]
        assert all(step.pop("written_at") >= step["at"] for step in history), "never before it happened"
        assert [{"message_id": message_id, **row} for row in history] == expected
    shown = store.run(sessions.events, connection, most=10)
    assert [(row["event"], row["at"], row["state"], row["detail"], row["incarnation"]) for row in reversed(shown)] == [
        (row["event"], row["at"], row["state"], row["detail"], row["incarnation"]) for row in before[SESSIONS]
    ]
    seen = store.run(processes.latest_events, most=10)
    names = ("at", "event", "process_name", "instance", "incarnation", "detail")
    assert [[row[name] for name in names] for row in reversed(seen)] == [
        [row[name] for name in names] for row in sorted(before[PROCESSES], key=lambda row: row["at"])
    ]
    assert len(query(old_url, "SELECT * FROM recent_process_events")) == 0, "they are ten days old"
    accounts = query(
        old_url,
        """SELECT kind AS process_name, data ->> 'accountId' AS account_id, split_part(type, '.', 2) AS kind,
                  data -> 'value' AS value, at, data ->> 'name' AS name
           FROM events WHERE subject = 'account' ORDER BY id""",
    )
    assert accounts == before[ACCOUNTS]


def test_what_was_written_before_is_not_written_again(old_url: str, store: Store) -> None:
    before = _tables(old_url)
    migrate.apply(old_url)
    rows = [{**row, "at": row["at"].isoformat()} for row in before[PROCESSES]]
    assert store.run(processes.write_events, rows) == 0
    again = {**rows[0], "seq": 100}
    assert store.run(processes.write_events, [again]) == 1

    delivered = next(row for row in before[HISTORY] if row["state"] == "delivered")
    connection_id = query(old_url, "SELECT connection_id FROM messages LIMIT 1")[0]["connection_id"]
    receipt = Receipt(
        connection_id=connection_id,
        state=MessageState.DELIVERED,
        at=LONG_AGO,
        provider_id="wamid.1",
        extra={"status": "delivered"},
    )
    store.run(receipts.apply, [receipt])
    states = [row["state"] for row in store.run(messages.history, delivered["message_id"])]
    assert states.count("delivered") == 1


def test_it_can_be_rolled_back(old_url: str) -> None:
    before = _tables(old_url)
    applied = migrate.apply(old_url)
    backend = yoyo.get_backend(old_url)
    try:
        all_of_them = yoyo.read_migrations(str(migrate.migrations_directory()))
        backend.rollback_migrations(backend.to_rollback(all_of_them).filter(lambda migration: migration.id in applied))
    finally:
        backend.connection.close()
    assert _tables(old_url) == before
    # and forward again
    assert migrate.apply(old_url) == applied
