"""A reader never skips an event: neither one whose transaction commits late, nor one whose id is lower than those that
were read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from shared.events import types
from shared.events.reader import EventPage, EventReader, Position
from shared.states import MessageState
from shared.store.store import Store
from tests.store.env import StoreEnv, open_store
from tests.support.database import query

WRITE = "INSERT INTO events (subject, type, company_id, detail) VALUES ('session', 'session.tested', %s, %s)"


class Writer:
    """One transaction that writes events when it is asked to."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)

    def write(self, detail: str, company_id: str = "acme") -> Writer:
        with self._connection.cursor() as cursor:
            cursor.execute(WRITE, (company_id, detail))
        return self

    def commit(self) -> None:
        self._connection.commit()
        self._connection.close()

    def roll_back(self) -> None:
        self._connection.rollback()
        self._connection.close()


class Follower:
    """A consumer: reads, and keeps its position."""

    def __init__(self, store: Store, **given: Any) -> None:
        self._store, self._reader = store, EventReader(**given)
        self.position = Position()

    def page(self, most: int = 100) -> EventPage:
        page = self._store.run(self._reader.read, self.position, most=most)
        self.position = page.position
        return page

    def details(self, most: int = 100) -> list[str | None]:
        return [event.detail for event in self.page(most).events]

    def everything(self, most: int) -> list[str | None]:
        found: list[str | None] = []
        while True:
            page = self.page(most)
            found += [event.detail for event in page.events]
            if page.complete:
                return found


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    made = open_store(url)
    yield made
    made.close()


@pytest.fixture
def writer(url: str) -> Callable[[], Writer]:
    return lambda: Writer(url)


def test_a_late_commit_with_a_lower_id_is_not_skipped(store: Store, writer: Callable[[], Writer]) -> None:
    follower = Follower(store)
    early, late = writer().write("1"), writer().write("2")
    late.commit()
    assert follower.details() == [], "the first one may still commit"
    early.commit()
    assert follower.details() == ["1", "2"]
    assert follower.details() == []


def test_ids_that_were_given_out_of_the_order_of_transactions_are_read_once_each(
    store: Store, writer: Callable[[], Writer]
) -> None:
    follower = Follower(store)
    first, second = writer().write("a1"), writer().write("b1")
    first.write("a2")
    second.write("b2")
    second.commit()
    writer().write("c").commit()
    assert follower.details() == []
    first.write("a3").commit()
    assert follower.details() == ["a1", "a2", "a3", "b1", "b2", "c"]


def test_a_long_transaction_holds_the_position_back_and_is_shown(store: Store, writer: Callable[[], Writer]) -> None:
    follower = Follower(store)
    writer().write("before").commit()
    long = writer().write("long")
    for number in range(5):
        writer().write(f"short {number}").commit()
    page = follower.page()
    assert [event.detail for event in page.events] == ["before"]
    assert page.held_back >= 6
    held_at = follower.position
    assert follower.details() == []
    assert follower.position == held_at
    long.commit()
    assert follower.details() == ["long", *(f"short {number}" for number in range(5))]


def test_a_rollback_leaves_no_hole_that_blocks(store: Store, writer: Callable[[], Writer]) -> None:
    follower = Follower(store)
    gone = writer().write("gone")
    writer().write("kept").commit()
    assert follower.details() == []
    gone.roll_back()
    assert follower.details() == ["kept"]


@pytest.mark.parametrize("most", [1, 2, 7, 100])
def test_pages_of_any_size_make_the_same_stream(store: Store, writer: Callable[[], Writer], most: int) -> None:
    expected = []
    for number in range(12):
        one = writer()
        for step in range(number % 4):
            one.write(f"{number}.{step}")
            expected.append(f"{number}.{step}")
        one.commit()
    assert Follower(store).everything(most) == expected


def test_a_position_that_was_kept_goes_on_where_it_was(store: Store, writer: Callable[[], Writer]) -> None:
    first = Follower(store)
    writer().write("1").write("2").commit()
    assert first.details(most=1) == ["1"]
    second = Follower(store)
    second.position = first.position
    assert second.everything(10) == ["2"]


def test_a_stream_with_few_events_for_a_reader_is_crossed_in_a_few_steps(
    url: str, store: Store, writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.events.reader._WINDOW", 2)
    for _ in range(30):
        writer().write("theirs", company_id="globex").commit()
    writer().write("ours").commit()
    follower = Follower(store, company_id="acme", types=["session.tested"])
    oldest = query(url, "SELECT min(xid) AS xid FROM events")[0]["xid"]
    follower.position = Position(oldest)
    assert follower.everything(10) == ["ours"]


def test_events_of_messages_and_of_everything_else_are_one_stream(env: StoreEnv) -> None:
    store = open_store(env.url)
    follower = Follower(store)
    follower.everything(1000)
    ids = env.accept("a")
    query(env.url, "INSERT INTO events (subject, type) VALUES ('process', 'process.ready')")
    env.claim(ids)
    seen = follower.page().events
    assert [(event.type, event.message_id) for event in seen] == [
        ("message.queued", ids[0]),
        ("process.ready", None),
        ("message.sending", ids[0]),
    ]
    assert seen[0].company_id == "acme"
    assert seen[0].connection_id == env.connection
    store.close()


def test_the_reader_is_served_by_the_brin_index(url: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events (subject, type, detail) SELECT 'session', 'session.tested', "
            "repeat('x', 200) FROM generate_series(1, 20000)"
        )
        connection.commit()
        cursor.execute("ANALYZE events")
        connection.commit()
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (xid,) = cursor.fetchone() or (0,)
        cursor.execute("INSERT INTO events (subject, type) VALUES ('session', 'session.tested')")
        connection.commit()
        cursor.execute("EXPLAIN SELECT id FROM events WHERE xid >= %s AND xid < %s ORDER BY xid, id", (xid, xid + 100))
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Bitmap Index Scan" in plan, plan


def test_every_state_of_a_message_is_a_named_type() -> None:
    assert {f"message.{state}" for state in MessageState} <= types.EVENT_TYPES.keys()
    for name in types.EVENT_TYPES:
        assert types.subject(name) in types.SUBJECTS
    for wrong in ("message", "message.", ".sent", "weather.fine"):
        with pytest.raises(ValueError, match="no type"):
            types.subject(wrong)
