"""What is said about every process, with every source that can be missing missing in turn."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.clock import utc_now
from shared.process import runtime
from shared.store import processes
from shared.store.processes import HeartbeatRow
from tests.api.api_env import ApiEnv, problem
from tests.support.entry import Entry
from tests.support.servers import Servers
from tests.support.waiting import eventually, patience_s


@pytest.fixture(scope="module")
def kept_api_env(servers: Servers) -> Iterator[ApiEnv]:
    """An API with a database and a home of its own."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    name, url = servers.new_database()
    with ApiEnv(home, url, servers.new_redis(kept=True), heartbeat_s=0.5) as made:
        yield made.seed().start()
    servers.drop_database(name)
    shutil.rmtree(home)


@pytest.fixture
def api_env(kept_api_env: ApiEnv) -> ApiEnv:
    """The API, without a word from any process."""
    runtime.status_file(kept_api_env.entry.home).unlink(missing_ok=True)
    kept_api_env.sql(
        "DELETE FROM process_health; DELETE FROM messages; DELETE FROM phone_status; DELETE FROM hooks; "
        "DELETE FROM documents"
    )
    kept_api_env.sql("UPDATE phone_configs SET status = 'active', status_reason = '', desired_state = 'linked'")
    return kept_api_env


def beat(
    process: str, instance: int = 0, *, status: str = "ready", incarnation: str = "", host: str = ""
) -> HeartbeatRow:
    return HeartbeatRow(
        kind=process,
        instance=instance,
        status=status,
        uptime_s=12.5,
        memory_mb=80.0,
        connections=2,
        pid=4711,
        host=host or socket.gethostname(),
        incarnation=incarnation or f"{process}-{instance}.x",
        lease_s=40.0,
        metrics={"messages_sent_total": 3.0},
    )


def account(home: Path, states: Mapping[str, str], age_s: float = 0.0) -> None:
    """Write the orchestrator's account of slots."""
    slots = {}
    for name, state in states.items():
        kind, _, instance = name.partition("-")
        slot: dict[str, Any] = {
            "kind": kind,
            "instance": int(instance),
            "state": state,
            "pid": 4711,
            "incarnation": f"{kind}-{instance}.x",
            "restarts": 2,
        }
        slots[name] = slot | {
            "started_at": (utc_now() - timedelta(seconds=60)).isoformat(),
            "memory_mb": 55.5,
            "reason": "",
        }
    written = {"at": (utc_now() - timedelta(seconds=age_s)).isoformat(), "state": "running", "slots": slots}
    beside = runtime.status_file(home).with_suffix(".test")
    beside.write_text(json.dumps(written))
    beside.replace(runtime.status_file(home))


def everything(api_env: ApiEnv) -> dict[str, Any]:
    answer = api_env.call("GET", "/health/all")
    shown: dict[str, Any] = answer.json()
    assert answer.status_code == (503 if shown["status"] == "down" else 200), api_env.entry.log.read_text()[-3000:]
    return shown


def statuses(shown: dict[str, Any]) -> dict[str, str]:
    return {f"{one['process']}-{one['instance']}": one["status"] for one in shown["processes"]}


def test_without_an_orchestrator_the_heartbeats_speak_and_what_never_started_is_down(api_env: ApiEnv) -> None:
    api_env.run(processes.write_heartbeat, beat("meta", 0))
    api_env.run(processes.write_heartbeat, beat("meta", 1, status="draining"))
    api_env.run(processes.write_heartbeat, beat("recorder"))
    api_env.sql(
        "UPDATE process_health SET last_heartbeat = now() - interval '45 seconds' WHERE process_name = 'recorder'"
    )
    eventually(lambda: statuses(everything(api_env))["api-0"] == "healthy", 5, "its own heartbeat is there")
    shown = everything(api_env)
    assert statuses(shown) == {
        "api-0": "healthy",
        "api-1": "down",
        "webdriver-0": "down",
        "meta-0": "healthy",
        "meta-1": "degraded",
        "recorder-0": "degraded",
    }
    assert shown["status"] == "degraded"
    assert shown["orchestrator"]["state"] == "missing"
    assert shown["answeredBy"] == "api-0"
    assert shown["database"]["reachable"] is shown["redis"]["reachable"] is True
    down = next(one for one in shown["processes"] if one["process"] == "webdriver")
    assert down["reason"] == "it never wrote a heartbeat"


def test_a_fresh_account_says_which_slots_there_are(api_env: ApiEnv) -> None:
    for one in (
        beat("meta", 0),
        beat("meta", 7),
        beat("meta", 9, host="elsewhere"),
        beat("webdriver", 0, incarnation="webdriver-0.x"),
    ):
        api_env.run(processes.write_heartbeat, one)
    api_env.sql(
        "UPDATE process_health SET last_heartbeat = now() - interval '2 minutes' WHERE process_name = 'webdriver'"
    )
    states = {
        "api-0": "ready",
        "meta-0": "ready",
        "meta-1": "quarantined",
        "webdriver-0": "ready",
        "recorder-0": "backoff",
        "sandbox-0": "stopped",
    }
    account(api_env.entry.home, states)
    shown = everything(api_env)
    assert shown["orchestrator"]["state"] == "running"
    assert statuses(shown) == {
        "api-0": "healthy",
        "webdriver-0": "degraded",
        "meta-0": "healthy",
        "meta-1": "down",
        "meta-9": "healthy",
        "recorder-0": "down",
        "sandbox-0": "stopped",
    }
    webdriver = next(one for one in shown["processes"] if one["process"] == "webdriver")
    assert webdriver["reason"].startswith("no heartbeat for 12")
    assert webdriver["sources"] == ["orchestrator", "heartbeat"]
    assert (webdriver["restarts"], webdriver["memoryMb"], webdriver["errorCount"]) == (2, 55.5, 0)
    assert 59 < webdriver["uptimeSeconds"] < 120


ALL_READY = {"api-0": "ready", "recorder-0": "ready", "meta-0": "ready", "webdriver-0": "ready", "sandbox-0": "stopped"}


@pytest.fixture
def well(api_env: ApiEnv) -> ApiEnv:
    """Everything is ready, and the sessions of the companies are linked."""
    account(api_env.entry.home, ALL_READY)
    api_env.sql(
        "INSERT INTO phone_status (connection_id, process_name, status, account, proved_at, updated_at) SELECT id, "
        "process_name, 'ready', '15550100201', now() + interval '1 hour', now() + interval '1 hour' FROM phone_configs "
        "WHERE process_name = 'webdriver'"
    )
    eventually(lambda: everything(api_env)["status"] == "healthy", 5, lambda: everything(api_env))
    return api_env


def troubles(shown: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["code"]: one for one in shown["troubles"]}


def test_all_well_is_healthy(well: ApiEnv) -> None:
    shown = everything(well)
    assert (shown["canAccept"], shown["canSend"]) == (True, True)
    assert shown["troubles"] == shown["companies"] == []
    answer = well.call("GET", "/api/health", key=None)
    assert answer.status_code == 200
    checks = {"postgresql": "healthy", "redis": "healthy"}
    assert answer.json() == {"status": "healthy", "canAccept": True, "canSend": True, "checks": checks}
    assert well.sql("SELECT slot FROM health_probes") == [{"slot": "api-0"}], "it has written as messages are written"


def queued(api_env: ApiEnv, count: int = 3) -> None:
    for number in range(count):
        assert api_env.send(chat=str(15550100300 + number)).status_code == 202


@pytest.mark.parametrize(
    ("sql", "code", "company", "service"),
    [
        ("UPDATE phone_configs SET status = 'paused', status_reason = 'token_invalid' WHERE company_id = 'alpha' AND "
         "phone_index = 0", "connection_paused", "degraded", "degraded"),
        ("UPDATE phone_status SET status = 'logged_out'", "session_link_lost", "degraded", "degraded"),
        ("UPDATE messages SET state = 'in_doubt', held_at = now(), in_doubt_at = now()", "messages_held", "degraded",
         "degraded"),
        ("UPDATE messages SET state = 'failed'", "dead_letters_few", "healthy", "healthy"),
        ("UPDATE messages SET created_at = now() - interval '10 minutes', not_before = NULL", "queue_stuck", "degraded",
         "degraded"),
        ("INSERT INTO hooks (company_id, url, sealed, xid, event_id, failing_since) VALUES ('alpha', "
         "'https://example.com', 'x', 0, 0, now() - interval '1 hour')", "hook_failing", "degraded", "degraded"),
        ("INSERT INTO conversations (company_id, connection_id, chat_id, state, state_at) SELECT company_id, id, "
         "'15550100200', 'waiting', now() - interval '16 minutes' FROM phone_configs WHERE company_id = 'alpha' AND "
         "phone_index = 0", "customers_waiting", "healthy", "healthy"),
        ("INSERT INTO documents (company_id, sha256, title, mimetype, size, asked_at) VALUES ('alpha', "
         "repeat('a', 64), 'a.pdf', 'application/pdf', 1, now() - interval '16 minutes')", "documents_stuck",
         "degraded", "degraded"),
        ("INSERT INTO documents (company_id, sha256, title, mimetype, size, state, reason_code) VALUES ('alpha', "
         "repeat('a', 64), 'a.pdf', 'application/pdf', 1, 'failed', 'encrypted')", "documents_failed", "healthy",
         "healthy"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_company_is_one_sentence(
    well: ApiEnv, sql: str, code: str, company: str, service: str
) -> None:
    queued(well)
    well.sql(sql)
    shown = everything(well)
    found = troubles(shown)[code]
    assert found["companyId"] == "alpha"
    assert shown["status"] == service
    assert [one["companyId"] for one in shown["companies"]] == ["alpha"]
    own = well.call("GET", "/api/v2/health/alpha").json()
    assert own["status"] == company
    assert code in {one["code"] for one in (*own["troubles"], *(o for c in own["connections"] for o in c["troubles"]))}
    other = well.call("GET", "/api/v2/health/beta").json()
    assert (other["status"], other["troubles"]) == ("healthy", [])
    assert [one["status"] for one in other["connections"]] == ["healthy"]


def test_what_a_process_says_of_itself_is_a_trouble_while_it_has_a_heartbeat(well: ApiEnv) -> None:
    said = {"troubles": {"embedder_failing": {"model": "m", "reason": "timeout"}, "of_a_later_version": {"x": 1}}}
    well.run(processes.write_heartbeat, replace(beat("meta"), detail=said))
    found = troubles(everything(well))
    assert found["embedder_failing"]["sentence"].startswith("meta-0 gets no embeddings of m (timeout)")
    assert (found["embedder_failing"]["process"], found["embedder_failing"]["impact"]) == ("meta-0", "degraded")
    assert "of_a_later_version" not in found
    well.run(processes.write_heartbeat, beat("meta"))
    assert "embedder_failing" not in troubles(everything(well))
    well.run(processes.write_heartbeat, replace(beat("meta"), detail=said))
    well.sql("UPDATE process_heartbeats SET last_heartbeat = now() - interval '5 minutes' WHERE process_name = 'meta'")
    assert "embedder_failing" not in troubles(everything(well))


def test_every_connection_of_a_company_is_listed_in_pages(well: ApiEnv) -> None:
    first = well.call("GET", "/api/v2/health/alpha?limit=3").json()
    rest = well.call("GET", f"/api/v2/health/alpha?limit=3&cursor={first['next']}").json()
    assert [one["phoneIndex"] for one in (*first["connections"], *rest["connections"])] == [0, 1, 2, 3]
    assert rest["next"] is None
    assert problem(well.call("GET", "/api/v2/health/nosuch"))["type"] == "company_unknown"


def test_without_a_sender_the_service_is_down_and_says_so_by_its_status(well: ApiEnv) -> None:
    account(well.entry.home, ALL_READY | {"meta-0": "quarantined", "webdriver-0": "backoff"})
    answer = well.call("GET", "/health/all")
    assert (answer.status_code, answer.json()["canAccept"], answer.json()["canSend"]) == (503, True, False)
    assert answer.json()["troubles"][0]["code"] == "no_sender"
    eventually(lambda: well.call("GET", "/api/health", key=None).status_code == 503, 5, "the open one follows")
    assert well.call("GET", "/api/health", key=None).json()["status"] == "unhealthy"
    # one kind is down, the other sends
    account(well.entry.home, ALL_READY | {"webdriver-0": "misconfigured"})
    for path, expected in (
        ("/health/all", 200),
        ("/health/all?failOn=down", 200),
        ("/health/all?failOn=degraded", 503),
    ):
        assert well.call("GET", path).status_code == expected, path
    assert "process_misconfigured" in troubles(everything(well))


def test_a_monitor_key_sees_health_and_nothing_else(well: ApiEnv) -> None:
    made = {"name": "monitor", "scopes": ["monitor"], "companyId": None}
    key = well.call("POST", "/api/v2/keys", json=made).json()["key"]
    for path, expected in (("/health/all", 200), ("/metrics/meta", 200), ("/api/v2/health/alpha", 200),
                           ("/api/v2/connections/alpha", 403), ("/api/v2/changes", 403)):  # fmt: skip
        assert well.call("GET", path, key=key).status_code == expected, path
    assert well.call("POST", "/api/v2/connections/alpha/0/pause", key=key, json={}).status_code == 403
    own = well.call("POST", "/api/v2/keys", json=made | {"companyId": "alpha"}).json()["key"]
    for path, expected in (("/api/v2/health/alpha", 200), ("/api/v2/health/beta", 404), ("/health/all", 403)):
        assert well.call("GET", path, key=own).status_code == expected, path


def test_a_full_database_is_found_by_writing(well: ApiEnv) -> None:
    """A server that answers every question and refuses what is written takes no messages."""
    well.sql(
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no space' USING errcode = '53100'; "
        "END $$; CREATE TRIGGER fill BEFORE INSERT ON health_probes "
        "FOR EACH ROW EXECUTE FUNCTION fill()"
    )
    try:
        shown = everything(well)
        assert (shown["status"], shown["canAccept"]) == ("down", False)
        assert "no space" in troubles(shown)["database_unavailable"]["sentence"]
    finally:
        well.sql("DROP FUNCTION fill CASCADE")


def test_the_documents_sql_is_answered(well: ApiEnv) -> None:
    for one in (beat("meta", 0), beat("meta", 1, status="unready"), beat("recorder")):
        well.run(processes.write_heartbeat, one)
    healthy = """SELECT process_name, instance FROM process_health
                 WHERE status = 'healthy' AND last_heartbeat > NOW() - INTERVAL '60 seconds' AND process_name <> 'api'
                 ORDER BY process_name, instance"""
    assert [(row["process_name"], row["instance"]) for row in well.sql(healthy)] == [("meta", 0), ("recorder", 0)]
    summary = """SELECT process_name, status, instances, error_count, last_error, uptime_seconds, memory_usage_mb,
                        active_connections FROM process_summary WHERE process_name IN ('meta', 'recorder')
                 ORDER BY process_name"""
    meta, recorder = well.sql(summary)
    assert (meta["status"], meta["instances"], meta["memory_usage_mb"]) == ("degraded", 2, 160.0)
    assert recorder["status"] == "healthy"
    well.sql("UPDATE process_health SET last_heartbeat = now() - interval '61 seconds' WHERE process_name = 'recorder'")
    assert [row["status"] for row in well.sql(summary)] == ["degraded", "down"]
    hour = well.sql(
        "SELECT time, process_name, memory_usage_mb FROM process_health_last_hour WHERE process_name = 'api'"
    )
    assert hour
    assert hour[-1]["memory_usage_mb"] > 20


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"at": "yesterday", "slots": {}}', '{"at": 5, "slots": {}, "state": "running"}']
)
def test_an_account_that_cannot_be_read_is_missing(api_env: ApiEnv, content: str) -> None:
    runtime.status_file(api_env.entry.home).write_text(content)
    assert everything(api_env)["orchestrator"] == {"state": "missing", "at": None, "ageSeconds": None}


def test_an_old_account_is_stale_and_not_believed(api_env: ApiEnv) -> None:
    account(api_env.entry.home, {"meta-0": "ready"}, age_s=60)
    shown = everything(api_env)
    assert shown["orchestrator"]["state"] == "stale"
    assert 59 < shown["orchestrator"]["ageSeconds"] < 70
    assert statuses(shown)["meta-0"] == "down", "it never wrote a heartbeat"


def test_redis_away_is_said_and_refuses_nothing(home: Path, database_url: str) -> None:
    with Entry("redis", home / "r") as server:
        server.start().wait_ready()
        with ApiEnv(
            home / "a", database_url, f"unix://{runtime.redis_socket(home / 'r')}?db=0", redis_timeout_s=2
        ) as api_env:
            api_env.seed().start()
            eventually(lambda: everything(api_env)["redis"]["reachable"], 5, "Redis answers")
            frozen = list(server.descendants())
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            try:
                account(home / "a", ALL_READY)
                answer = api_env.send("no hint for this one")
                assert answer.status_code == 202
                assert answer.elapsed.total_seconds() < patience_s(1.5), "a slow Redis holds nobody up"
                shown = api_env.call("GET", "/health/all")
                assert shown.elapsed.total_seconds() < patience_s(4)
                assert (shown.json()["redis"]["reachable"], shown.json()["status"]) == (False, "degraded")
                assert api_env.call("GET", "/readyz", key=None).status_code == 200
                assert api_env.call("GET", "/health", key=None).json()["redis"]["reachable"] is False
            finally:
                for pid in frozen:
                    os.kill(pid, signal.SIGCONT)
            eventually(lambda: everything(api_env)["redis"]["reachable"], 5, "Redis is found again")
        server.stop()


def test_with_nothing_to_ask_it_says_what_the_orchestrator_says(home: Path) -> None:
    with ApiEnv(home, "postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0") as api_env:
        api_env.start()
        account(home, {"api-0": "ready", "meta-0": "ready", "postgres-0": "backoff"})
        shown = everything(api_env)
        assert shown["status"] == "down"
        assert (shown["database"]["reachable"], shown["redis"]["reachable"]) == (False, False)
        assert statuses(shown) == {"api-0": "healthy", "meta-0": "healthy", "postgres-0": "down"}
        runtime.status_file(home).unlink()
        assert statuses(everything(api_env)) == {"api-0": "healthy", "api-1": "unknown", "recorder-0": "unknown"}


def test_figures_of_a_kind(api_env: ApiEnv) -> None:
    api_env.run(processes.write_heartbeat, beat("meta", 0))
    api_env.run(processes.write_heartbeat, beat("meta", 1))
    shown = api_env.call("GET", "/metrics/meta").json()
    assert [(one["instance"], one["metrics"]) for one in shown["instances"]] == [
        (0, {"messages_sent_total": 3.0}),
        (1, {"messages_sent_total": 3.0}),
    ]
    assert (shown["messagesReceived"], shown["sessionsActive"], shown["avgResponseTime"]) == (None, None, None)
    empty = api_env.call("GET", "/metrics/wwebjs").json()
    assert (empty.pop("process"), empty.pop("instances")) == ("webdriver", []), "the documents' name of the kind"
    assert {*empty.values()} == {None}
