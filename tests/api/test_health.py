"""What is said about every process, with every source that can be missing missing in turn."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.clock import utc_now
from shared.process import runtime
from shared.store import processes
from shared.store.processes import HeartbeatRow
from tests.api.api_env import ApiEnv
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
    kept_api_env.sql("DELETE FROM process_health")
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
    assert answer.status_code == 200
    shown: dict[str, Any] = answer.json()
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


def test_all_well_is_healthy(api_env: ApiEnv) -> None:
    account(api_env.entry.home, {"api-0": "ready", "recorder-0": "ready", "sandbox-0": "stopped"})
    eventually(lambda: everything(api_env)["status"] == "healthy", 5, lambda: everything(api_env))


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
    assert api_env.call("GET", "/metrics/webdriver").json() == {"process": "webdriver", "instances": []}
