"""What the client sends, when it sends it again, and what it makes of answers; nothing is connected."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import pytest

from bulkhead_client import (
    Conflict,
    File,
    Invalid,
    LimitExceeded,
    NotFound,
    Problem,
    RetryPolicy,
    Unavailable,
    Unreachable,
)
from bulkhead_client.wire import Request, json_request, place
from tests.client.scripted import LOST, Outcome, answer, client

KEYED = Request(method="POST", path="/", headers={"Idempotency-Key": "one"})
POLICY = RetryPolicy(attempts=4, first_s=1.0, longest_s=8.0, deadline_s=60.0)
ACCEPTED = answer(202, {"id": "41", "status": "queued"})


def wait(request: Request, outcome: Outcome, *, attempt: int = 1, elapsed_s: float = 0.0, random: float = 1.0) -> Any:
    return POLICY.wait_s(request, outcome, attempt=attempt, elapsed_s=elapsed_s, random=random)


@pytest.mark.parametrize("outcome", [LOST, answer(503), answer(429), answer(502), answer(504), answer(408)])
def test_only_what_cannot_happen_twice_is_sent_again(outcome: Outcome) -> None:
    assert wait(KEYED, outcome) is not None
    assert wait(Request(method="GET", path="/"), outcome) is not None
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert wait(Request(method=method, path="/"), outcome) is None


@pytest.mark.parametrize("status", [200, 202, 400, 401, 403, 404, 409, 422, 500])
def test_what_would_end_in_the_same_way_is_not_sent_again(status: int) -> None:
    assert wait(KEYED, answer(status)) is None


def test_waits_double_with_jitter_up_to_a_limit() -> None:
    assert [wait(KEYED, LOST, attempt=attempt, random=1.0) for attempt in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert [wait(KEYED, LOST, attempt=attempt, random=0.0) for attempt in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert RetryPolicy(attempts=99, longest_s=8.0).wait_s(KEYED, LOST, attempt=50, elapsed_s=0, random=1.0) == 8.0


def test_retry_after_is_a_minimum() -> None:
    assert wait(KEYED, answer(429, retry_after="7"), random=0.0) == 7.5
    # a date, which Bulkhead never sends, is no reason to fail
    assert wait(KEYED, answer(503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), random=1.0) == 1.0


def test_attempts_and_time_end() -> None:
    assert wait(KEYED, LOST, attempt=4) is None
    assert wait(KEYED, LOST, elapsed_s=59.5) is None
    assert wait(KEYED, answer(503, retry_after="61")) is None


def test_a_message_whose_answer_was_lost_is_sent_again_with_the_same_key() -> None:
    bulkhead, transport = client(LOST, answer(503, {"type": "urn:bulkhead:problem:acceptance_unknown"}), ACCEPTED)
    assert bulkhead.send_text("15550100200", "Hello")["id"] == "41"
    keys = {request.headers["Idempotency-Key"] for request in transport.asked}
    assert len(transport.asked) == 3
    assert len(keys) == 1
    assert len(keys.pop()) > 20
    assert len(transport.slept) == 2


def test_two_messages_have_two_keys_and_a_callers_key_is_kept() -> None:
    bulkhead, transport = client(ACCEPTED, ACCEPTED, ACCEPTED)
    for options in ({}, {}, {"idempotency_key": "order-1"}):
        bulkhead.send_text("15550100200", "Hello", **options)
    first, second, third = (request.headers["Idempotency-Key"] for request in transport.asked)
    assert first != second
    assert third == "order-1"


def test_an_operation_without_a_key_is_tried_once() -> None:
    bulkhead, transport = client(LOST)
    with pytest.raises(Unreachable):
        bulkhead.add_hook("https://example.com/hook")
    assert len(transport.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (404, NotFound),
        (409, Conflict),
        (422, Invalid),
        (429, LimitExceeded),
        (500, Unavailable),
        (418, Problem),
    ],
)
def test_a_refusal_is_an_error_of_its_kind(status: int, kind: type[Problem]) -> None:
    body = {"type": "urn:bulkhead:problem:body_invalid", "detail": "No.", "errors": [{"pointer": "/x", "reason": "is"}]}
    refused = answer(status, body, x_request_id="abc", retry_after="99")
    bulkhead, _ = client(*[refused] * 4)
    with pytest.raises(kind) as raised:
        bulkhead.message("15550100200", "41")
    error = raised.value
    assert (error.status, error.type, error.detail, error.request_id) == (status, "body_invalid", "No.", "abc")
    assert error.errors == [{"pointer": "/x", "reason": "is"}]
    assert error.retry_after_s == 99


def test_a_page_of_a_proxy_is_an_error_too() -> None:
    bulkhead, _ = client(*[answer(500, "<html>")] * 4)
    with pytest.raises(Unavailable, match="500 about:blank"):
        bulkhead.connections()


def test_paths_are_escaped_and_null_is_left_out() -> None:
    assert place("messages", "demo", "a/b@g.us", 7) == "/api/v2/messages/demo/a%2Fb@g.us/7"
    request = json_request("POST", "/x", {"a": None, "b": False})
    assert json.loads(request.body or b"") == {"b": False}
    assert Request(method="GET", path="/x", query={"a": None, "b": True, "c": "1 2"}).target == "/x?b=true&c=1+2"


def test_a_form_holds_fields_before_the_file() -> None:
    bulkhead, transport = client(ACCEPTED)
    bulkhead.send_image("15550100200", File(content=b"\x89PNG", name="ü.png"), caption="Look", phoneIndex=1)
    body = transport.asked[0].body or b""
    assert body.index(b'name="phoneIndex"\r\n\r\n1\r\n') < body.index(b'name="file"')
    assert 'name="filename"\r\n\r\nü.png\r\n'.encode() in body
    assert b'name="caption"\r\n\r\nLook\r\n' in body


def test_a_company_is_named_once_or_in_the_call() -> None:
    bulkhead, transport = client(ACCEPTED, ACCEPTED)
    bulkhead.send_text("1555", "Hello")
    bulkhead.send_text("1555", "Hello", company="other")
    assert [request.path for request in transport.asked] == [
        "/api/v2/messages/demo/1555",
        "/api/v2/messages/other/1555",
    ]
    bulkhead.company = ""
    with pytest.raises(ValueError, match="no company"):
        bulkhead.send_text("1555", "Hello")


def test_lists_are_read_page_by_page_as_they_are_needed() -> None:
    pages = [
        answer(200, {"messages": [{"id": "1"}, {"id": "2"}], "next": "c1"}),
        answer(200, {"messages": [{"id": "3"}], "next": None}),
    ]
    bulkhead, transport = client(*pages)
    entries = bulkhead.messages("1555")
    assert [entry["id"] for entry in islice(entries, 2)] == ["1", "2"]
    assert len(transport.asked) == 1
    assert [entry["id"] for entry in entries] == ["3"]
    assert transport.asked[1].query["cursor"] == "c1"


def test_events_are_read_up_to_now_also_when_a_page_is_empty() -> None:
    pages = [
        {"events": [{"id": "1-1"}], "next": "1-1"},
        {"events": [], "next": "5-0"},
        {"events": [{"id": "6-1"}], "next": "6-1"},
        {"events": [], "next": "6-1"},
    ]
    bulkhead, _ = client(*(answer(200, page) for page in pages))
    assert [event["id"] for event in bulkhead.events()] == ["1-1", "6-1"]


def stream(*ids: str) -> str:
    return "".join(f'id: {one}\nevent: hook.test\ndata: {{"id": "{one}"}}\n\n' for one in ids)


def test_a_stream_goes_on_after_the_last_whole_event() -> None:
    broken = stream("1-1") + "retry: 3000\n: heartbeat\n\nid: 2-1\ndata: {"
    bulkhead, transport = client(
        answer(200, {"events": [], "next": "0-9"}), streams=[(broken, LOST), (stream("2-1", "3-1"), None)]
    )
    events = bulkhead.follow()
    assert [event["id"] for event in islice(events, 3)] == ["1-1", "2-1", "3-1"]
    asked = [request.query["after"] for request in transport.asked]
    assert asked == ["latest", "0-9", "1-1"]
    assert transport.slept == [3.0]


def test_a_stream_that_never_comes_is_an_error_after_as_many_attempts() -> None:
    bulkhead, transport = client(streams=[("", LOST)] * 4)
    with pytest.raises(Unreachable):
        next(bulkhead.follow("0-9"))
    assert len(transport.asked) == 4
