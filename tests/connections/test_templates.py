"""Templates: made, reviewed by the provider's people, read anew, removed; and what a message with one may expect."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from shared.clock import utc_now
from shared.store import templates
from tests.connections.env import AccountsEnv
from tests.meta.env import new_chat
from tests.support.waiting import eventually

WORLD = "live"
"""The processes of this environment are given the provider's address alone, and do not know it as a sandbox."""
NUMBERS = {0: ("100000000000001", "200000000000001"), 2: ("100000000000002", "200000000000002")}
BODY = {
    "category": "UTILITY",
    "language": "en_US",
    "components": [{"type": "BODY", "text": "Your order {{1}} is on its way"}],
}


@pytest.fixture(params=[0, 2], ids=["meta_direct", "360dialog"])
def index(request: pytest.FixtureRequest, env: AccountsEnv) -> int:
    """A connection with templates."""
    phone_index: int = request.param
    env.call("PATCH", f"/api/v2/connections/demo/{phone_index}", {"wabaId": NUMBERS[phone_index][1]})
    return phone_index


def listed(env: AccountsEnv, index: int) -> dict[str, Any]:
    found = env.call("GET", f"/api/v2/templates/demo/{index}").json()
    return {one["name"]: one for one in found["templates"]}


def review(env: AccountsEnv, index: int, name: str, status: str, reason: str = "") -> None:
    env.control(
        "POST",
        "templates",
        {"phone_number_id": NUMBERS[index][0], "name": name, "language": "en_US", "status": status, "reason": reason},
    )


def test_a_template_is_made_reviewed_and_removed(env: AccountsEnv, index: int) -> None:
    place, name = f"/api/v2/templates/demo/{index}", f"order_{index}"
    made = env.done("POST", place, {"name": name, **BODY})
    assert made["status"] == "PENDING"
    assert listed(env, index)[name]["status"] == "PENDING"
    review(env, index, name, "REJECTED", "INVALID_FORMAT")
    eventually(lambda: listed(env, index)[name]["status"] == "REJECTED", 15.0, "the webhook tells of the rejection")
    assert listed(env, index)[name]["reason"] == "INVALID_FORMAT"
    review(env, index, name, "APPROVED")
    eventually(lambda: listed(env, index)[name]["status"] == "APPROVED", 15.0, "the webhook tells of the approval")
    assert env.done("DELETE", f"{place}/{name}")["removed"] == 1
    assert name not in listed(env, index)
    assert env.call("DELETE", f"{place}/{name}").json()["providerCode"] == "100"


def test_a_sync_reads_everything_and_forgets_what_is_gone(env: AccountsEnv, index: int) -> None:
    place = f"/api/v2/templates/demo/{index}"
    names = [f"page_{index}_{number}" for number in range(3)]
    for name in names:
        env.done("POST", place, {"name": name, **BODY})
    env.store.run(templates.write, env.ids[index], WORLD, [_row("ghost")], at=utc_now(), whole=False)
    result = env.done("POST", f"{place}/sync")
    assert result["removed"] == 1
    known = listed(env, index)
    assert {*names, "hello_world"} <= known.keys()
    assert known["hello_world"]["status"] == "APPROVED"
    assert env.call("GET", place).json()["syncedAt"] is not None
    for name in names:
        env.done("DELETE", f"{place}/{name}")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({**BODY, "name": "No Capitals"}, "/name"),
        ({**BODY, "name": "fine", "language": "english!"}, "/language"),
        ({**BODY, "name": "fine", "category": "SPAM"}, "/category"),
        ({**BODY, "name": "fine", "components": [{"text": "no type"}]}, "/components/0/type"),
        ({**BODY, "name": "fine", "components": []}, "/components"),
    ],
)
def test_what_cannot_be_a_template_is_refused_before_the_provider_is_asked(
    env: AccountsEnv, body: dict[str, Any], pointer: str
) -> None:
    answer = env.call("POST", "/api/v2/templates/demo/0", body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_what_is_known_of_a_template(env: AccountsEnv) -> None:
    connection_id, find = env.ids[3], partial(templates.find_template, world=WORLD)
    assert env.store.run(find, connection_id=connection_id, name="nothing", language="en").problem == "", (
        "nothing is known, so nothing is refused"
    )
    env.call("PATCH", "/api/v2/connections/demo/3", {"wabaId": "200000000000003"})
    env.done("POST", "/api/v2/templates/demo/3/sync")
    assert "no such template" in env.store.run(find, connection_id=connection_id, name="nothing", language="en").problem
    assert env.store.run(find, connection_id=connection_id, name="hello_world", language="en_US").problem == ""
    assert (
        env.store.run(
            templates.apply_status,
            at=utc_now(),
            connection_ids=[env.ids[3]],
            name="hello_world",
            language="en_US",
            status="PAUSED",
        )
        == 1
    )
    assert "paused" in env.store.run(find, connection_id=connection_id, name="hello_world", language="en_US").problem


def test_a_message_with_a_template_that_would_be_refused_is_not_accepted(env: AccountsEnv) -> None:
    env.call("PATCH", "/api/v2/connections/demo/3", {"wabaId": "200000000000003"})
    env.done("POST", "/api/v2/templates/demo/3/sync")
    place = f"/api/v2/messages/template/demo/{new_chat()}"
    answer = env.call("POST", place, {"name": "nothing_like_it", "language": "en_US", "phoneIndex": 3})
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2], answer.json()["templateStatus"]) == (
        422,
        "template_unusable",
        None,
    )
    env.store.run(
        templates.apply_status,
        at=utc_now(),
        connection_ids=[env.ids[3]],
        name="hello_world",
        language="en_US",
        status="PAUSED",
    )
    assert (
        env.call("POST", place, {"name": "hello_world", "language": "en_US", "phoneIndex": 3}).json()["templateStatus"]
        == "PAUSED"
    )
    env.store.run(
        templates.apply_status,
        at=utc_now(),
        connection_ids=[env.ids[3]],
        name="hello_world",
        language="en_US",
        status="APPROVED",
    )
    accepted = env.call("POST", place, {"name": "hello_world", "language": "en_US", "phoneIndex": 3})
    assert accepted.status_code == 202
    env.wait_state(int(accepted.json()["id"]), "delivered")


def test_an_older_event_changes_nothing(env: AccountsEnv) -> None:
    connection_id, apply = env.ids[3], templates.apply_status
    at = utc_now()
    env.store.run(templates.write, connection_id, WORLD, [_row("aged")], at=at, whole=False)
    assert (
        env.store.run(
            apply,
            at=at.replace(year=at.year - 1),
            connection_ids=[connection_id],
            name="aged",
            language="en_US",
            status="DISABLED",
        )
        == 0
    )
    assert (
        env.store.run(apply, at=at, connection_ids=[connection_id], name="aged", language="en_US", quality="RED") == 1
    )
    (found,) = [
        one for one in env.store.run(templates.of_connection, connection_id, WORLD, most=100) if one.name == "aged"
    ]
    assert (found.status, found.quality) == ("APPROVED", "RED")


def _row(name: str) -> dict[str, Any]:
    texts = {
        "provider_id": "",
        "name": name,
        "language": "en_US",
        "category": "UTILITY",
        "status": "APPROVED",
        "reason": "",
        "quality": "",
    }
    return {**texts, "components": []}
