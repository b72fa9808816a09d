"""Webhooks over HTTP: what operators do with them. What is delivered is tested in `tests/hooks`."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from shared.events.hook_secrets import HookSecrets
from shared.secrets import Vault
from shared.settings import Settings
from tests.api.api_env import ApiEnv, problem
from tests.support.environment import SEALING_KEY
from tests.support.waiting import eventually, patience_s
from tests.tenants.making import new_key

HOOKS = "/api/v2/hooks/alpha"
NEW = {"url": "https://example.com/hook", "types": ["message.*"], "headers": {"Authorization": "Bearer mine"}}
VAULT = Vault.from_settings(Settings(secret_encryption_key=SEALING_KEY))


@pytest.fixture
def hook(api_env: ApiEnv) -> dict[str, Any]:
    made = api_env.call("POST", HOOKS, json=NEW)
    assert made.status_code == 201, made.text
    body: dict[str, Any] = made.json()
    assert made.headers["Location"] == f"{HOOKS}/{body['id']}"
    return body


def opened(env: ApiEnv, hook_id: str) -> HookSecrets:
    (row,) = env.sql("SELECT sealed FROM hooks WHERE id = %s", int(hook_id))
    return HookSecrets.opened(VAULT, int(hook_id), row["sealed"])


def version(env: ApiEnv, hook_id: str) -> int:
    number: int = env.sql("SELECT version FROM hooks WHERE id = %s", int(hook_id))[0]["version"]
    return number


def test_its_secrets_are_shown_once_and_sealed(api_env: ApiEnv, hook: dict[str, Any]) -> None:
    assert len(base64.b64decode(hook["secret"].removeprefix("whsec_"))) == 32
    assert hook["headers"] == ["Authorization"]
    shown = api_env.call("GET", f"{HOOKS}/{hook['id']}")
    assert "secret" not in shown.json()
    assert "Bearer mine" not in shown.text
    assert hook["id"] in [one["id"] for one in api_env.call("GET", HOOKS).json()["hooks"]]
    kept = opened(api_env, hook["id"])
    assert (kept.secrets, kept.headers) == ((hook["secret"],), {"Authorization": "Bearer mine"})
    assert hook["secret"] not in str(api_env.sql("SELECT * FROM hooks WHERE id = %s", int(hook["id"])))


def test_a_rotation_keeps_the_secret_before(api_env: ApiEnv, hook: dict[str, Any]) -> None:
    rotated = api_env.call("POST", f"{HOOKS}/{hook['id']}/rotate").json()
    assert rotated["formerSecretUntil"] is not None
    kept = opened(api_env, hook["id"])
    assert kept.secrets == (rotated["secret"], hook["secret"])
    assert kept.headers == {"Authorization": "Bearer mine"}


def test_changes_reach_the_process_that_serves_it(api_env: ApiEnv, hook: dict[str, Any]) -> None:
    before = version(api_env, hook["id"])
    changed = api_env.call("PATCH", f"{HOOKS}/{hook['id']}", json={"state": "paused", "headers": {"X-Own": "1"}})
    assert (changed.json()["state"], changed.json()["headers"]) == ("paused", ["X-Own"])
    assert changed.json()["url"] == NEW["url"]
    assert opened(api_env, hook["id"]).secrets == (hook["secret"],)
    assert version(api_env, hook["id"]) > before
    assert api_env.call("DELETE", f"{HOOKS}/{hook['id']}").status_code == 200
    assert problem(api_env.call("GET", f"{HOOKS}/{hook['id']}"))["type"] == "hook_unknown"


def test_it_is_read_while_its_row_is_locked(api_env: ApiEnv, hook: dict[str, Any]) -> None:
    """As it is for as long as its position is written; a change waits for that."""
    with closing(psycopg2.connect(api_env.database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM hooks WHERE id = %s FOR UPDATE", (int(hook["id"]),))
        for path in (HOOKS, f"{HOOKS}/{hook['id']}", f"{HOOKS}/{hook['id']}/deliveries"):
            assert api_env.call("GET", path, timeout=patience_s(3.0)).status_code == 200
        with ThreadPoolExecutor(1) as pool:
            changing = pool.submit(api_env.call, "PATCH", f"{HOOKS}/{hook['id']}", json={"state": "paused"})
            eventually(lambda: waits_for_a_lock(api_env), 10)
            connection.commit()
            assert changing.result().json()["state"] == "paused"


def waits_for_a_lock(env: ApiEnv) -> bool:
    return bool(
        env.sql(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
            "AND query LIKE '%%hooks%%'"
        )
    )


def test_another_company_has_it_not(api_env: ApiEnv, hook: dict[str, Any]) -> None:
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
        body = {"state": "paused"} if method == "PATCH" else None
        refused = api_env.call(method, f"/api/v2/hooks/beta/{hook['id']}{path}", json=body)
        assert problem(refused)["type"] == "hook_unknown"
    assert problem(api_env.call("GET", "/api/v2/hooks/nobody"))["type"] == "company_unknown"


def test_a_key_that_may_not_read_makes_no_webhook_that_does(api_env: ApiEnv, hook: dict[str, Any]) -> None:
    path, manager = f"{HOOKS}/{hook['id']}", new_key(api_env, "alpha", "manage")["key"]
    for method, place, body in (
        ("POST", HOOKS, NEW),
        ("PATCH", path, {"url": "https://example.com/mine"}),
        ("PATCH", path, {"types": []}),
        ("PATCH", path, {"phoneIndexes": []}),
    ):
        refused = problem(api_env.call(method, place, json=body, key=manager))
        assert (refused["type"], refused["scope"]) == ("scope_missing", "read")
    assert api_env.call("PATCH", path, json={"state": "paused"}, key=manager).status_code == 200
    both = new_key(api_env, "alpha", "manage", "read")["key"]
    assert api_env.call("PATCH", path, json={"types": ["session.*"]}, key=both).status_code == 200


def test_tests_and_replays_are_rows_that_wait(api_env: ApiEnv, hook: dict[str, Any]) -> None:
    path = f"{HOOKS}/{hook['id']}"
    event = api_env.call("POST", f"{path}/test").json()["eventId"]
    assert api_env.call("GET", path).json()["waiting"] == 1
    api_env.sql("UPDATE hook_retries SET state = 'dead', attempts = 9 WHERE hook_id = %s", int(hook["id"]))
    assert api_env.call("GET", path).json()["deadLetters"] == 1
    assert api_env.call("POST", f"{path}/replay", json={"deadLetters": True}).json() == {"events": 1, "after": None}
    assert api_env.call("GET", path).json()["waiting"] == 1
    again = api_env.call("POST", f"{path}/replay", json={"eventIds": [event, event]})
    assert (again.status_code, again.json()["events"]) == (202, 1)
    back = api_env.call("POST", f"{path}/replay", json={"since": "2026-01-01T00:00:00Z"})
    assert back.status_code == 202
    position = api_env.call("GET", path).json()["position"]
    assert position == back.json()["after"]
    assert int(position.split("-")[0]) < int(hook["position"].split("-")[0])
    assert api_env.call("GET", f"{path}/deliveries?outcome=dead").json() == {"deliveries": [], "next": None}


def test_a_replay_repeats_nothing_that_is_still_to_come(api_env: ApiEnv, hook: dict[str, Any]) -> None:
    """It would come twice at once, and before what its conversation is to bring first."""
    path = f"{HOOKS}/{hook['id']}"
    xid, _ = hook["position"].split("-")

    def event(subject: str, name: str, xid_: int) -> str:
        (row,) = api_env.sql(
            """INSERT INTO events (subject, type, company_id, connection_id, xid)
               SELECT %s, %s, company_id, id, %s FROM phone_configs WHERE company_id = 'alpha' AND phone_index = 0
               RETURNING id""",
            subject,
            name,
            xid_,
        )
        return f"{xid_}-{row['id']}"

    past, to_come = (event("session", "session.state", int(xid) + step) for step in (-1, 1))

    def replayed() -> set[str]:
        answer = api_env.call("POST", f"{path}/replay", json={"eventIds": [past, to_come]})
        assert (answer.status_code, answer.json()["events"]) == (202, 2), answer.text
        rows = api_env.sql("DELETE FROM hook_retries WHERE hook_id = %s RETURNING xid, event_id", int(hook["id"]))
        return {f"{row['xid']}-{row['event_id']}" for row in rows}

    assert replayed() == {past, to_come}, "its stream does not bring sessions"
    assert api_env.call("PATCH", path, json={"types": ["session.*"]}).status_code == 200
    assert replayed() == {past}
    assert api_env.call("PATCH", path, json={"phoneIndexes": [0]}).status_code == 200
    assert replayed() == {past}
    assert api_env.call("PATCH", path, json={"phoneIndexes": [7]}).status_code == 200
    assert replayed() == {past, to_come}, "its stream does not bring this connection"


@pytest.mark.parametrize(
    "change",
    [
        {"url": "ftp://example.com"},
        {"url": "https://user:password@example.com/"},
        {"url": None},
        {"types": ["message.recieved"]},
        {"types": ["process.*"]},
        {"headers": {"webhook-id": "1"}},
        {"headers": {"Content-Length": "1"}},
        {"headers": {"X-Own": "line\r\nbreak"}},
        {"headers": {"X-Own": 1}},
        {"headers": {"X-Own": "1", "x-own": "2"}},
        {"surplus": 1},
    ],
)
def test_what_cannot_be_delivered_is_refused(api_env: ApiEnv, change: dict[str, Any]) -> None:
    refused = api_env.call("POST", HOOKS, json=NEW | change)
    assert refused.status_code == 422, refused.text


def test_the_refusal_of_an_address_says_what_is_wrong_with_it(api_env: ApiEnv) -> None:
    for url, reason in (("https://u:p@example.com/", "a user name or password"), ("http://127.1/", "is a number")):
        assert reason in api_env.call("POST", HOOKS, json=NEW | {"url": url}).text


@pytest.mark.parametrize(
    "body", [{}, {"since": "yesterday"}, {"eventIds": ["x"]}, {"since": "2026-01-01T00:00:00Z", "deadLetters": True}]
)
def test_a_replay_says_what(api_env: ApiEnv, hook: dict[str, Any], body: dict[str, Any]) -> None:
    assert api_env.call("POST", f"{HOOKS}/{hook['id']}/replay", json=body).status_code == 422


def test_a_company_has_so_many(api_env: ApiEnv) -> None:
    api_env.sql(
        "INSERT INTO hooks (company_id, url, sealed, state, xid, event_id) "
        "SELECT 'beta', 'https://example.com', '', 'paused', 0, 0 FROM generate_series(1, 100)"
    )
    refused = api_env.call("POST", "/api/v2/hooks/beta", json=NEW)
    assert (refused.status_code, problem(refused)["type"]) == (409, "too_many_hooks")
    api_env.sql("DELETE FROM hooks WHERE company_id = 'beta'")


def test_the_installation_has_webhooks_of_its_own(api_env: ApiEnv, hook: dict[str, Any]) -> None:
    place = "/api/v2/installation/hooks"
    asked = {"url": "https://pager.example/hook", "types": ["alert.*"], "headers": {"Authorization": "Bearer pager"}}
    made = api_env.call("POST", place, json=asked)
    assert made.status_code == 201, made.text
    own = f"{place}/{made.json()['id']}"
    assert made.headers["Location"] == own
    assert [one["id"] for one in api_env.call("GET", place).json()["hooks"]] == [made.json()["id"]]
    assert made.json()["id"] not in [one["id"] for one in api_env.call("GET", HOOKS).json()["hooks"]]
    # neither is found among the other's
    for path in (f"{HOOKS}/{made.json()['id']}", f"{place}/{hook['id']}"):
        assert problem(api_env.call("GET", path))["type"] == "hook_unknown"
    assert api_env.call("POST", f"{own}/test").status_code == 202
    assert api_env.call("POST", f"{own}/rotate").json()["secret"] != made.json()["secret"]
    assert api_env.call("PATCH", own, json={"state": "paused"}).json()["state"] == "paused"
    assert api_env.call("GET", f"{own}/deliveries").json()["deliveries"] == []
    stranger = new_key(api_env, "alpha", "manage", "read")["key"]
    assert api_env.call("GET", place, key=stranger).status_code == 403
    assert api_env.call("DELETE", own).status_code == 200
    assert api_env.call("GET", place).json() == {"hooks": []}


@pytest.mark.parametrize(
    ("more", "where"), [({"types": ["message.*"]}, "/types"), ({"types": ["alert.*"], "phoneIndexes": [0]}, "/phone")]
)
def test_what_concerns_a_company_reaches_no_webhook_of_the_installation(
    api_env: ApiEnv, more: dict[str, Any], where: str
) -> None:
    refused = api_env.call("POST", "/api/v2/installation/hooks", json={"url": "https://pager.example/", **more})
    assert (refused.status_code, problem(refused)["type"]) == (422, "body_invalid"), refused.text
    assert where in refused.text
