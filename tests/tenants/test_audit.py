"""The audit: each act that changes something, with its key, its origin, and no secret."""

from __future__ import annotations

from typing import Any

from tests.api.api_env import CHAT, ApiEnv, problem
from tests.support.waiting import eventually
from tests.tenants.making import new_key

NUMBER = "106540352242922"
TOKEN = "EAA-secret-of-the-test"
RETOKEN = "EAA-second-secret-of-the-test"


def position(api_env: ApiEnv) -> str:
    """Return the position after every act so far."""
    after = "0.0"
    while True:
        page = api_env.call("GET", f"/api/v2/audit?limit=200&after={after}").json()
        if not page["events"]:
            return str(page["next"])
        after = page["next"]


def acts(api_env: ApiEnv, after: str, count: int, **given: Any) -> list[dict[str, Any]]:
    """Return the acts after a position, once there are `count`: an older transaction may hold them back."""
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        found[:] = api_env.call("GET", f"/api/v2/audit?limit=200&after={after}", **given).json()["events"]
        return len(found) >= count

    eventually(enough, 10)
    assert len(found) == count, [one["type"] for one in found]
    return found


def test_each_act_names_its_key_its_origin_and_what_changed(api_env: ApiEnv) -> None:
    after, key = position(api_env), new_key(api_env, "alpha", name="of the audit")
    headers = {"X-Request-Id": "act-of-the-test"}
    body = {"connectionType": "meta_direct", "accountId": NUMBER, "accessToken": TOKEN}
    made = api_env.call("POST", "/api/v2/connections/alpha", key=key["key"], json=body, headers=headers)
    assert made.status_code == 201, made.text
    path = made.headers["Location"]
    index = path.rsplit("/", 1)[1]
    steps = (
        ("PATCH", path, {"options": {"messagesPerSecond": 5.0}, "accessToken": RETOKEN}),
        ("POST", f"{path}/pause", None),
        ("POST", f"{path}/pause", None),
        ("POST", path, {"status": "active"}),
        ("DELETE", path, None),
    )
    for method, place, given in steps:
        assert api_env.call(method, place, key=key["key"], json=given).status_code == 200, place
    seen = acts(api_env, after, 6)
    assert [one["type"].removeprefix("audit.") for one in seen] == [
        "keys.created",
        "connections.created",
        "connections.changed",
        # the second pause changed nothing
        "connections.pause",
        "connections.status",
        "connections.removed",
    ]
    assert all(one["companyId"] == "alpha" for one in seen)
    created = seen[1]["data"]
    assert created == {
        "operation": "POST /api/v2/connections/{companyId}",
        "key": {"id": key["id"], "name": "of the audit", "companyId": "alpha"},
        "address": "127.0.0.1",
        "requestId": "act-of-the-test",
        "subject": {"phoneIndex": index},
        "before": None,
        "after": {"connectionType": "meta_direct", "accountId": NUMBER, "credentials": ["access_token"]},
    }
    assert seen[2]["data"]["before"] == {"options": {}}
    assert seen[2]["data"]["after"] == {"options": {"messagesPerSecond": 5.0}, "credentials": ["access_token"]}
    assert seen[3]["data"]["after"]["status"] == "paused"
    rows = str(api_env.sql("SELECT data FROM events WHERE subject = 'audit'"))
    for secret in (TOKEN, RETOKEN, key["key"]):
        assert secret not in rows
    assert seen[0]["data"]["after"]["prefix"] == key["prefix"]


def test_what_is_refused_or_only_reads_or_sends_is_no_act(api_env: ApiEnv) -> None:
    after = position(api_env)
    assert api_env.call("POST", "/api/v2/connections/alpha/9/pause").status_code == 404
    assert api_env.call("POST", "/api/v2/companies", json={"companyId": "alpha"}).status_code == 409
    assert api_env.call("GET", "/api/v2/keys").status_code == 200
    assert api_env.send("no act").status_code == 202
    assert api_env.call("POST", "/api/v2/companies", json={"companyId": "audited"}).status_code == 201
    assert [one["companyId"] for one in acts(api_env, after, 1)] == ["audited"]


def test_a_key_of_a_company_sees_the_acts_of_its_company_alone(api_env: ApiEnv) -> None:
    after, key = position(api_env), new_key(api_env, "beta")["key"]
    new_key(api_env, "alpha")
    new_key(api_env, None)
    for company in ("beta", "alpha", "beta"):
        path = f"/api/v2/connections/{company}/0"
        for action in ("pause", "resume"):
            assert api_env.call("POST", f"{path}/{action}").status_code == 200
    acts(api_env, after, 9)
    own = acts(api_env, after, 5, key=key)
    assert {one["companyId"] for one in own} == {"beta"}
    assert [one["data"]["address"] for one in own] == [None] * 5, "made with a key of the installation"
    assert problem(api_env.call("GET", "/api/v2/audit?companyId=alpha", key=key))["type"] == "company_unknown"
    assert problem(api_env.call("GET", "/api/v2/audit?companyId=nobody", key=key))["type"] == "company_unknown"


def test_tasks_and_sessions_are_audited(api_env: ApiEnv) -> None:
    after = position(api_env)
    asked = api_env.call("POST", "/api/v2/connections/alpha/0/test", headers={"Prefer": "respond-async"})
    assert asked.status_code == 202
    assert api_env.call("POST", "/api/v2/sessions/alpha/1", json={"desired": "paused"}).status_code == 202
    assert api_env.call("POST", "/api/v2/sessions/alpha/1", json={"desired": "linked"}).status_code == 202
    test, pause, link = acts(api_env, after, 3)
    assert test["data"]["after"] == {"taskId": asked.json()["id"]}
    assert (pause["data"]["before"], pause["data"]["after"]) == ({"desired": "linked"}, {"desired": "paused"})
    assert link["type"] == "audit.sessions.desired"


def test_pages_follow_each_other(api_env: ApiEnv) -> None:
    after = position(api_env)
    made = [new_key(api_env, "alpha", name=f"page {n}")["name"] for n in range(5)]
    acts(api_env, after, 5)
    found, place = [], after
    while page := api_env.call("GET", f"/api/v2/audit?limit=2&after={place}").json():
        found += [one["data"]["after"]["name"] for one in page["events"]]
        place = page["next"]
        if not page["events"]:
            break
    assert found == made
    assert api_env.call("GET", f"/api/v2/audit?after={place}").json() == {"events": [], "next": place}
    for wrong in ("1", "x.1", "1.2.3", "-1.1"):
        assert problem(api_env.call("GET", f"/api/v2/audit?after={wrong}"))["parameter"] == "after"


def test_an_act_is_written_with_its_change_or_not_at_all(api_env: ApiEnv) -> None:
    """The event is in the transaction of the change: both have one transaction id."""
    after = position(api_env)
    key = new_key(api_env, "alpha")
    acts(api_env, after, 1)
    rows = api_env.sql(
        "SELECT k.xmin::text::bigint AS changed, e.xid %% (1::bigint << 32) AS written FROM api_keys k, events e "
        "WHERE k.id = %s AND e.subject = 'audit' AND e.data -> 'after' ->> 'id' = k.id::text",
        int(key["id"]),
    )
    assert [row["changed"] for row in rows] == [row["written"] for row in rows]
    assert len(rows) == 1
    assert CHAT not in str(api_env.sql("SELECT data FROM events WHERE subject = 'audit'"))
