"""Connections by API and by command line: made, changed, removed; what waits there; keys that are rotated."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.config import META_DIRECT_ID
from shared.settings import to_environ
from tests.connections.env import AccountsEnv
from tests.meta.env import new_chat
from tests.sandbox.env import ACCESS_TOKEN, D360_KEY
from tests.support import environment
from tests.support.database import query

PLACE = "/api/v2/connections/shop"
DIRECT = {"connectionType": "meta_direct", "accountId": "109990000000001", "accessToken": ACCESS_TOKEN}


@pytest.fixture
def shop(env: AccountsEnv) -> Iterator[AccountsEnv]:
    """A company without connections."""
    env.call("POST", "/api/v2/companies", {"companyId": "shop", "name": "The shop"})
    yield env
    for one in env.call("GET", PLACE).json()["connections"]:
        env.call("DELETE", f"{PLACE}/{one['phoneIndex']}?force=true")


def problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def command(env: AccountsEnv, *words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `bulkhead …` over the env's home."""
    environ = environment.clean() | to_environ(env.settings) | variables
    return subprocess.run(
        [sys.executable, "orchestrator.py", *words],
        check=False,
        cwd=environment.REPOSITORY,
        env=environ,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_company_is_made_once(shop: AccountsEnv) -> None:
    assert problem(shop.call("POST", "/api/v2/companies", {"companyId": "shop"})) == (409, "company_exists")
    assert problem(shop.call("POST", "/api/v2/companies", {"companyId": "no spaces"})) == (422, "body_invalid")
    (found,) = [one for one in shop.call("GET", "/api/v2/companies").json()["companies"] if one["companyId"] == "shop"]
    assert (found["name"], found["connections"]) == ("The shop", 0)
    assert problem(shop.call("POST", "/api/v2/connections/nobody", DIRECT)) == (404, "company_unknown")


def test_a_connection_is_made_at_the_first_free_index_and_shows_no_secret(shop: AccountsEnv) -> None:
    made = [
        shop.call(
            "POST", PLACE, {**DIRECT, "accountId": f"10999000000000{number}", "options": {"messagesPerSecond": 20}}
        )
        for number in range(2)
    ]
    assert [answer.status_code for answer in made] == [201, 201]
    assert [answer.json()["phoneIndex"] for answer in made] == [0, 1]
    assert made[1].headers["Location"] == f"{PLACE}/1"
    assert made[0].json()["options"] == {"messagesPerSecond": 20}
    assert ACCESS_TOKEN not in shop.call("GET", PLACE).text
    stored = query(
        shop.settings.database_url,
        "SELECT credentials FROM phone_configs WHERE company_id = 'shop' AND status <> 'removed'",
    )
    assert all(row["credentials"].startswith("k1.") and ACCESS_TOKEN not in row["credentials"] for row in stored)


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({**DIRECT, "phoneIndex": 0}, 409, "connection_exists"),
        ({**DIRECT, "accountId": META_DIRECT_ID}, 409, "account_in_use"),
        ({**DIRECT, "accessToken": "two\nlines"}, 422, "body_invalid"),
        ({**DIRECT, "apiKey": "of another provider"}, 422, "body_invalid"),
        ({"connectionType": "meta_direct", "accountId": "1"}, 422, "body_invalid"),
        ({"connectionType": "meta_direct", "accessToken": "t", "accountId": "letters"}, 422, "body_invalid"),
        ({"connectionType": "wwebjs", "accountId": "1"}, 422, "body_invalid"),
        ({"connectionType": "pigeon"}, 422, "body_invalid"),
        ({"connectionType": "wwebjs", "options": {"colour": "blue"}}, 422, "body_invalid"),
    ],
)
def test_what_cannot_be_made_is_refused(shop: AccountsEnv, body: dict[str, Any], status: int, kind: str) -> None:
    assert shop.call("POST", PLACE, {**DIRECT, "accountId": "109990000000000", "phoneIndex": 0}).status_code == 201
    answer = shop.call("POST", PLACE, body)
    assert problem(answer) == (status, kind)
    assert "two\nlines" not in answer.text
    assert len(shop.call("GET", PLACE).json()["connections"]) == 1


def test_a_change_keeps_what_is_not_named(shop: AccountsEnv) -> None:
    shop.call(
        "POST", PLACE, {**DIRECT, "phoneIndex": 4, "wabaId": "209990000000001", "options": {"messagesPerSecond": 20}}
    )
    shown = shop.call("PATCH", f"{PLACE}/4", {"options": {"pairLimit": False}}).json()
    assert (shown["wabaId"], shown["options"]) == ("209990000000001", {"messagesPerSecond": 20, "pairLimit": False})
    assert problem(shop.call("PATCH", f"{PLACE}/9", {})) == (404, "phone_index_unknown")


def test_messages_that_wait_keep_a_connection_from_being_removed(shop: AccountsEnv) -> None:
    shop.call("POST", PLACE, {**DIRECT, "phoneIndex": 0})
    shop.call("POST", f"{PLACE}/0/pause")
    chat = new_chat()
    ids = [shop.call("POST", f"/api/v2/messages/text/shop/{chat}", {"message": "Hello"}).json()["id"] for _ in range(3)]
    answer = shop.call("DELETE", f"{PLACE}/0")
    assert problem(answer) == (409, "messages_open")
    assert answer.json()["messages"] == 3
    assert shop.call("DELETE", f"{PLACE}/0?force=true").json() == {
        "companyId": "shop",
        "phoneIndex": 0,
        "failedMessages": 3,
    }
    for message_id in ids:
        shown = shop.call("GET", f"/api/v2/messages/shop/{chat}/{message_id}").json()
        assert (shown["status"], shown["error"]["code"]) == ("failed", "connection_removed")
    assert problem(shop.call("POST", f"/api/v2/messages/text/shop/{chat}", {"message": "Hello"})) == (
        404,
        "phone_index_unknown",
    )
    # the index and the account are free again, and the history of the old one stays
    assert shop.call("POST", PLACE, {**DIRECT, "phoneIndex": 0}).status_code == 201
    assert shop.call("GET", f"/api/v2/messages/shop/{chat}/{ids[0]}").json()["status"] == "failed"
    assert (
        query(
            shop.settings.database_url,
            "SELECT credentials FROM phone_configs WHERE status = 'removed' AND credentials <> ''",
        )
        == []
    )


def test_a_browser_session_that_is_removed_is_wiped_by_its_process(shop: AccountsEnv) -> None:
    shop.call("POST", PLACE, {"connectionType": "wwebjs", "phoneIndex": 0})
    assert shop.call("DELETE", f"{PLACE}/0").status_code == 200
    (task,) = query(
        shop.settings.database_url, "SELECT process_name, operation, state FROM tasks WHERE company_id = 'shop'"
    )
    assert (task["process_name"], task["operation"], task["state"]) == ("webdriver", "wipe_session", "queued")


def test_the_command_line_does_the_same(shop: AccountsEnv, tmp_path: Any) -> None:
    made = command(
        shop,
        "connections",
        "add",
        "--company",
        "shop",
        "--type",
        "360dialog",
        "--account",
        "109990000000009",
        "--secrets",
        "-",
        stdin=D360_KEY + "\n",
    )
    sandbox = "Its messages go to the sandbox and reach no person: SANDBOX=off for real ones."
    assert (made.returncode, made.stdout) == (0, f"Made: connection 0, 360dialog. {sandbox}\n"), made.stderr
    listed = json.loads(command(shop, "connections", "list", "--company", "shop", "--json").stdout)
    assert (listed["connectionType"], listed["accountId"]) == ("360dialog", "109990000000009")
    assert (
        command(shop, "connections", "pause", "0", "--company", "shop").stdout
        == "It is paused: an operator paused it.\n"
    )
    assert command(shop, "connections", "resume", "0", "--company", "shop").stdout == "It is active.\n"
    file = tmp_path / "secret"
    file.write_text('{"apiKey": "another"}')
    assert command(shop, "connections", "update", "0", "--company", "shop", "--secrets", str(file)).returncode == 0
    tested = command(shop, "connections", "test", "0", "--company", "shop")
    assert tested.returncode == 1
    assert "360dialog_401" in tested.stdout
    table = command(shop, "connections", "list", "--company", "shop").stdout
    assert "paused" in table
    assert "360dialog_401" in table
    assert (
        command(shop, "connections", "remove", "0", "--company", "shop").stdout
        == "Removed; messages that failed with it: 0.\n"
    )
    assert command(shop, "companies", "add", "shop").returncode == 1
    assert "shop" in command(shop, "companies", "list").stdout
    assert command(shop, "connections", "remove", "--company", "shop").returncode == 64


def test_keys_are_rotated(shop: AccountsEnv) -> None:
    shop.call("POST", PLACE, {**DIRECT, "phoneIndex": 0})
    old = f"k1={shop.settings.secret_encryption_key}"
    new = base64.b64encode(os.urandom(32)).decode()
    first = command(shop, "connections", "reseal", SECRET_KEY_ID="k2", SECRET_ENCRYPTION_KEY=new, SECRET_OLD_KEYS=old)
    assert first.returncode == 0, first.stderr
    keys = "SELECT DISTINCT split_part(credentials, '.', 1) AS key FROM phone_configs WHERE credentials <> ''"
    assert [row["key"] for row in query(shop.settings.database_url, keys)] == ["k2"]
    again = command(shop, "connections", "reseal", SECRET_KEY_ID="k2", SECRET_ENCRYPTION_KEY=new)
    assert "sealed with k2: 0; left as they were because they do not open: 0" in again.stdout
    wrong = command(
        shop,
        "connections",
        "reseal",
        SECRET_KEY_ID="k3",
        SECRET_ENCRYPTION_KEY=base64.b64encode(os.urandom(32)).decode(),
    )
    assert wrong.returncode == 1
    assert "do not open" in wrong.stdout
    back = command(shop, "connections", "reseal", SECRET_OLD_KEYS=f"k2={new}")
    assert back.returncode == 0, back.stderr
