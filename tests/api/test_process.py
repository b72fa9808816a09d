"""The API as a process: what it does not start without, what it counts and writes, how it leaves."""

from __future__ import annotations

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.process.exit_codes import ExitCode
from tests.api.api_env import CHAT, KEY, ApiEnv, problem
from tests.support.servers import Servers
from tests.support.waiting import deadline_s, eventually


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("API_KEY", "start the orchestrator once"),
        ("DATABASE_URL", "the orchestrator fills it in"),
        ("REDIS_URL", "the orchestrator fills it in"),
    ],
)
def test_it_does_not_start_without(home: Path, missing: str, said: str) -> None:
    given = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "API_KEY": KEY,
    } | {missing: ""}
    with ApiEnv(home, given["DATABASE_URL"], given["REDIS_URL"], api_key=given["API_KEY"]) as api_env:
        api_env.entry.start()
        assert api_env.entry.wait_exit() == ExitCode.CONFIGURATION
        text = api_env.entry.log.read_text()
        assert f"{missing} is empty" in text
        assert said in text


def test_the_key_is_read_from_the_home(home: Path) -> None:
    (home / "api_key").write_text("kept-in-the-home\n")
    with ApiEnv(home, "postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0", api_key="") as api_env:
        api_env.start()
        assert api_env.call("GET", "/health/all", key="kept-in-the-home").json()["status"] == "down"
        assert problem(api_env.call("GET", "/health/all"))["type"] == "key_invalid"


def test_requests_are_counted_by_route_and_never_by_chat(api_env: ApiEnv) -> None:
    api_env.send("counted")
    api_env.send("")
    api_env.call("GET", "/nowhere/at/all")
    # the process's own: the public port answers with the files of all, a few seconds later
    text = requests.get(f"{api_env.admin}/metrics", timeout=10).text
    own = f'host="{socket.gethostname()}",kind="api",slot="api-0"'
    route = "/api/v2/messages/text/{companyId}/{chatId}"
    assert re.search(
        rf'bulkhead_http_requests_total{{{own},route="{re.escape(route)}",method="POST",status="202"}} \d', text
    )
    assert re.search(rf'bulkhead_http_request_seconds_count{{{own},route="{re.escape(route)}"}} \d', text)
    assert f'bulkhead_http_requests_total{{{own},route="none",method="GET",status="404"}}' in text
    assert f'bulkhead_http_problems_total{{{own},type="text_empty"}}' in text
    assert f'bulkhead_messages_accepted_total{{{own},connection_type="meta_direct"}}' in text
    assert CHAT not in text


def test_logs_name_the_route_and_no_person(home: Path, database_url: str, servers: Servers) -> None:
    with ApiEnv(home, database_url, servers.new_redis(), log_level="debug") as api_env:
        api_env.seed().start()
        api_env.send("a private text", headers={"X-Request-Id": "trace-7", "Idempotency-Key": "private-key"})
        api_env.send("a private text" * 1000)
        api_env.call("GET", f"/api/v2/messages/alpha/{CHAT}/abc")
        assert api_env.entry.stop() == 0
        text = api_env.entry.log.read_text()
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    (line,) = [line for line in lines if line.get("correlation_id") == "trace-7"]
    assert line["event"] == "request_answered"
    assert (line["route"], line["method"], line["status"]) == (
        "/api/v2/messages/text/{companyId}/{chatId}",
        "POST",
        202,
    )
    assert line["duration_ms"] > 0
    for secret in (CHAT, "a private text", "key-of-the-tests", "private-key"):
        assert secret not in text


def test_stopped_it_answers_waiting_clients_and_ends(home: Path, database_url: str, servers: Servers) -> None:
    with ApiEnv(home, database_url, servers.new_redis()) as api_env:
        api_env.seed().start()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(api_env.send, "waiting", headers={"Prefer": "wait=60"})
            eventually(lambda: api_env.sql("SELECT id FROM messages"), 5, "the row is there")
            api_env.entry.process.terminate()
            answer = waiting.result(deadline_s(10))
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        assert api_env.entry.wait_exit() == ExitCode.OK


def test_an_unexpected_error_is_a_500_and_the_process_continues(
    home: Path, database_url: str, servers: Servers
) -> None:
    with ApiEnv(home, database_url, servers.new_redis()) as api_env:
        api_env.seed().start()
        before = api_env.entry.process.pid
        api_env.sql("ALTER TABLE messages ADD CONSTRAINT nobody_foresaw CHECK (type = 'smoke signal')")
        answer = api_env.send("a private text")
        shown = problem(answer)
        assert (answer.status_code, shown["type"]) == (500, "internal_error")
        assert "nobody_foresaw" not in answer.text
        assert api_env.call("GET", "/health", key=None).json()["errorCount"] == 1
        api_env.sql("ALTER TABLE messages DROP CONSTRAINT nobody_foresaw")
        assert api_env.send("on we go").status_code == 202
        assert api_env.entry.process.poll() is None
        assert api_env.entry.process.pid == before
        text = api_env.entry.log.read_text()
        (line,) = [line for line in map(json.loads, text.splitlines()) if line["event"] == "request_failed"]
        assert line["correlation_id"] == shown["instance"]
        assert "nobody_foresaw" in line["traceback"]
        assert "a private text" not in text, "PostgreSQL repeats the whole row; the log does not"
        assert CHAT not in text


def test_before_the_schema_is_there_it_is_a_503(home: Path, empty_database_url: str, servers: Servers) -> None:
    with ApiEnv(home, empty_database_url, servers.new_redis()) as api_env:
        api_env.start()
        assert problem(api_env.send("too early"))["type"] == "database_unavailable"
        assert problem(api_env.call("GET", "/api/v2/connections/alpha"))["type"] == "database_unavailable"
        health = api_env.call("GET", "/health/all")
        assert (health.status_code, health.json()["status"]) == (503, "down")


def test_no_connection_is_upgraded_to_another_protocol(api_env: ApiEnv) -> None:
    answer = api_env.call(
        "GET",
        "/dashboard",
        headers={
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
    )
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8"), (
        "what it asks for is answered in plain HTTP"
    )
    assert "Upgrade" not in answer.headers
