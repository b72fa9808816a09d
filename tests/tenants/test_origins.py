"""A request can be followed: its id and its trace stand in the message and in the log lines of the sending process."""

from __future__ import annotations

import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from shared.origin import continued, log_fields, random_id, trace_id
from tests.api.api_env import ApiEnv
from tests.tenants.making import new_key

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-01-what-is-to-come", True),
        (f"00-{TRACE}-{PARENT}-01-more", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{PARENT}-01", False),
        (f"00-{TRACE}-{PARENT}-01\n", False),
        ("", False),
        ("nonsense", False),
    ],
)
def test_a_valid_trace_is_continued_and_any_other_begun_anew(given: str, is_taken: bool) -> None:
    found = continued(given)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", found)
    assert (trace_id(found) == TRACE) == is_taken
    # a span of ours in either case
    assert PARENT not in found


def test_what_no_request_asked_for_has_no_fields() -> None:
    assert log_fields("", "") == {}
    assert log_fields("r", f"00-{TRACE}-{PARENT}-01") == {"request_id": "r", "trace_id": TRACE}


def test_a_message_shows_the_request_that_asked_for_it(api_env: ApiEnv) -> None:
    key = new_key(api_env, "alpha")
    headers = {"X-Request-Id": "order-1001", "traceparent": f"00-{TRACE}-{PARENT}-01"}
    headers["Authorization"] = f"Bearer {key['key']}"
    sent = api_env.send("followed", headers=headers)
    assert sent.status_code == 202, sent.text
    shown = api_env.call("GET", sent.headers["Location"]).json()
    assert shown["requestId"] == "order-1001"
    assert trace_id(shown["traceparent"]) == TRACE
    [row] = api_env.sql("SELECT key_id, request_id FROM messages WHERE id = %s", int(sent.json()["id"]))
    assert (row["key_id"], row["request_id"]) == (int(key["id"]), "order-1001")
    made = api_env.call("GET", api_env.send("without").headers["Location"]).json()
    assert re.fullmatch(r"[0-9a-f]{16}", made["requestId"])
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", made["traceparent"])


def test_a_process_that_was_forked_makes_ids_of_its_own() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as forked:
        made = {random_id(16), *forked.map(random_id, [16] * 20)}
    assert len(made) == 21
