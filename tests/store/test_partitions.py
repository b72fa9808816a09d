"""Partitions of a day each: made ahead, filled from the safety net, dropped when they are old. No insert ever fails for
want of one.
"""

from __future__ import annotations

import re

import yoyo

from shared.store import messages, migrate, partitions
from shared.store.statements import statements
from shared.store.store import Store
from tests.store.env import StoreEnv, open_store, side_by_side
from tests.support.database import query

PARTITIONS = """SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = ANY(%(parents)s::text[]::regclass[]) ORDER BY 1"""


def names(url: str) -> list[str]:
    return [row["name"] for row in query(url, PARTITIONS, parents=list(partitions.PARTITIONED))]


def write(url: str, subject: str, days: int) -> None:
    """Write an event as if so many days from now."""
    statement = """INSERT INTO events (written_at, subject, type, message_id)
                   VALUES (now() + make_interval(days => %(days)s), %(subject)s, %(subject)s || '.tested', 7)"""
    query(url, statement, days=days, subject=subject)


def where(url: str) -> dict[str, int]:
    rows = query(url, "SELECT tableoid::regclass::text AS name, count(*) AS rows FROM events GROUP BY 1")
    return {row["name"]: row["rows"] for row in rows}


def test_days_are_made_ahead_once(database_url: str) -> None:
    store = open_store(database_url)
    made = len(names(database_url))
    assert store.run(partitions.make_partitions, ahead=3) == 0, "the migration made them"
    assert store.run(partitions.make_partitions, ahead=5) == 8
    assert store.run(partitions.make_partitions, ahead=5) == 0
    assert len(names(database_url)) == made + 8
    store.close()


def test_two_that_make_them_at_once_make_them_once(database_url: str) -> None:
    store = open_store(database_url)
    made = side_by_side(*[lambda: store.run(partitions.make_partitions, ahead=6)] * 3)
    assert sorted(made) == [0, 0, 12]
    store.close()


def test_what_was_written_on_a_day_without_a_partition_moves_into_its_own(database_url: str) -> None:
    store = open_store(database_url)
    for _ in range(3):
        write(database_url, "message", 40)
        write(database_url, "session", 41)
    assert where(database_url) == {"events_messages_default": 3, "events_others_default": 3}
    ids = [row["id"] for row in query(database_url, "SELECT id FROM events ORDER BY id")]
    assert store.run(partitions.make_partitions) == 2
    assert not {"events_messages_default", "events_others_default"} & where(database_url).keys()
    assert [row["id"] for row in query(database_url, "SELECT id FROM events ORDER BY id")] == ids
    write(database_url, "message", 40)
    assert sorted(where(database_url).values()) == [3, 4]
    store.close()


def test_old_days_are_dropped_and_each_part_is_kept_for_its_own_time(database_url: str) -> None:
    store = open_store(database_url)
    for subject in ("message", "session", "process"):
        for days in (-40, -5, 0):
            write(database_url, subject, days)
    # what is older than the migration lies in one partition, which ends today
    assert store.run(partitions.drop_partitions, "events_others", age_s=3 * 86400.0) == 0
    query(database_url, "DELETE FROM events WHERE written_at < now() - interval '1 day'")
    for days in (10, 11):
        write(database_url, "message", days)
        write(database_url, "session", days)
    store.run(partitions.make_partitions)
    assert store.run(partitions.drop_partitions, "events_others", age_s=-5 * 86400.0) == 5, (
        "the one before, today and three ahead"
    )
    assert len(query(database_url, "SELECT id FROM events WHERE subject = 'session'")) == 2
    assert len(query(database_url, "SELECT id FROM events WHERE subject = 'message'")) == 3
    store.close()


def test_metrics_are_kept_by_the_day(database_url: str) -> None:
    """What was there before is a partition of its own; whatever day is written to, no insert fails."""
    store = open_store(database_url)
    insert = """INSERT INTO process_metrics (process_name, instance, at, metrics)
                VALUES ('meta', 0, now() + make_interval(days => %(days)s), '{}')"""
    for days in (-40, 0, 40):
        query(database_url, insert, days=days)
    assert store.run(partitions.make_partitions) == 1, "the day in the default partition"
    assert store.run(partitions.drop_partitions, "process_metrics", age_s=0.0) == 0
    assert store.run(partitions.drop_partitions, "process_metrics", age_s=-2 * 86400.0) == 2
    assert len(query(database_url, "SELECT at FROM process_metrics")) == 1
    store.close()


def test_metrics_of_the_version_before_stay(database_url: str) -> None:
    """Also with a row of a clock that was ahead."""
    backend = yoyo.get_backend(database_url)
    every = yoyo.read_migrations(str(migrate.migrations_directory()))
    backend.rollback_migrations(backend.to_rollback(every.filter(lambda one: one.id >= "0076")))
    backend.connection.close()
    query(
        database_url,
        """INSERT INTO process_metrics (process_name, instance, at, metrics)
           SELECT 'meta', n, now() + make_interval(days => n - 2), '{}' FROM generate_series(0, 4) AS n""",
    )
    migrate.apply(database_url)
    rows = query(database_url, "SELECT instance, at <= now() AS past FROM process_metrics ORDER BY instance")
    assert [(row["instance"], row["past"]) for row in rows] == [(number, True) for number in range(5)]


def test_attempts_of_deliveries_outlive_the_migration_and_its_rollback(env: StoreEnv) -> None:
    """Also with a row of a clock that was ahead; and they end with their subscriber."""
    env.connect()
    backend = yoyo.get_backend(env.url)
    later = yoyo.read_migrations(str(migrate.migrations_directory())).filter(lambda one: one.id >= "0095")
    backend.rollback_migrations(backend.to_rollback(later))
    hooks = """INSERT INTO hooks (company_id, url, sealed, xid, event_id)
               SELECT 'acme', 'https://example.com', '', 0, 0 FROM generate_series(1, 2) RETURNING id"""
    kept, removed = (row["id"] for row in query(env.url, hooks))
    log = """INSERT INTO hook_deliveries (hook_id, xid, event_id, type, at, attempt, outcome, took_ms)
             SELECT %(id)s, 1, n, 'message.sent', now() + make_interval(days => n - 2), 1, 'taken', 3
             FROM generate_series(0, 4) AS n"""
    shown = "SELECT id, event_id FROM hook_deliveries WHERE hook_id = %(id)s ORDER BY id"
    query(env.url, log, id=kept)
    query(env.url, log, id=removed)
    before = query(env.url, shown, id=kept)
    migrate.apply(env.url)
    assert query(env.url, shown, id=kept) == before
    query(env.url, log, id=kept)
    assert [row["event_id"] for row in query(env.url, shown, id=kept)] == [*range(5), *range(5)], "numbers go on"
    query(env.url, "DELETE FROM hooks WHERE id = %(id)s", id=removed)
    assert query(env.url, shown, id=removed) == []
    assert env.store.run(partitions.drop_partitions, "hook_deliveries", age_s=-2 * 86400.0) == 2
    assert len(query(env.url, shown, id=kept)) == 2, "of the day after tomorrow"
    backend.rollback_migrations(backend.to_rollback(later))
    assert len(query(env.url, shown, id=kept)) == 2
    query(env.url, "DELETE FROM hooks WHERE id = %(id)s", id=kept)
    assert query(env.url, shown, id=kept) == []
    backend.connection.close()
    migrate.apply(env.url)


def test_a_writer_is_not_failed_by_the_making_of_partitions(env: StoreEnv) -> None:
    store = open_store(env.url)

    def write_some(other: Store = store) -> int:
        for number in range(20):
            env.accept(f"chat-{number}")
        return 0

    side_by_side(write_some, lambda: store.run(partitions.make_partitions, ahead=9))
    assert len(query(env.url, "SELECT id FROM messages")) == 20
    store.close()


def test_the_days_before_a_message_are_not_searched_for_its_history(env: StoreEnv) -> None:
    """Partitions of earlier days are left out while the statement runs: however long events are kept, a receipt costs
    the same.
    """
    (message_id,) = env.accept("a")
    plan = query(
        env.url,
        "EXPLAIN (ANALYZE, FORMAT TEXT) " + statements()["message_history"],
        id=message_id,
    )
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    # a line for each partition: a bitmap scan of one has a second line, whose name is that of the index
    scans = [line for line in text.splitlines() if re.search(r" on events_messages_(before_)?\d{8} ", line)]
    assert any("_before_" in line for line in scans), text
    # today and tomorrow; in the first ten minutes of a day yesterday too
    (clock,) = query(env.url, "SELECT (now() AT TIME ZONE 'UTC')::time < '00:10' AS is_new_day")
    assert sum("never executed" not in line for line in scans) <= 2 + clock["is_new_day"], text
    assert [row["state"] for row in env.store.run(messages.history, message_id)] == ["queued"]
