"""Whatever is sent, the answer is a success or a problem of the table; never a 500, and the process lives."""

from __future__ import annotations

import base64
import json
import string
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.http.problems import PROBLEM_TYPES
from tests.api.api_env import CHAT, ApiEnv, problem
from tests.support.examples import examples

QUICK = settings(
    max_examples=examples(50),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
OURS = ("message", "phoneIndex", "quotedMessageId", "desired")

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=40)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(OURS) | st.text(max_size=8), values, max_size=5) | values
likely = st.fixed_dictionaries(
    {"message": st.text(st.characters(), max_size=60)},
    optional={
        "phoneIndex": st.integers(-1, 5) | st.integers(),
        "quotedMessageId": st.text(st.characters(), max_size=30) | st.integers(0, 10**20).map(str),
    },
)
segments = st.binary(max_size=12).map(quote_from_bytes) | st.sampled_from(
    ["alpha", "beta", CHAT, "1", "0", "text", "%00", "..", "%2F", "120363041234567890@g.us"]
)
header_values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=300)
methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])


def require_known(answer: Any) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert problem(answer)["type"] in PROBLEM_TYPES


@QUICK
@given(bodies | likely)
def test_any_json(api_env: ApiEnv, body: Any) -> None:
    data = json.dumps(body)
    require_known(
        api_env.call(
            "POST", f"/api/v2/messages/text/alpha/{CHAT}", data=data, headers={"Content-Type": "application/json"}
        )
    )
    require_known(
        api_env.call("POST", "/api/v2/sessions/alpha/1", data=data, headers={"Content-Type": "application/json"})
    )


@QUICK
@given(
    st.binary(max_size=200),
    st.sampled_from(
        ["application/json", "application/problem+json; charset=utf-8", "text/plain", "application/json;;=;"]
    ),
)
def test_any_bytes(api_env: ApiEnv, body: bytes, media_type: str) -> None:
    require_known(
        api_env.call("POST", f"/api/v2/messages/text/alpha/{CHAT}", data=body, headers={"Content-Type": media_type})
    )


@QUICK
@given(
    methods,
    st.sampled_from(
        ["api/v2/messages", "api/v2/messages/text", "api/v2/connections", "api/v2/sessions", "metrics", "dashboard", ""]
    ),
    st.lists(segments, max_size=4),
)
def test_any_path(api_env: ApiEnv, method: str, start: str, parts: list[str]) -> None:
    path = "/" + "/".join(part for part in [start, *parts] if part)
    require_known(api_env.call(method, path, allow_redirects=False))


@QUICK
@given(
    st.dictionaries(
        st.sampled_from(["Idempotency-Key", "Prefer", "X-Request-Id", "Content-Type", "Accept"]),
        header_values,
        max_size=4,
    )
)
def test_any_headers(api_env: ApiEnv, headers: dict[str, str]) -> None:
    if "wait" in headers.get("Prefer", ""):
        headers["Prefer"] = "wait=0"
    body = json.dumps({"message": "fuzz"})
    require_known(
        api_env.call(
            "POST",
            f"/api/v2/messages/text/alpha/{CHAT}",
            data=body,
            headers={"Content-Type": "application/json"} | headers,
        )
    )


@QUICK
@given(
    st.sampled_from(["limit", "cursor"]),
    st.text(st.characters(codec="utf-8"), max_size=40)
    | st.text(string.ascii_letters + string.digits + "-_=", max_size=60),
)
def test_any_query(api_env: ApiEnv, name: str, value: str) -> None:
    require_known(api_env.call("GET", f"/api/v2/messages/alpha/{CHAT}", params={name: value}))
    require_known(api_env.call("GET", "/api/v2/sessions/alpha/1/qr", params={"format": value}))


@pytest.mark.parametrize(
    "at",
    [
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+00:00",
        "9999-12-31T23:59:59.999999+00:00",
        "2026-12-01T00:00:00",
        "nonsense",
    ],
)
@pytest.mark.parametrize("row_id", ["1", "9" * 18, "9" * 5000])
def test_any_instant_in_a_cursor(api_env: ApiEnv, at: str, row_id: str) -> None:
    cursor = base64.urlsafe_b64encode(f'["{at}",{row_id}]'.encode()).decode().rstrip("=")
    require_known(api_env.call("GET", f"/api/v2/messages/alpha/{CHAT}", params={"cursor": cursor}))
    require_known(api_env.call("GET", f"/api/v2/messages/alpha/{CHAT}", params={"cursor": at}))
    require_known(api_env.call("GET", "/api/v2/dead-letters/alpha", params={"cursor": row_id}))
    body = {"failedAfter": at, "failedBefore": at, "limit": 1}
    require_known(api_env.call("POST", "/api/v2/dead-letters/alpha/redrive", json=body))


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 18, "-1", "0" * 400])
@pytest.mark.parametrize(
    "path",
    [
        f"/api/v2/messages/alpha/{CHAT}/%s",
        "/api/v2/connections/alpha/%s",
        "/api/v2/connections/alpha/%s/capabilities",
        "/api/v2/sessions/alpha/%s",
        "/api/v2/sessions/alpha/%s/events?limit=%s&before=%s",
        "/api/v2/tasks/alpha/%s",
        "/api/v2/templates/alpha/%s",
        "/api/v2/dead-letters/alpha?phoneIndex=%s",
        f"/api/v2/messages/alpha/{CHAT}?limit=%s",
    ],
)
def test_any_number(api_env: ApiEnv, path: str, number: str) -> None:
    require_known(api_env.call("GET", path.replace("%s", number)))


@pytest.mark.parametrize("number", [10**400, -(10**400), 10**18, 1e308])
def test_any_number_in_a_body(api_env: ApiEnv, number: float) -> None:
    where = {"type": "location", "latitude": number, "longitude": number}
    for body in (where, {"type": "text", "message": "x", "phoneIndex": number}):
        require_known(api_env.call("POST", f"/api/v2/messages/alpha/{CHAT}", json=body))
    for options in ({"messagesPerSecond": number}, {"messagesPerMinute": number}, {"dailyLimit": number}):
        require_known(api_env.call("PATCH", "/api/v2/connections/alpha/0", json={"options": options}))
    require_known(api_env.call("POST", "/api/v2/dead-letters/alpha/redrive", json={"limit": number}))


@QUICK
@given(header_values.filter(bool))
def test_any_key_is_refused(api_env: ApiEnv, key: str) -> None:
    answer = api_env.call_from_a_new_address("GET", "/health/all", headers={"Authorization": key, "X-API-Key": key})
    assert answer.status_code == 401
    assert problem(answer)["type"] == "key_invalid"
