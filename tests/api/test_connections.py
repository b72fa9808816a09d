"""Pausing a connection and resuming it."""

from __future__ import annotations

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
