"""Keys: made, shown once, rotated, revoked; no key gets more than it has."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from shared.clock import monotonic
from shared.tenancy.key_text import digest, is_well_formed, make_key
from shared.tenancy.known_keys import USE_NOTED_S
from shared.tenancy.principals import SCOPES
from shared.tenancy.remembered import REMEMBERED_S
from tests.api.api_env import KEY, ApiEnv, problem
from tests.support.waiting import eventually, patience_s
from tests.tenants.making import in_seconds, new_key

CONNECTIONS = "/api/v2/connections/alpha"


def status(api_env: ApiEnv, key: str, path: str = CONNECTIONS) -> int:
    return int(api_env.call("GET", path, key=key).status_code)


def test_a_key_says_what_it_is_and_guesses_fail_its_checksum() -> None:
    live, test = make_key(sandbox=False), make_key(sandbox=True)
    assert re.fullmatch(r"bh_live_[0-9A-Za-z]{49}", live.text)
    assert test.text.startswith("bh_test_")
    assert live.text.startswith(live.prefix)
    assert digest(live.text.encode()) == live.digest
    assert is_well_formed(live.text.encode())
    for place in range(len(live.text)):
        other = live.text[:place] + ("x" if live.text[place] != "x" else "y") + live.text[place + 1 :]
        assert not is_well_formed(other.encode()), f"changed at {place}"
    assert not is_well_formed(live.text.encode() + b"\n")
    assert len({make_key(sandbox=False).text for _ in range(1000)}) == 1000


def test_a_key_has_a_name_for_people(api_env: ApiEnv) -> None:
    for name in ("", "  ", "\t\n"):
        refused = api_env.call("POST", "/api/v2/keys", json={"name": name, "scopes": ["read"]})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/name"), refused.text


def test_a_key_is_shown_once_and_kept_as_a_digest(api_env: ApiEnv) -> None:
    made = new_key(api_env, "alpha", "read", "send", name="the shop")
    assert made["scopes"] == ["send", "read"]
    assert made["companyId"] == "alpha"
    assert status(api_env, made["key"]) == 200
    shown = api_env.call("GET", f"/api/v2/keys/{made['id']}").json()
    assert "key" not in shown
    # in use since
    assert shown | {"lastUsedAt": None} == {name: value for name, value in made.items() if name != "key"}
    listed = api_env.call("GET", "/api/v2/keys?companyId=alpha").json()["keys"]
    assert [one["name"] for one in listed if one["id"] == made["id"]] == ["the shop"]
    rows = str(api_env.sql("SELECT to_jsonb(k) FROM api_keys k"))
    assert made["key"] not in rows
    assert made["key"] not in api_env.entry.log.read_text()


def test_a_key_of_one_company_sees_no_other(api_env: ApiEnv) -> None:
    alpha, beta = new_key(api_env, "alpha")["key"], new_key(api_env, "beta")
    sent = api_env.send("hers", company="beta")
    assert sent.status_code == 202
    _, chat, message_id = sent.headers["Location"].rsplit("/", 2)
    for path in (
        f"/api/v2/messages/alpha/{chat}/{message_id}",
        f"/api/v2/keys/{beta['id']}",
        "/api/v2/keys?companyId=beta",
        "/api/v2/keys?companyId=nobody",
    ):
        assert status(api_env, alpha, path) == 404, path
    assert {one["companyId"] for one in api_env.call("GET", "/api/v2/keys", key=alpha).json()["keys"]} == {"alpha"}
    companies = api_env.call("GET", "/api/v2/companies", key=alpha).json()["companies"]
    assert [one["companyId"] for one in companies] == ["alpha"]
    for method, path in (("POST", f"/api/v2/keys/{beta['id']}/rotate"), ("DELETE", f"/api/v2/keys/{beta['id']}")):
        assert problem(api_env.call(method, path, key=alpha))["type"] == "key_unknown"
    assert status(api_env, beta["key"], "/api/v2/connections/beta") == 200


@pytest.mark.parametrize(
    ("company", "scopes", "fields", "refusal"),
    [
        ("alpha", ("manage",), {}, None),
        ("alpha", ("read",), {}, "scope_missing"),
        ("alpha", ("manage", "send"), {}, "scope_missing"),
        ("beta", ("manage",), {}, "company_unknown"),
        ("nobody", ("manage",), {}, "company_unknown"),
        (None, ("manage",), {}, "installation_only"),
        ("alpha", ("manage",), {"expiresAt": "2099-01-01T00:00:00Z"}, "body_invalid"),
    ],
)
def test_a_key_makes_none_that_may_do_more(
    api_env: ApiEnv, company: str | None, scopes: tuple[str, ...], fields: dict[str, str], refusal: str | None
) -> None:
    maker = new_key(api_env, "alpha", "manage", expiresAt=in_seconds(3600))
    body = {"name": "more", "companyId": company, "scopes": scopes, **fields}
    answer = api_env.call("POST", "/api/v2/keys", key=maker["key"], json=body)
    if refusal is None:
        assert answer.status_code == 201
        # and it ends with the one that made it
        assert answer.json()["expiresAt"] == maker["expiresAt"]
    else:
        assert problem(answer)["type"] == refusal


def test_a_key_takes_over_none_that_may_do_more(api_env: ApiEnv) -> None:
    manager, limited = new_key(api_env, "alpha", "manage"), new_key(api_env, expiresAt=in_seconds(3600))
    for rotating, target in ((manager, new_key(api_env)), (limited, new_key(api_env, "alpha", "send"))):
        answer = api_env.call("POST", f"/api/v2/keys/{target['id']}/rotate", key=rotating["key"], json={})
        assert problem(answer)["type"] == "scope_missing"
        assert status(api_env, target["key"], "/api/v2/keys") in (200, 403), "it works as before"
    # to end one is no way to get more
    assert api_env.call("DELETE", f"/api/v2/keys/{new_key(api_env)['id']}", key=manager["key"]).status_code == 200


def test_a_company_key_is_of_its_company_unless_it_says_otherwise(api_env: ApiEnv) -> None:
    manager = new_key(api_env, "beta")["key"]
    answer = api_env.call("POST", "/api/v2/keys", key=manager, json={"name": "own", "scopes": ["read"]})
    assert answer.json()["companyId"] == "beta"


def test_an_admin_key_reaches_every_company_with_its_scopes(api_env: ApiEnv) -> None:
    admin = new_key(api_env, None, "read")["key"]
    for company in ("alpha", "beta"):
        assert status(api_env, admin, f"/api/v2/connections/{company}") == 200
    assert problem(api_env.call("GET", "/health/all", key=admin))["type"] == "scope_missing"
    assert status(api_env, new_key(api_env, None, "operate")["key"], "/metrics/meta") == 200, "it may monitor too"


def test_after_a_rotation_both_texts_work_for_the_overlap(api_env: ApiEnv) -> None:
    made = new_key(api_env)
    rotated = api_env.call("POST", f"/api/v2/keys/{made['id']}/rotate", json={"overlapSeconds": 2}).json()
    assert rotated["id"] == made["id"]
    assert rotated["key"] != made["key"]
    assert [status(api_env, key) for key in (made["key"], rotated["key"])] == [200, 200]
    eventually(lambda: status(api_env, made["key"]) == 401, 2 + REMEMBERED_S + 2)
    assert status(api_env, rotated["key"]) == 200
    again = api_env.call("POST", f"/api/v2/keys/{made['id']}/rotate").json()
    # an hour by default
    assert again["previousUntil"] > in_seconds(3000)
    third = api_env.call("POST", f"/api/v2/keys/{made['id']}/rotate", json={}).json()
    # only one text from before is kept: the one before that ends at once
    assert [status(api_env, one["key"]) for one in (rotated, again, third)] == [401, 200, 200]


def test_a_revoked_key_ends_in_every_process_within_a_second(api_env: ApiEnv, second: ApiEnv) -> None:
    made = new_key(api_env)
    assert [status(one, made["key"]) for one in (api_env, second)] == [200, 200]
    answer = api_env.call("DELETE", f"/api/v2/keys/{made['id']}")
    revoked_at = monotonic()
    assert answer.json()["revokedAt"]
    assert status(api_env, made["key"]) == 401, "where it was revoked it ends at once"
    eventually(lambda: status(second, made["key"]) == 401, 5)
    assert monotonic() - revoked_at < patience_s(REMEMBERED_S + 0.5)
    assert api_env.call("DELETE", f"/api/v2/keys/{made['id']}").json()["revokedAt"] == answer.json()["revokedAt"]
    refused = api_env.call("POST", f"/api/v2/keys/{made['id']}/rotate", json={})
    assert problem(refused)["type"] == "key_revoked"


def test_an_expired_key_is_refused(api_env: ApiEnv) -> None:
    made = new_key(api_env, expiresAt=in_seconds(2))
    assert status(api_env, made["key"]) == 200
    eventually(lambda: status(api_env, made["key"]) == 401, 5)


@pytest.mark.parametrize("text", ["yesterday", "2020-01-01T00:00:00Z", "2030-01-01T00:00:00"])
def test_an_expiry_is_an_instant_to_come(api_env: ApiEnv, text: str) -> None:
    body = {"name": "x", "scopes": ["read"], "expiresAt": text}
    assert problem(api_env.call("POST", "/api/v2/keys", json=body))["errors"][0]["pointer"] == "/expiresAt"


def test_when_a_key_was_used_is_written_in_batches(api_env: ApiEnv) -> None:
    made = new_key(api_env)
    assert status(api_env, made["key"]) == 200

    def used() -> bool:
        return api_env.call("GET", f"/api/v2/keys/{made['id']}").json()["lastUsedAt"] is not None

    assert not used()
    eventually(used, USE_NOTED_S + 5)


def test_two_different_keys_in_one_request_are_none(api_env: ApiEnv) -> None:
    one, other = new_key(api_env)["key"], new_key(api_env)["key"]
    assert problem(api_env.call("GET", CONNECTIONS, key=one, headers={"X-API-Key": other}))["type"] == "key_invalid"
    assert api_env.call("GET", CONNECTIONS, key=one, headers={"X-API-Key": one}).status_code == 200


def test_the_code_to_scan_is_for_keys_that_manage(api_env: ApiEnv) -> None:
    api_env.sql(
        "INSERT INTO phone_status AS s (connection_id, process_name, status, qr, proved_at) "
        "SELECT id, 'webdriver', 'needs_link', '2@code', now() FROM phone_configs "
        "WHERE company_id = 'alpha' AND phone_index = 1 ON CONFLICT (connection_id) DO UPDATE "
        "SET status = EXCLUDED.status, qr = EXCLUDED.qr, proved_at = now(), updated_at = now()"
    )
    seen = {
        scope: api_env.call("GET", "/api/v2/sessions/alpha/1", key=new_key(api_env, "alpha", *scopes)["key"]).json()[
            "qr"
        ]
        for scope, scopes in {"read": ("read",), "manage": ("read", "manage")}.items()
    }
    assert seen == {"read": None, "manage": "2@code"}


def test_without_a_database_the_first_key_works_and_others_wait(home: Path) -> None:
    with ApiEnv(home, "postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0") as away:
        away.start()
        assert away.call("GET", "/health/all").json()["canAccept"] is False
        answer = away.call("GET", "/health/all", key=make_key(sandbox=False).text)
        assert problem(answer)["type"] == "database_unavailable"
        assert problem(away.call("GET", "/health/all", key="bh_live_guess"))["type"] == "key_invalid"


def test_every_scope_is_in_the_table(api_env: ApiEnv) -> None:
    made = new_key(api_env, "alpha", *SCOPES)
    assert made["scopes"] == list(SCOPES)
    refused = api_env.call("POST", "/api/v2/keys", json={"name": "x", "scopes": ["everything"]})
    assert problem(refused)["type"] == "body_invalid"


def test_a_revoked_key_gets_no_further_events(api_env: ApiEnv, second: ApiEnv) -> None:
    """Revoked in another process while a stream and a long poll are open here."""
    made = new_key(api_env, "beta", "read")
    headers = {"Authorization": f"Bearer {made['key']}"}
    path = "/api/v2/events/beta?after=latest&types=connection.*"
    with (
        requests.get(
            api_env.url + path, headers=headers | {"Accept": "text/event-stream"}, stream=True, timeout=30
        ) as stream,
        ThreadPoolExecutor(1) as pool,
    ):
        assert stream.status_code == 200
        waiting = pool.submit(api_env.call, "GET", path, key=made["key"], headers={"Prefer": "wait=20"}, timeout=30)
        assert second.call("DELETE", f"/api/v2/keys/{made['id']}").status_code == 200
        eventually(lambda: status(api_env, made["key"], "/api/v2/events/beta") == 401, 5)
        assert second.call("POST", "/api/v2/connections/beta/0/pause").status_code == 200
        assert problem(waiting.result())["type"] == "key_invalid"
        text = b"".join(stream.iter_content(None))
    assert b"connection.paused" not in text
    assert second.call("POST", "/api/v2/connections/beta/0/resume").status_code == 200


def test_a_revoked_key_gets_no_more_of_a_file(api_env: ApiEnv, second: ApiEnv) -> None:
    """Revoked in another process while a download is open here."""
    made = new_key(api_env, "beta", "read", "send")
    # more than all buffers between the process and a client that does not read
    content = b"%PDF-" + bytes(32 << 20)
    stored = api_env.call(
        "POST", "/api/v2/media/beta", key=made["key"], data=content, headers={"Content-Type": "application/pdf"}
    )
    assert stored.status_code == 201, stored.text
    headers = {"Authorization": f"Bearer {made['key']}"}
    got = 0
    with requests.get(api_env.url + stored.json()["url"], headers=headers, stream=True, timeout=30) as download:
        assert download.status_code == 200
        assert second.call("DELETE", f"/api/v2/keys/{made['id']}").status_code == 200
        eventually(lambda: status(api_env, made["key"]) == 401, 5)
        for piece in download.iter_content(1 << 16):
            got += len(piece)
        assert int(download.headers["Content-Length"]) == len(content)
    assert 0 < got < len(content)
    assert status(api_env, KEY) == 200
