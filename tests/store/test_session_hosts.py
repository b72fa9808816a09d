"""On which host each browser session runs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from shared.delivery.reclaim import reclaim_expired
from shared.store import inbound_media, messages, processes, sessions, tasks
from tests.store.env import StoreEnv
from tests.store.test_hosts import beat, silent
from tests.support.database import query

ONE, TWO = "webdriver-0.a@one", "webdriver-0.b@two"


@pytest.fixture
def connections(env: StoreEnv) -> list[int]:
    """Four connections with browser sessions."""
    return [env.connect(phone_index=index, connection_type="wwebjs") for index in range(1, 5)]


def take(env: StoreEnv, incarnation: str, kept: Collection[int] = (), *, any_linked: bool = True) -> dict[int, str]:
    taken = env.store.run(
        sessions.take, kind="webdriver", incarnation=incarnation, kept=sorted(kept), any_linked=any_linked
    )
    return dict(taken.moved)


def here(env: StoreEnv, incarnation: str) -> list[int]:
    return [row["id"] for row in env.store.run(sessions.here, kind="webdriver", incarnation=incarnation)]


def link(env: StoreEnv, connection_ids: Collection[int]) -> None:
    query(
        env.url,
        "INSERT INTO phone_status (connection_id, process_name, status, link) "
        "SELECT id, 'webdriver', 'ready', '49@c.us' FROM unnest(%(ids)s) AS t(id)",
        ids=list(connection_ids),
    )


def test_a_single_host_takes_all(env: StoreEnv, connections: list[int]) -> None:
    beat(env, ONE)
    assert take(env, ONE) == {}, "none of them was another host's"
    assert here(env, ONE) == connections


def test_two_hosts_share_and_no_session_is_on_both(env: StoreEnv, connections: list[int]) -> None:
    """Before, each of them started a browser for every connection, and a person linked twice."""
    beat(env, ONE)
    beat(env, TWO)
    for _ in range(2):
        take(env, ONE)
        take(env, TWO)
    assert sorted(here(env, ONE) + here(env, TWO)) == connections
    assert len(here(env, ONE)) == len(here(env, TWO)) == 2


def test_a_linked_session_goes_to_the_host_with_its_profile(env: StoreEnv, connections: list[int]) -> None:
    link(env, connections)
    beat(env, ONE)
    beat(env, TWO)
    take(env, TWO, any_linked=False)
    assert here(env, TWO) == []
    take(env, ONE, connections, any_linked=False)
    assert here(env, ONE) == connections, "all of them, though they are more than its share"


def test_sessions_move_only_when_their_host_is_fenced(env: StoreEnv, connections: list[int], tmp_path: Path) -> None:
    beat(env, ONE)
    take(env, ONE)
    beat(env, TWO)
    beat(env, ONE, age_s=600.0)
    take(env, TWO)
    assert here(env, TWO) == [], "silence and a lease that has run out prove nothing by themselves"
    env.store.run(reclaim_expired, tmp_path, silent(env)[ONE])
    assert take(env, TWO, connections[:1]) == dict.fromkeys(connections, "one")
    assert here(env, TWO) == connections
    assert here(env, ONE) == [], "who comes back finds none of them"
    details = [
        row["detail"] for row in query(env.url, "SELECT detail FROM events WHERE type = 'session.moved' ORDER BY id")
    ]
    assert sum("it must be linked anew" in detail for detail in details) == 3
    assert sum("with its profile" in detail for detail in details) == 1


def test_a_fenced_life_runs_no_session_until_its_successor_has_a_lease(
    env: StoreEnv, connections: list[int], tmp_path: Path
) -> None:
    beat(env, ONE, age_s=600.0)
    take(env, ONE)
    env.store.run(reclaim_expired, tmp_path, silent(env)[ONE])
    take(env, ONE)
    assert here(env, ONE) == [], "its own browsers end, though no other host has taken them"
    beat(env, "webdriver-0.next@one")
    take(env, "webdriver-0.next@one")
    assert here(env, "webdriver-0.next@one") == connections


def test_work_of_a_session_is_taken_where_it_runs(env: StoreEnv, connections: list[int]) -> None:
    """Messages, tasks and files: a process takes only what it can serve."""
    beat(env, ONE)
    take(env, ONE)
    row_id = env.accept("a", connection_id=connections[0], connection_type="wwebjs")[0]
    query(
        env.url,
        "INSERT INTO tasks (company_id, connection_id, process_name, operation, arguments, expires_at) "
        "SELECT company_id, id, 'webdriver', 'restart', '{}', now() + interval '1 hour' FROM phone_configs "
        "WHERE id = %(id)s",
        id=connections[0],
    )

    def taken(incarnation: str) -> tuple[int, int, int]:
        claimed = env.store.run(
            messages.claim, kind="webdriver", incarnation=incarnation, ids=[row_id], most=1, token_at_claim=False
        )
        due = env.store.run(messages.due, kind="webdriver", grace_s=0.0, most=5, host=sessions.host_of(incarnation))
        done = env.store.run(tasks.take, kind="webdriver", incarnation=incarnation, operations=["restart"], most=1)
        env.store.run(inbound_media.take_media, "webdriver", incarnation=incarnation, lease_s=10.0, most=1)
        return len(due), len(claimed), len(done)

    assert taken(TWO) == (0, 0, 0)
    # claimed before the look
    assert taken(ONE) == (0, 1, 1)
    assert env.store.run(processes.silent_lives, silent_s=20.0) == []
