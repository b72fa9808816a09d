"""Partitions of events: made ahead, filled from the safety net, dropped when they are old; an insert never fails for
want of one.
"""

from __future__ import annotations

from shared.store import events, messages
from shared.store.statements import statements
from shared.store.store import Store
from tests.store.env import StoreEnv, open_store, query, side_by_side

PARTITIONS = """SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent IN ('events_messages'::regclass, 'events_others'::regclass) ORDER BY 1"""


def names(url: str) -> list[str]:
    return [row["name"] for row in query(url, PARTITIONS)]


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
    assert store.run(events.make_partitions, ahead=3) == 0, "the migration made them"
    assert store.run(events.make_partitions, ahead=5) == 4
    assert store.run(events.make_partitions, ahead=5) == 0
    assert len(names(database_url)) == made + 4
    store.close()


def test_two_that_make_them_at_once_make_them_once(database_url: str) -> None:
    store = open_store(database_url)
    made = side_by_side(*[lambda: store.run(events.make_partitions, ahead=6)] * 3)
    assert sorted(made) == [0, 0, 6]
    store.close()


def test_what_was_written_on_a_day_without_a_partition_moves_into_its_own(database_url: str) -> None:
    store = open_store(database_url)
    for _ in range(3):
        write(database_url, "message", 40)
        write(database_url, "session", 41)
    assert where(database_url) == {"events_messages_default": 3, "events_others_default": 3}
    ids = [row["id"] for row in query(database_url, "SELECT id FROM events ORDER BY id")]
    assert store.run(events.make_partitions) == 2
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
    assert store.run(events.drop_partitions, "events_others", age_s=3 * 86400.0) == 0
    query(database_url, "DELETE FROM events WHERE written_at < now() - interval '1 day'")
    for days in (10, 11):
        write(database_url, "message", days)
        write(database_url, "session", days)
    store.run(events.make_partitions)
    assert store.run(events.drop_partitions, "events_others", age_s=-5 * 86400.0) == 5, (
        "the one before, today and three ahead"
    )
    assert len(query(database_url, "SELECT id FROM events WHERE subject = 'session'")) == 2
    assert len(query(database_url, "SELECT id FROM events WHERE subject = 'message'")) == 3
    store.close()


def test_a_writer_is_not_failed_by_the_making_of_partitions(env: StoreEnv) -> None:
    store = open_store(env.url)

    def write_some(other: Store = store) -> int:
        for number in range(20):
            env.accept(f"chat-{number}")
        return 0

    side_by_side(write_some, lambda: store.run(events.make_partitions, ahead=9))
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
    scans = [line for line in text.splitlines() if " on events_messages_" in line]
    assert any("_before_" in line for line in scans), text
    # today and tomorrow; in the first ten minutes of a day yesterday too
    (clock,) = query(env.url, "SELECT (now() AT TIME ZONE 'UTC')::time < '00:10' AS is_new_day")
    assert sum("never executed" not in line for line in scans) <= 2 + clock["is_new_day"], text
    assert [row["state"] for row in env.store.run(messages.history, message_id)] == ["queued"]
