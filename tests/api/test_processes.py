"""Operators' operations on processes, queues, changes and raw events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
import requests

from shared.clock import utc_now
from shared.store import processes
from tests.api.api_env import ANSWER_S, KEY, ApiEnv, problem


def test_without_an_orchestrator_nothing_is_restarted(api_env: ApiEnv) -> None:
    for what in ("restart", "drain"):
        answer = api_env.call("POST", f"/api/v2/processes/meta/{what}")
        assert problem(answer)["type"] == "orchestrator_unavailable"
        assert answer.headers["Retry-After"] == "5"
    unknown = problem(api_env.call("POST", "/api/v2/processes/meta-99/restart"))
    assert (unknown["type"], "meta" in unknown["known"]) == ("process_unknown", True)


def test_a_log_is_read_by_name_and_by_no_path(api_env: ApiEnv) -> None:
    logs = api_env.entry.home / "logs"
    logs.mkdir(exist_ok=True)
    (logs / "meta-0.err.log").write_text("one\ntwo\nthree\n")
    shown = api_env.call("GET", "/api/v2/processes/meta-0/log?limit=2").json()
    assert shown == {"process": "meta-0", "stream": "err", "lines": ["two", "three"]}
    assert api_env.call("GET", "/api/v2/processes/orchestrator/log?stream=out").json()["lines"] == []
    for name in ("meta", "..%2f..%2fsecret_key", "api_key", "meta-0.err"):
        assert api_env.call("GET", f"/api/v2/processes/{name}/log").status_code == 404, name


def test_history_and_changes_come_from_rows(api_env: ApiEnv) -> None:
    at = (utc_now() - timedelta(minutes=5)).isoformat()
    facts = {"process_name": "sandbox", "instance": 7, "incarnation": "sandbox-7.a", "at": at, "boot_id": "history"}
    rows = [facts | {"seq": 1, "event": "ready", "detail": {}}]
    rows += [facts | {"seq": 2, "event": "exited", "detail": {"signal": 9, "expected": False}}]
    api_env.run(processes.write_events, rows)
    shown = api_env.call("GET", "/api/v2/processes/history").json()
    (slot,) = [one for one in shown["slots"] if one["slot"] == "sandbox-7"]
    assert [one["state"] for one in slot["states"]] == ["starting", "ready", "stopped"]
    assert [one["reason"] for one in slot["exits"]] == ["signal 9"]
    assert (shown["stepSeconds"], len(slot["memoryMb"])) == (60, 60)
    first = api_env.call("GET", "/api/v2/changes?subject=process&limit=1").json()
    second = api_env.call("GET", f"/api/v2/changes?subject=process&limit=1&cursor={first['next']}").json()
    assert [one["changes"][0]["type"] for one in (first, second)] == ["process.exited", "process.ready"]
    assert first["changes"][0]["process"] == "sandbox-7"


def test_queues_name_the_connections_that_wait(api_env: ApiEnv) -> None:
    api_env.send("waits", phoneIndex=3, chat="15550107001")
    shown = api_env.call("GET", "/api/v2/queues").json()
    assert {"meta"} <= {one["process"] for one in shown["queues"]}
    (waiting,) = [one for one in shown["connections"] if (one["companyId"], one["phoneIndex"]) == ("alpha", 3)]
    assert (waiting["paused"], waiting["due"] >= 1) == (True, True)


def frames(answer: requests.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of a stream. Once for an answer: an iterator that is given up closes its connection."""
    name = ""
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        if field == "data":
            yield name, json.loads(value)


def test_health_is_streamed_on_request(api_env: ApiEnv) -> None:
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {KEY}"}
    with requests.get(f"{api_env.url}/health/all", headers=headers, stream=True, timeout=ANSWER_S) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        seen = list(islice(frames(answer), 4))
    # at once, and again when heartbeats are known; then everything
    assert seen[0][0] == "processes"
    assert {name for name, _ in seen} == {"processes", "health"}
    assert {one["process"] for one in seen[0][1]["processes"]} >= {"api", "recorder"}
    (health, *_) = [body for name, body in seen if name == "health"]
    assert health["troubles"][0]["sentence"]


def test_a_stream_ends_with_its_key(api_env: ApiEnv) -> None:
    made = api_env.call(
        "POST", "/api/v2/keys", json={"name": "screen", "companyId": None, "scopes": ["monitor"]}
    ).json()
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {made['key']}"}
    with requests.get(f"{api_env.url}/health/all", headers=headers, stream=True, timeout=ANSWER_S) as answer:
        stream = frames(answer)
        assert len(list(islice(stream, 2))) == 2
        assert api_env.call("DELETE", f"/api/v2/keys/{made['id']}").status_code == 200
        # a second until every process knows, two until health is sent again
        assert len(list(islice(stream, 6))) < 6, "it ended by itself"


@pytest.fixture
def raw_event(api_env: ApiEnv) -> str:
    """The id of a webhook that could not be processed."""
    (row,) = api_env.sql(
        "INSERT INTO inbound_journal (process_name, source, body, attempts, processed_at, outcome) "
        "VALUES ('meta', 'meta', %s, 5, now(), 'failed: no JSON') RETURNING id",
        b"not \xff json",
    )
    return str(row["id"])


def test_raw_events_are_listed_shown_and_replayed(api_env: ApiEnv, raw_event: str) -> None:
    listed = api_env.call("GET", "/api/v2/raw-events?chosen=failed").json()["events"]
    assert (listed[0]["id"], listed[0]["outcome"]) == (raw_event, "failed: no JSON")
    assert api_env.call("GET", f"/api/v2/raw-events/{raw_event}").json()["body"] == "not � json"
    for _ in range(2):
        assert api_env.call("POST", f"/api/v2/raw-events/{raw_event}/replay").status_code == 202
    waiting = api_env.call("GET", "/api/v2/raw-events?chosen=waiting").json()["events"]
    assert raw_event in {one["id"] for one in waiting}
    assert api_env.call("POST", "/api/v2/raw-events/replay", json={"chosen": "failed"}).json()["next"] is None
    assert problem(api_env.call("GET", "/api/v2/raw-events/999999"))["type"] == "raw_event_unknown"
    api_env.sql("DELETE FROM inbound_journal WHERE id = %s", int(raw_event))


def test_letters_are_counted_by_reason(api_env: ApiEnv) -> None:
    for number, code in enumerate(("131026", "131026", "131049")):
        sent = api_env.send("lost", company="beta", chat=f"1555010720{number}").json()
        api_env.sql(
            "UPDATE messages SET state = 'failed', error_code = %s, updated_at = now() WHERE id = %s", code, sent["id"]
        )
    shown = api_env.call("GET", "/api/v2/dead-letters/beta/reasons").json()
    counted = {one["code"]: one["letters"] for one in shown["reasons"] if not one["held"]}
    assert (counted["131026"] >= 2, counted["131049"] >= 1, shown["complete"]) == (True, True, True)


def test_the_audit_is_read_back_from_the_newest(api_env: ApiEnv) -> None:
    for index in (0, 2):
        api_env.call("POST", f"/api/v2/connections/alpha/{index}/pause")
        api_env.call("POST", f"/api/v2/connections/alpha/{index}/resume")
    first = api_env.call("GET", "/api/v2/audit?order=newest&limit=3").json()
    second = api_env.call("GET", f"/api/v2/audit?order=newest&limit=1&after={first['next']}").json()
    named = [(one["type"], one["data"]["subject"]["phoneIndex"]) for one in first["events"] + second["events"]]
    assert named == [
        ("audit.connections.resume", "2"),
        ("audit.connections.pause", "2"),
        ("audit.connections.resume", "0"),
        ("audit.connections.pause", "0"),
    ]


def test_a_key_says_what_it_is(api_env: ApiEnv) -> None:
    first = api_env.call("GET", "/api/v2/whoami").json()
    assert (first["id"], first["companyId"], len(first["scopes"])) == (None, None, 5)
    made = {"name": "somebody", "companyId": "alpha", "scopes": ["monitor"]}
    key = api_env.call("POST", "/api/v2/keys", json=made).json()["key"]
    own = api_env.call("GET", "/api/v2/whoami", key=key).json()
    assert (own["name"], own["companyId"], own["scopes"]) == ("somebody", "alpha", ["monitor"])


def test_files_of_the_page_are_sent_once(api_env: ApiEnv) -> None:
    first = api_env.call("GET", "/dashboard/app.js", key=None)
    assert first.headers["Content-Type"].startswith("text/javascript")
    again = api_env.call("GET", "/dashboard/app.js", key=None, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert problem(api_env.call("GET", "/dashboard/page.py", key=None))["type"] == "path_unknown"
