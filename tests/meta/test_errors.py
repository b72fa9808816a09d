"""What answers mean: the table, the rules beyond it, and all shapes of bodies."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from meta.errors import RULES, ErrorAction, ProviderAcceptance, Reading, Refusal, ThrottleScope, Unclear, read, rule_of
from meta.graph import GraphAnswer
from tests.support.environment import REPOSITORY

RETRY = {1, 2, 131000, 131016, 133004, 133015}
THROTTLE = {4, 17, 32, 341, 613, 80007, 130429, 131056, 131057, 2494100}
PAUSE = {0, 104, 190, 368, 131031, 131042, 131048}


def answer(status: int, body: Any, **headers: str) -> Reading:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(GraphAnswer(status, raw, {name.replace("_", "-"): value for name, value in headers.items()}))


def error(code: object, status: int = 400, **more: Any) -> Refusal:
    read_as = answer(status, {"error": {"message": "words", "type": "OAuthException", "code": code, **more}})
    assert isinstance(read_as, Refusal)
    return read_as


@pytest.mark.parametrize("code", RULES)
def test_each_code_asks_for_what_metas_documents_say(code: int) -> None:
    expected = (
        ErrorAction.RETRY
        if code in RETRY
        else ErrorAction.THROTTLE
        if code in THROTTLE
        else ErrorAction.PAUSE
        if code in PAUSE
        else ErrorAction.DEAD
    )
    for status in (400, 429, 500):
        refusal = error(code, status)
        assert refusal.rule.action is expected, "the status changes nothing"
        assert refusal.code == str(code)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"error": {"message": "Invalid OAuth access token", "code": 190}}),
        (401, {"meta": {"http_code": 401, "developer_message": "no such key"}}),
        (404, b""),
        (503, b""),
        (200, {}),
    ],
)
def test_an_answer_of_the_sandbox_says_so_in_every_sentence(status: int, body: Any) -> None:
    of_provider, of_sandbox = answer(status, body), answer(status, body, X_Bulkhead_Sandbox="1")
    assert isinstance(of_sandbox, Refusal | Unclear)
    assert isinstance(of_provider, Refusal | Unclear)
    assert of_sandbox.code == of_provider.code
    sentences = [of_sandbox.detail] + ([of_sandbox.rule.meaning] if isinstance(of_sandbox, Refusal) else [])
    assert all("the sandbox answered, not the provider" in one for one in sentences)
    assert "sandbox" not in of_provider.detail


def test_the_sets_name_no_code_that_is_not_in_the_table() -> None:
    assert RULES.keys() >= RETRY | THROTTLE | PAUSE


def test_waits_of_throttles() -> None:
    assert (RULES[131056].wait.base_s, RULES[131056].wait.growth, RULES[131056].wait.scope) == (
        1,
        4,
        ThrottleScope.CHAT,
    )
    assert RULES[130429].wait.scope is ThrottleScope.CONNECTION
    assert {code: rule.pause_s for code, rule in RULES.items() if rule.pause_s} == {131048: 4 * 3600}, (
        "the others wait for somebody"
    )
    assert RULES[4].wait.base_s >= 60
    assert RULES[133015].after_s == 300


@pytest.mark.parametrize(
    ("code", "status", "more", "kind"),
    [
        (999999, 400, {}, ErrorAction.DEAD),
        (999999, 503, {}, ErrorAction.RETRY),
        (999999, 400, {"is_transient": True}, ErrorAction.RETRY),
        (131026, 500, {"is_transient": True}, ErrorAction.DEAD),
        (200, 403, {}, ErrorAction.DEAD),
        (299, 500, {}, ErrorAction.DEAD),
        *((code, 400, {}, ErrorAction.DEAD) for code in (131204, 138006, 139000, 147003, 2388093, 2593107)),
        ("190", 401, {}, ErrorAction.PAUSE),
    ],
)
def test_unknown_codes_go_by_rule(code: object, status: int, more: dict[str, Any], kind: ErrorAction) -> None:
    assert error(code, status, **more).rule.action is kind


def test_an_error_body_is_no_result_whatever_its_status() -> None:
    assert error(131030, 200).rule.action is ErrorAction.DEAD


def test_details_and_trace_are_kept_and_numbers_are_not() -> None:
    refusal = error(131026, error_data={"details": "to +1 555 010 0200: no"}, error_subcode=2655007, fbtrace_id="Axyz")
    assert refusal.detail == "to [number]: no (subcode 2655007, fbtrace_id Axyz)"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "360dialog_401", ErrorAction.PAUSE),
        (403, "360dialog_403", ErrorAction.PAUSE),
        (400, "360dialog_400", ErrorAction.DEAD),
        (429, "360dialog_429", ErrorAction.THROTTLE),
    ],
)
def test_360dialogs_own_body(status: int, code: str, kind: ErrorAction) -> None:
    refusal = answer(status, {"meta": {"developer_message": "Invalid api key", "http_code": status, "success": False}})
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.rule.action, refusal.detail) == (code, kind, "Invalid api key")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"error":"x"}', b'{"error":{"message":"x"}}', b'{"meta":{"http_code":500}}', b"\xff\x00"],
)
def test_a_5xx_without_a_code_of_metas_proves_nothing(body: bytes) -> None:
    unclear = answer(502, body)
    assert isinstance(unclear, Unclear)
    assert unclear.code == "http_502"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, ErrorAction.RETRY),
        (400, ErrorAction.DEAD),
        (401, ErrorAction.PAUSE),
        (404, ErrorAction.DEAD),
        (408, ErrorAction.RETRY),
        (429, ErrorAction.THROTTLE),
    ],
)
def test_refusals_without_any_body_go_by_status(status: int, kind: ErrorAction) -> None:
    refusal = answer(status, b"")
    assert isinstance(refusal, Refusal)
    assert (refusal.rule.action, refusal.code) == (kind, f"http_{status}")


def test_taken() -> None:
    assert answer(200, {"messaging_product": "whatsapp", "messages": [{"id": "wamid.A"}]}) == ProviderAcceptance(
        "wamid.A"
    )


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("accepted", ""),
        ("held_for_quality_assessment", "held_for_quality_assessment"),
        ("paused", "paused"),
        (None, ""),
        (7, ""),
        ("No Word", ""),
    ],
)
def test_a_template_message_that_is_not_sent_at_once(given: Any, status: str) -> None:
    message = {"id": "wamid.A", "message_status": given}
    assert answer(200, {"messages": [message]}) == ProviderAcceptance("wamid.A", status)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        {"messages": []},
        {"messages": [{"id": ""}]},
        {"messages": [{"id": 5}]},
        {"messages": {"id": "x"}},
        {"messages": [{"id": "x" * 300}]},
    ],
)
def test_an_answer_without_a_usable_id_proves_nothing(body: Any) -> None:
    assert isinstance(answer(200, body), Unclear)


@pytest.mark.parametrize(
    ("headers", "requested_wait_s"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": " 7 "}, 7.0),
        ({"Retry_After": "8.5"}, 8.5),
        ({"Retry_After": "0"}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "-5"}, None),
        ({"Retry_After": "1e9"}, None),
        ({"Retry_After": "999999999"}, 86400.0),
        ({"Retry_After": "Mon, 30 Nov 2026 05:00:30 GMT", "Date": "Mon, 30 Nov 2026 05:00:00 GMT"}, 30.0),
        ({"Retry_After": "Monday, 30-Nov-26 05:00:30 GMT", "Date": "Mon, 30 Nov 2026 05:00:00 GMT"}, 30.0),
        ({"Retry_After": "Mon Nov 30 05:00:30 2026", "Date": "Mon, 30 Nov 2026 05:00:00 GMT"}, 30.0),
        ({"Retry_After": "Mon, 30 Nov 2026 05:00:00 GMT", "Date": "Mon, 30 Nov 2026 05:00:30 GMT"}, None),
        ({"Retry_After": "Mon, 99 Nov 2026 05:00:00 GMT"}, None),
        (
            {
                "X_Business_Use_Case_Usage": '{"1":[{"type":"whatsapp","call_count":100,"estimated_time_to_regain_access":3}]}'  # noqa: E501
            },
            180.0,
        ),
        ({"X_Business_Use_Case_Usage": '{"1":[{"estimated_time_to_regain_access":0}]}'}, None),
        ({"X_Business_Use_Case_Usage": "[1"}, None),
        ({"X_Business_Use_Case_Usage": '{"1":{"a":1},"2":[4]}'}, None),
    ],
)
def test_waits_that_the_headers_ask_for(headers: dict[str, str], requested_wait_s: float | None) -> None:
    refusal = answer(400, {"error": {"code": 80007}}, **headers)
    assert isinstance(refusal, Refusal)
    assert refusal.requested_wait_s == requested_wait_s


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_date_without_the_servers_own_counts_from_now(date: str) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    refusal = answer(429, b"", Retry_After=until, Date=date)
    assert isinstance(refusal, Refusal)
    assert refusal.requested_wait_s is not None
    assert 50 < refusal.requested_wait_s <= 60


def test_unknown_codes_without_context_are_dead() -> None:
    assert rule_of(138000).action is ErrorAction.DEAD


@pytest.mark.parametrize(("subcode", "word"), [(458, "app"), (463, "expired"), (467, "invalid"), (492, "role")])
def test_a_dead_token_says_why(subcode: int, word: str) -> None:
    refusal = error(190, 401, error_subcode=subcode)
    assert refusal.rule.action is ErrorAction.PAUSE
    assert word in refusal.rule.meaning
    assert f"subcode {subcode}" in refusal.detail


@pytest.mark.parametrize("body", [{"success": True}, {"success": False}, {"success": "yes"}, {}, b""])
def test_an_answer_to_what_is_no_message(body: Any) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reading = read(GraphAnswer(200, raw, {}), lambda parsed: "done" if parsed.get("success") is True else "")
    assert isinstance(reading, ProviderAcceptance if body == {"success": True} else Unclear)


def test_the_document_says_what_the_table_says() -> None:
    words = {
        ErrorAction.RETRY: "retry",
        ErrorAction.THROTTLE: "wait",
        ErrorAction.PAUSE: "pause",
        ErrorAction.DEAD: "dead",
    }
    lines = (REPOSITORY / "docs" / "meta.md").read_text().splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| `") and line[3].isdigit()
    ]
    assert {code.strip("`"): (word, meaning) for code, word, _wait, meaning in cells} == {
        str(code): (words[rule.action], rule.meaning) for code, rule in RULES.items()
    }
