"""Connections in the database: who is looked at when, what is remembered of it, when it is held and let go, what its
removal does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.states import MessageState
from shared.store import connections, tasks
from tests.store.rig import Ground, query


def status(ground: Ground) -> Mapping[str, Any]:
    return query(ground.url, "SELECT * FROM phone_configs WHERE id = %(id)s", id=ground.connection)[0]


def unchecked(ground: Ground) -> list[int]:
    return ground.store.run(
        connections.unchecked, "meta", older_s=3600.0, operation="test_connection", again_s=600.0, most=10
    )


def test_who_was_not_looked_at_for_long_is_asked_about_once(ground: Ground) -> None:
    assert unchecked(ground) == [ground.connection]
    ground.store.run(
        tasks.add, company_id="acme", connection_id=ground.connection, operation="test_connection", expires_in_s=60.0
    )
    assert unchecked(ground) == [], "somebody has asked already"
    query(ground.url, "UPDATE tasks SET created_at = now() - interval '11 minutes'")
    assert unchecked(ground) == [ground.connection], "and nobody did it"
    ground.store.run(
        connections.note_facts, ground.connection, {"number": {"quality": "GREEN"}}, warning="soon", checked=True
    )
    assert unchecked(ground) == []
    query(ground.url, "UPDATE phone_status SET checked_at = now() - interval '2 hours'")
    assert unchecked(ground) == [ground.connection]


def test_facts_are_replaced_by_name_and_a_warning_is_taken_back(ground: Ground) -> None:
    note = connections.note_facts
    ground.store.run(note, ground.connection, {"number": {"a": 1, "b": 2}, "token": {"valid": True}}, warning="soon")
    ground.store.run(note, ground.connection, {"number": {"a": 3}})
    row = query(ground.url, "SELECT facts, warning, checked_at FROM phone_status")[0]
    assert (row["facts"], row["warning"], row["checked_at"]) == (
        {"number": {"a": 3}, "token": {"valid": True}},
        "soon",
        None,
    )
    ground.store.run(note, ground.connection, {}, warning="")
    assert query(ground.url, "SELECT warning FROM phone_status")[0]["warning"] == ""


def test_a_refusal_of_old_credentials_holds_nothing(ground: Ground) -> None:
    ground.store.run(connections.update, ground.connection, credentials="new")
    assert not ground.store.run(connections.pause, ground.connection, "190: dead", "old")
    assert ground.store.run(connections.pause, ground.connection, "190: dead", "new")
    assert ground.store.run(connections.resume_mended, ground.connection)
    assert ground.store.run(connections.pause, ground.connection, "131042: payment problem", "new")
    assert not ground.store.run(connections.resume_mended, ground.connection), "a new token pays nothing"


def test_what_is_being_sent_at_its_removal_ends_by_itself(ground: Ground) -> None:
    waiting, flying, returning = ground.accept("a", "b", "c")
    ground.claim([flying, returning])
    assert ground.store.run(connections.remove, ground.connection, "gone") == 1
    assert ground.store.run(connections.remove, ground.connection, "gone") is None
    assert (ground.state(waiting), ground.row(waiting)["error_code"]) == ("failed", connections.REMOVED)
    assert ground.history(waiting)[-1] == "failed"
    assert ground.settle(flying, MessageState.SENT, provider_id="p-1")
    assert ground.settle(returning, MessageState.QUEUED, code="5xx")
    assert ground.store.run(connections.fail_leftovers) == 1
    assert (ground.state(flying), ground.state(returning)) == ("sent", "failed")
    assert ground.store.run(connections.of_kind, "meta") == []
    assert ground.store.run(connections.wanted_kinds) == []
    assert status(ground)["credentials"] == ""


def test_a_kind_is_wanted_for_a_task_alone(ground: Ground) -> None:
    ground.store.run(
        tasks.add,
        company_id="acme",
        connection_id=ground.connection,
        kind="webdriver",
        operation="wipe_session",
        expires_in_s=60.0,
    )
    ground.store.run(connections.remove, ground.connection, "gone")
    assert ground.store.run(connections.wanted_kinds) == ["webdriver"]


def test_an_index_is_free_again_after_its_removal(ground: Ground) -> None:
    add = connections.add
    assert ground.store.run(add, company_id="acme", connection_type="meta_direct", phone_index=0) is None
    ground.store.run(connections.remove, ground.connection, "gone")
    made = ground.store.run(add, company_id="acme", connection_type="meta_direct")
    assert made is not None
    assert made[1] == 0
    found = ground.store.run(connections.by_index, "acme", 0)
    assert found is not None
    assert found.id == made[0]
