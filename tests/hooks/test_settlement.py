"""What is written about subscribers: by the incarnation that serves them, all together, and nothing of what was read
before a change.
"""

from __future__ import annotations

from typing import Any

import pytest

from hooks import rows
from hooks.rows import SubscriberSettlement
from shared.events.reader import Position
from tests.store.env import StoreEnv
from tests.support.database import query

MINE, ANOTHER = "hooks-0/1", "hooks-1/1"


def settlement(hook_id: int, version: int = 1, **given: Any) -> SubscriberSettlement:
    attempt = {
        "xid": 5,
        "event_id": 5,
        "type": "message.sent",
        "at": "2026-11-30T12:00:00+00:00",
        "attempt": 1,
        "outcome": "taken",
        "status": 204,
        "error": "",
        "took_ms": 3,
    }
    fields: dict[str, Any] = {"position": Position(5, 5), "attempts": [attempt], **given}
    return SubscriberSettlement(hook_id=hook_id, version=version, **fields)


def kept(event_id: int, conversation: str, after_s: float = 0.0) -> dict[str, Any]:
    return {
        "xid": 5,
        "event_id": event_id,
        "conversation": conversation,
        "state": "waiting",
        "attempts": 1,
        "first_at": "2026-11-30T12:00:00+00:00",
        "after_s": after_s,
        "status": 500,
        "error": "http_500",
    }


@pytest.fixture
def hooks(env: StoreEnv) -> list[int]:
    """Three subscribers, the last of which another incarnation serves."""
    env.connect()
    add = """INSERT INTO hooks (company_id, url, sealed, xid, event_id, incarnation)
             SELECT 'acme', 'https://example.com', '', 1, 1, owner FROM unnest(%(owners)s) AS owner RETURNING id"""
    return [row["id"] for row in query(env.url, add, owners=[MINE, MINE, ANOTHER])]


def position(env: StoreEnv, hook_id: int) -> tuple[int, int]:
    (row,) = query(env.url, "SELECT xid, event_id FROM hooks WHERE id = %(id)s", id=hook_id)
    return row["xid"], row["event_id"]


def logged(env: StoreEnv, hook_id: int) -> int:
    (row,) = query(env.url, "SELECT count(*) AS count FROM hook_deliveries WHERE hook_id = %(id)s", id=hook_id)
    count: int = row["count"]
    return count


def test_only_what_is_ours_and_unchanged_is_written(env: StoreEnv, hooks: list[int]) -> None:
    _, changed, another = hooks
    query(env.url, "UPDATE hooks SET version = 2 WHERE id = %(id)s RETURNING id", id=changed)
    written = env.store.run(rows.settle, [settlement(one) for one in hooks], incarnation=MINE)
    assert [row is not None for row in written] == [True, False, False]
    assert [position(env, one) for one in hooks] == [(5, 5), (1, 1), (1, 1)]
    assert [logged(env, one) for one in hooks] == [1, 0, 0]
    failed = settlement(another, kept=[kept(5, "a")], failed=True)
    assert env.store.run(rows.settle, [failed], incarnation=MINE) == [None]
    assert query(env.url, "SELECT * FROM hook_retries") == []


def test_a_page_and_what_was_tried_again_are_written_together(env: StoreEnv, hooks: list[int]) -> None:
    mine = hooks[0]
    first = settlement(mine, kept=[kept(5, "a"), kept(6, "b")], failed=True)
    (row,) = env.store.run(rows.settle, [first], incarnation=MINE)
    assert row is not None
    assert row["failing_s"] == pytest.approx(0.0, abs=5.0)
    page = settlement(mine, position=Position(9, 9), kept=[kept(9, "a")], failed=True)
    again = settlement(mine, position=None, done=[Position(5, 5)], taken=True)
    both = env.store.run(rows.settle, [page, again], incarnation=MINE)
    assert [row and row["failing_s"] for row in both] == [None, None], "something was taken"
    assert position(env, mine) == (9, 9)
    waiting = query(env.url, "SELECT event_id FROM hook_retries WHERE hook_id = %(id)s ORDER BY event_id", id=mine)
    assert [row["event_id"] for row in waiting] == [6, 9]
    assert logged(env, mine) == 3


def test_an_event_that_was_read_twice_is_kept_once(env: StoreEnv, hooks: list[int]) -> None:
    first, second = settlement(hooks[0], kept=[kept(5, "a"), kept(5, "a")]), settlement(hooks[0], kept=[kept(5, "a")])
    assert None not in env.store.run(rows.settle, [first, second], incarnation=MINE)
    assert len(query(env.url, "SELECT * FROM hook_retries")) == 1


def test_what_waits_and_is_still_to_come_in_the_stream_is_known(env: StoreEnv, hooks: list[int]) -> None:
    mine, other, _ = hooks
    dead = kept(9, "a") | {"state": "dead"}
    waits = [settlement(mine, kept=[kept(5, "a"), kept(6, "a"), dead]), settlement(other, kept=[kept(7, "a")])]
    env.store.run(rows.settle, waits, incarnation=MINE)
    assert env.store.run(rows.waiting_after, mine, Position(5, 5)) == {Position(5, 6)}
    assert env.store.run(rows.waiting_after, mine, Position()) == {Position(5, 5), Position(5, 6)}


def test_only_the_first_of_each_conversation_is_due(env: StoreEnv, hooks: list[int]) -> None:
    mine = hooks[0]
    waits = [kept(5, "a", after_s=60.0), kept(6, "a"), kept(7, "b"), kept(8, "b")]
    env.store.run(rows.settle, [settlement(mine, kept=waits)], incarnation=MINE)
    found = env.store.run(rows.due, mine, in_hand=[], most=10, each=10)
    assert [row["event_id"] for row in found] == [7, 8], "what waits behind one that is not due is not due"
    assert [row["event_id"] for row in env.store.run(rows.due, mine, in_hand=[], most=1, each=1)] == [7]


def test_what_is_in_hand_is_not_found(env: StoreEnv, hooks: list[int]) -> None:
    mine = hooks[0]
    env.store.run(rows.settle, [settlement(mine, kept=[kept(5, "a"), kept(6, "b", after_s=60.0)])], incarnation=MINE)
    assert env.store.run(rows.due, mine, in_hand=["a"], most=10, each=10) == []
    assert env.store.run(rows.next_due_s, mine, in_hand=["a"]) == pytest.approx(60.0, abs=10.0)
    assert env.store.run(rows.next_due_s, mine, in_hand=["a", "b"]) is None


def test_the_next_look_is_when_the_first_of_a_conversation_is_due(env: StoreEnv, hooks: list[int]) -> None:
    mine, other, _ = hooks
    assert env.store.run(rows.next_due_s, mine, in_hand=[]) is None
    waits = [kept(5, "a", after_s=60.0), kept(6, "a"), kept(7, "b", after_s=300.0)]
    env.store.run(rows.settle, [settlement(mine, kept=waits), settlement(other, kept=[kept(5, "a")])], incarnation=MINE)
    assert env.store.run(rows.next_due_s, mine, in_hand=[]) == pytest.approx(60.0, abs=10.0)
    due_s = env.store.run(rows.next_due_s, other, in_hand=[])
    assert due_s is not None
    assert due_s <= 0.0
