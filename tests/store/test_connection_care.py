"""Connections in the database: who is looked at when, what is remembered of it, when it is held and let go, what its
removal does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.states import MessageState
from shared.store import connections, tasks
from tests.store.env import StoreEnv
from tests.support.database import query


def status(env: StoreEnv) -> Mapping[str, Any]:
    return query(env.url, "SELECT * FROM phone_configs WHERE id = %(id)s", id=env.connection)[0]


def unchecked(env: StoreEnv) -> list[int]:
    return env.store.run(
        connections.unchecked, "meta", older_s=3600.0, operation="test_connection", again_s=600.0, most=10
    )


def test_a_connection_that_was_not_checked_for_long_is_checked_once(env: StoreEnv) -> None:
    assert unchecked(env) == [env.connection]
    env.store.run(
        tasks.add, company_id="acme", connection_id=env.connection, operation="test_connection", expires_in_s=60.0
    )
    assert unchecked(env) == [], "somebody has asked already"
    query(env.url, "UPDATE tasks SET created_at = now() - interval '11 minutes'")
    assert unchecked(env) == [env.connection], "and nobody did it"
    env.store.run(
        connections.note_facts, env.connection, {"number": {"quality": "GREEN"}}, warning="soon", checked=True
    )
    assert unchecked(env) == []
    query(env.url, "UPDATE phone_status SET checked_at = now() - interval '2 hours'")
    assert unchecked(env) == [env.connection]


def test_facts_are_replaced_by_name_and_a_warning_is_taken_back(env: StoreEnv) -> None:
    note = connections.note_facts
    env.store.run(note, env.connection, {"number": {"a": 1, "b": 2}, "token": {"valid": True}}, warning="soon")
    env.store.run(note, env.connection, {"number": {"a": 3}})
    row = query(env.url, "SELECT facts, warning, checked_at FROM phone_status")[0]
    assert (row["facts"], row["warning"], row["checked_at"]) == (
        {"number": {"a": 3}, "token": {"valid": True}},
        "soon",
        None,
    )
    env.store.run(note, env.connection, {}, warning="")
    assert query(env.url, "SELECT warning FROM phone_status")[0]["warning"] == ""


def test_a_refusal_of_old_credentials_holds_nothing(env: StoreEnv) -> None:
    env.store.run(connections.update, env.connection, credentials="new")
    assert not env.store.run(connections.pause, env.connection, "190: dead", "old")
    assert env.store.run(connections.pause, env.connection, "190: dead", "new")
    assert env.store.run(connections.resume_mended, env.connection)
    assert env.store.run(connections.pause, env.connection, "131042: payment problem", "new")
    assert not env.store.run(connections.resume_mended, env.connection), "a new token pays nothing"


def test_what_is_being_sent_at_its_removal_ends_by_itself(env: StoreEnv) -> None:
    waiting, flying, returning = env.accept("a", "b", "c")
    env.claim([flying, returning])
    assert env.store.run(connections.remove, env.connection, "gone") == 1
    assert env.store.run(connections.remove, env.connection, "gone") is None
    assert (env.state(waiting), env.row(waiting)["error_code"]) == ("failed", connections.REMOVED)
    assert env.history(waiting)[-1] == "failed"
    assert env.settle(flying, MessageState.SENT, provider_id="p-1")
    assert env.settle(returning, MessageState.QUEUED, code="5xx")
    assert env.store.run(connections.fail_leftovers) == 1
    assert (env.state(flying), env.state(returning)) == ("sent", "failed")
    assert env.store.run(connections.of_kind, "meta") == []
    assert env.store.run(connections.desired_kinds) == []
    assert status(env)["credentials"] == ""


def test_a_task_alone_requires_its_kind(env: StoreEnv) -> None:
    env.store.run(
        tasks.add,
        company_id="acme",
        connection_id=env.connection,
        kind="webdriver",
        operation="wipe_session",
        expires_in_s=60.0,
    )
    env.store.run(connections.remove, env.connection, "gone")
    assert env.store.run(connections.desired_kinds) == ["webdriver"]


def test_an_index_is_free_again_after_its_removal(env: StoreEnv) -> None:
    add = connections.add
    assert env.store.run(add, company_id="acme", connection_type="meta_direct", phone_index=0) is None
    env.store.run(connections.remove, env.connection, "gone")
    made = env.store.run(add, company_id="acme", connection_type="meta_direct")
    assert made is not None
    assert made[1] == 0
    found = env.store.run(connections.by_index, "acme", 0)
    assert found is not None
    assert found.id == made[0]
