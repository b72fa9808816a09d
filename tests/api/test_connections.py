"""Pausing a connection and resuming it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.api_env import ApiEnv, problem

PLACE = "/api/v2/connections/beta/0"


def shown(api_env: ApiEnv) -> tuple[str, str | None]:
    (connection,) = api_env.call("GET", "/api/v2/connections/beta").json()["connections"]
    return connection["status"], connection["statusReason"]


def test_a_connection_is_paused_and_resumed(api_env: ApiEnv) -> None:
    for _ in range(2):
        answer = api_env.call("POST", PLACE, json={"status": "paused", "reason": "the number moves"})
        assert answer.status_code == 200, answer.text
        assert answer.json() == api_env.call("GET", "/api/v2/connections/beta").json()
        assert shown(api_env) == ("paused", "the number moves")
    for _ in range(2):
        assert api_env.call("POST", PLACE, json={"status": "active"}).status_code == 200
        assert shown(api_env) == ("active", None)


@pytest.mark.parametrize(
    ("place", "body", "kind"),
    [
        (PLACE, {"status": "broken"}, "body_invalid"),
        (PLACE, {}, "body_invalid"),
        ("/api/v2/connections/beta/7", {"status": "paused"}, "phone_index_unknown"),
        ("/api/v2/connections/beta/x", {"status": "paused"}, "phone_index_unknown"),
        ("/api/v2/connections/nobody/0", {"status": "paused"}, "company_unknown"),
    ],
)
def test_what_cannot_be_done_is_refused(api_env: ApiEnv, place: str, body: dict[str, Any], kind: str) -> None:
    assert problem(api_env.call("POST", place, json=body))["type"] == kind
    assert shown(api_env) == ("active", None)


def test_a_connection_says_whether_the_sandbox_answers_for_its_provider(
    home: Path, database_url: str, redis_url: str
) -> None:
    sandbox = "http://127.0.0.1:3100"
    addresses = {"sandbox_url": sandbox, "graph_base_url": f"{sandbox}/graph", "d360_base_url": "https://d360.example"}
    with ApiEnv(home, database_url, redis_url, **addresses) as env:
        listed = env.seed().start().call("GET", "/api/v2/connections/alpha").json()["connections"]
    by_type = {one["connectionType"]: one["sandbox"] for one in listed}
    assert (by_type["meta_direct"], by_type["meta_embedded"], by_type["360dialog"]) == (True, True, False)


def test_a_browser_session_shows_the_number_that_is_linked(api_env: ApiEnv) -> None:
    (row,) = api_env.sql("SELECT id FROM phone_configs WHERE company_id = 'alpha' AND phone_index = 1")
    api_env.sql(
        "INSERT INTO phone_status (connection_id, process_name, status, account) VALUES (%s, 'webdriver', '', "
        "'15550100999') "
        "ON CONFLICT (connection_id) DO UPDATE SET status = '', account = excluded.account",
        row["id"],
    )
    try:
        shown = api_env.call("GET", "/api/v2/connections/alpha/1").json()
        assert (shown["account"], shown["state"], shown["detail"]) == ("15550100999", "absent", None)
        overview = api_env.call("GET", "/api/v2/connections").json()["connections"]
        assert "15550100999" in [one["account"] for one in overview]
    finally:
        api_env.sql("DELETE FROM phone_status WHERE connection_id = %s", row["id"])
