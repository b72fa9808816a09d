"""A child's life in a real process: start, readiness, liveness, crash, drain and exit, each with the exit code that the
orchestrator acts on."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.clock import monotonic
from shared.process import runtime
from shared.process.exit_codes import ExitCode
from shared.process.slot_lock import SlotLock, read_holder
from shared.store import migrate
from tests.store.env import away
from tests.support import ports
from tests.support.database import query
from tests.support.entry import Entry
from tests.support.servers import Servers
from tests.support.waiting import deadline_s, eventually, joined

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
ANSWER_S = 10.0


class ChildEnv:
    """One child under test."""

    def __init__(self, home: Path, kind: str, variables: dict[str, Any]) -> None:
        first = ports.free_port_block(104)
        self.kind, self.public, self.admin = kind, first + 100, first
        own: dict[str, Any] = {
            "test_kind": kind,
            "admin_port": first,
            "process_admin_port": first,
            "meta_port": first + 100,
            # the registry's twenty seconds are too long for a test
            "meta_drain_s": 10,
            "redis_url": "redis://127.0.0.1:1/0",
        }
        defaults: dict[str, Any] = {
            "database_url": NOWHERE,
            "heartbeat_s": 0.1,
            "database_connect_s": 1.0,
            "database_query_s": 1.0,
        }
        self.entry = Entry(kind, home, module="tests.process.accidents", **(own | defaults | variables))
        self._client = requests.Session()
        self._client.trust_env = False

    def start(self) -> ChildEnv:
        """Start it and wait for READY."""
        self.entry.start().wait_ready()
        return self

    def get(self, path: str, *, public: bool = False) -> requests.Response:
        """Ask it."""
        return self._client.get(f"http://127.0.0.1:{self.public if public else self.admin}{path}", timeout=ANSWER_S)

    def do(self, what: str) -> None:
        """Let its room do something."""
        assert self.get(f"/do/{what}", public=True).text == what

    def log(self) -> str:
        """Return everything it wrote."""
        return self.entry.log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return its log lines of one event."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def wait_for(self, text: str) -> None:
        """Wait until it has written something."""
        eventually(lambda: text in self.log(), 15, lambda: f"{text}\n{self.log()}")

    def term(self) -> None:
        """Send SIGTERM."""
        self.entry.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End it."""
        self._client.close()
        self.entry.close()


def refuses(port: int) -> bool:
    """Whether nothing listens on a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def env(home: Path) -> Iterator[Callable[..., ChildEnv]]:
    """Function that returns a child, not started."""
    made: list[ChildEnv] = []

    def build(kind: str = "meta", **variables: Any) -> ChildEnv:
        made.append(ChildEnv(home, kind, variables))
        return made[-1]

    yield build
    for one in made:
        one.close()


class TestStart:
    @pytest.mark.parametrize(
        ("room", "code", "event", "closed"),
        [
            ("open-invalid", ExitCode.CONFIGURATION, "setting_invalid", 0),
            ("open-raises", ExitCode.BOOT, "boot_failed", 0),
            ("start-raises", ExitCode.BOOT, "boot_failed", 1),
        ],
    )
    def test_what_stops_it_has_its_own_exit_code(
        self, env: Callable[..., ChildEnv], room: str, code: ExitCode, event: str, closed: int
    ) -> None:
        child = env(room=room)
        child.entry.start()
        assert child.entry.wait_exit() == code
        assert len(child.events(event)) == 1
        assert child.log().count("said: closed") == closed
        assert "170 1234567" not in child.log(), "the reason may not tell a phone number"
        holder = read_holder(runtime.slot_lock_file(child.entry.home, "meta-0"))
        assert holder is not None
        assert (holder.exit_code, bool(holder.exit_reason)) == (code, True)

    def test_a_wrong_environment_is_a_configuration_error(self, env: Callable[..., ChildEnv]) -> None:
        child = env(meta_in_flight="many", send_attempts="0")
        child.entry.start()
        assert child.entry.process.wait(deadline_s(20)) == ExitCode.CONFIGURATION
        problems = [line["problem"] for line in child.events("setting_invalid")]
        assert len(problems) == 2
        assert any("META_IN_FLIGHT" in problem for problem in problems)

    def test_the_wrong_entry_file_is_a_configuration_error(self, env: Callable[..., ChildEnv]) -> None:
        child = env(process_name="api")
        child.entry.start()
        assert child.entry.process.wait(deadline_s(20)) == ExitCode.CONFIGURATION

    def test_a_taken_admin_port_can_be_cured_by_waiting(self, env: Callable[..., ChildEnv]) -> None:
        child = env()
        with socket.create_server(("127.0.0.1", child.admin)):
            child.entry.start()
            assert child.entry.wait_exit() == ExitCode.BOOT
        assert "Address already in use" in child.events("boot_failed")[0]["reason"]
        child.start()
        assert child.entry.stop() == ExitCode.OK

    def test_a_taken_slot_is_left_alone(self, env: Callable[..., ChildEnv]) -> None:
        child = env()
        lock = SlotLock.take(runtime.slot_lock_file(child.entry.home, "meta-0"))
        child.entry.start()
        assert child.entry.process.wait(deadline_s(20)) == ExitCode.SLOT_TAKEN
        lock.close()

    def test_stopped_before_it_is_ready(self, env: Callable[..., ChildEnv]) -> None:
        child = env(room="start-hangs")
        child.entry.start()
        child.wait_for("said: starting")
        child.term()
        assert child.entry.wait_exit() == ExitCode.OK
        assert child.log().count("said: closed") == 1

    def test_without_a_database_it_is_alive_and_unready_but_does_not_die(self, env: Callable[..., ChildEnv]) -> None:
        child = env().start()
        child.entry.wait_said("X_READY", "0")
        assert child.get("/livez").status_code == 200
        assert child.get("/readyz").status_code == 503
        assert list(child.get("/readyz").json()["missing"]) == ["database"]
        said = [one["STATUS"] for one in child.entry.notifications if one.get("X_READY") == "0" and "STATUS" in one]
        assert said[-1].startswith("database: PostgreSQL"), "the reason stands where `bulkhead status` shows it"
        health = child.get("/health").json()
        assert (health["status"], health["state"], health["database"]["reachable"], health["fact"]) == (
            "down",
            "unready",
            False,
            7,
        )
        assert child.get("/health").status_code == 503
        assert "bulkhead_process_uptime_seconds" in child.get("/metrics").text
        child.entry.forget()
        child.entry.wait_said("WATCHDOG", "1")
        assert child.entry.stop() == ExitCode.OK

    def test_a_database_without_a_schema_is_one_that_is_not_there_yet(
        self, env: Callable[..., ChildEnv], empty_database_url: str
    ) -> None:
        child = env(database_url=empty_database_url).start()
        child.entry.wait_said("X_READY", "0")
        assert "schema" in child.get("/readyz").json()["missing"]["database"]
        child.entry.forget()
        migrate.apply(empty_database_url)
        child.entry.wait_said("STATUS", "ready")
        eventually(
            lambda: query(empty_database_url, "SELECT instance FROM process_health"), 10, "its heartbeat is written"
        )
        assert child.entry.stop() == ExitCode.OK


class TestDoors:
    def test_its_own_paths_come_first_and_the_rest_is_the_rooms(self, env: Callable[..., ChildEnv]) -> None:
        child = env().start()
        for public in (True, False):
            assert child.get("/livez", public=public).json() == {"live": True, "stalled": []}
            assert child.get("/health", public=public).json()["process"] == "meta"
            assert child.get("/metrics", public=public).headers["content-type"].startswith("text/plain")
        assert child.get("/livez/mine", public=True).text == "the room's"
        assert child.get("/do/nothing").status_code == 404, "the admin port is the process's own"

    def test_a_kind_without_a_public_port_has_only_its_own(self, env: Callable[..., ChildEnv]) -> None:
        child = env("recorder").start()
        assert child.get("/livez").status_code == 200
        with pytest.raises(requests.ConnectionError):
            child.get("/livez", public=True)
        assert child.entry.stop() == ExitCode.OK

    def test_notifications_and_commands(self, env: Callable[..., ChildEnv]) -> None:
        child = env().start()
        child.entry.ask("notify")
        child.wait_for("said: notified")

    def test_a_removed_log_is_opened_again_without_a_line(self, env: Callable[..., ChildEnv]) -> None:
        child = env().start()
        log = child.entry.log
        for replacement in ("", "another file\n"):
            log.unlink()
            if replacement:
                log.write_text(replacement)
            else:
                eventually(log.exists, 15, "the file is made again")
            # what is written past the logging module, as the traceback of a hang
            eventually(lambda: self._dumped(child), 15, log.read_text)
        assert child.entry.stop() == ExitCode.OK

    @staticmethod
    def _dumped(child: ChildEnv) -> bool:
        child.entry.process.send_signal(signal.SIGUSR1)
        return "most recent call first" in child.log()

    def test_commands_reach_it_after_the_file_of_its_socket_was_removed(self, env: Callable[..., ChildEnv]) -> None:
        child = env().start()
        file = runtime.slot_socket(child.entry.home, f"{child.kind}-0")
        file.unlink()
        child.wait_for("socket_bound_again")
        child.entry.ask("notify")
        child.wait_for("said: notified")
        child.entry.ask("drain")
        assert child.entry.wait_exit() == ExitCode.OK


class TestReadiness:
    def test_it_follows_the_database(self, env: Callable[..., ChildEnv], database_url: str, servers: Servers) -> None:
        child = env(database_url=database_url).start()
        child.entry.wait_said("STATUS", "ready")
        assert child.get("/readyz").status_code == 200
        assert child.get("/health").json()["status"] == "healthy"
        for _ in range(2):
            with away(servers.database_server_url, database_url):
                child.entry.forget()
                child.entry.wait_said("X_READY", "0")
                assert child.get("/readyz").status_code == 503
                assert child.get("/livez").status_code == 200, "never a reason to be killed"
                assert child.get("/health").json()["database"]["reachable"] is False
            child.entry.forget()
            child.entry.wait_said("READY", "1")
            assert child.get("/readyz").status_code == 200
        assert child.entry.stop() == ExitCode.OK

    def test_what_the_room_lacks_is_named(self, env: Callable[..., ChildEnv], database_url: str) -> None:
        child = env(database_url=database_url).start()
        child.entry.wait_said("STATUS", "ready")
        child.do("lack")
        child.entry.wait_said("X_READY", "0")
        assert child.get("/readyz").json() == {"ready": False, "missing": {"glue": "none left"}}


class TestLiveness:
    def test_a_stalled_loop_is_no_life(self, env: Callable[..., ChildEnv]) -> None:
        child = env().start()
        child.do("stall")
        eventually(lambda: child.get("/livez").status_code == 503, 10)
        assert child.get("/livez").json() == {"live": False, "stalled": ["mill"]}
        assert child.get("/health").json()["status"] == "down"
        child.entry.forget()
        child.wait_for("work_loop_stalled")
        said = child.entry.listen()
        assert not any("WATCHDOG" in fields for fields in said[1:]), "at most one was on its way"
        child.do("unstall")
        child.entry.forget()
        child.entry.wait_said("WATCHDOG", "1")
        assert child.get("/livez").status_code == 200
        assert child.entry.stop() == ExitCode.OK

    def test_a_blocked_event_loop_says_nothing(self, env: Callable[..., ChildEnv]) -> None:
        child = env().start()
        thread = threading.Thread(target=child.do, args=["block-loop"])
        child.entry.wait_said("WATCHDOG", "1")
        thread.start()
        child.entry.forget()
        silent_from = monotonic()
        child.entry.wait_said("WATCHDOG", "1")
        # one may have been on its way when the loop was blocked
        if monotonic() - silent_from < 1.0:
            child.entry.forget()
            child.entry.wait_said("WATCHDOG", "1")
        assert monotonic() - silent_from > 1.0
        joined(thread, 10)
        assert child.entry.stop() == ExitCode.OK


class TestCrash:
    @pytest.mark.parametrize("where", ["task", "callback", "thread", "forgotten"])
    def test_an_error_that_the_kind_knows_is_survived_and_counted(
        self, env: Callable[..., ChildEnv], database_url: str, where: str
    ) -> None:
        child = env(database_url=database_url).start()
        child.do(f"crash-{where}-tame")
        child.wait_for("error_survived")
        eventually(lambda: child.get("/health").json()["errorCount"] == 1, 5)
        rows = "SELECT error_count, last_error FROM process_health"
        eventually(lambda: query(database_url, rows) == [{"error_count": 1, "last_error": "Survivable"}], 10)
        assert child.entry.stop() == ExitCode.OK

    @pytest.mark.parametrize("where", ["task", "callback", "thread", "forgotten"])
    def test_any_other_is_the_end(self, env: Callable[..., ChildEnv], where: str) -> None:
        child = env().start()
        child.do(f"crash-{where}-wild")
        assert child.entry.wait_exit() == ExitCode.CRASH
        (crash,) = child.events("crashed")
        assert crash["error"] == "LookupError"
        assert "wild" in crash["traceback"]
        assert "said: closed" not in child.log(), "nothing more runs in an undefined state"
        holder = read_holder(runtime.slot_lock_file(child.entry.home, "meta-0"))
        assert holder is not None
        assert (holder.exit_code, "LookupError" in (holder.exit_reason or "")) == (ExitCode.CRASH, True)

    def test_a_stack_dump_does_not_end_it(self, env: Callable[..., ChildEnv]) -> None:
        child = env().start()
        child.entry.process.send_signal(signal.SIGUSR1)
        child.wait_for("most recent call first")
        assert child.get("/livez").status_code == 200
        assert child.entry.stop() == ExitCode.OK


class TestHeartbeat:
    def test_the_row_names_the_incarnation_and_errors_add_up_over_lives(
        self, env: Callable[..., ChildEnv], database_url: str
    ) -> None:
        child = env(database_url=database_url, process_incarnation="meta-0.first").start()
        child.do("crash-task-tame")
        child.do("crash-task-tame")
        row = "SELECT * FROM process_status"
        eventually(lambda: [one["error_count"] for one in query(database_url, row)] == [2], 10)
        (first,) = query(database_url, row)
        assert (first["process_name"], first["instance"], first["incarnation"]) == ("meta", 0, "meta-0.first")
        assert (first["status"], first["pid"]) == ("healthy", child.entry.process.pid)
        assert first["memory_usage_mb"] > 5
        eventually(lambda: query(database_url, row)[0]["reported"] == "ready", 10)
        assert child.entry.stop() == ExitCode.OK

        child.start()
        child.do("crash-task-tame")
        eventually(lambda: query(database_url, row)[0]["error_count"] == 3, 10)
        assert query(database_url, row)[0]["uptime_seconds"] < first["uptime_seconds"] + 5
        figures = query(database_url, "SELECT metrics FROM process_metrics ORDER BY at DESC LIMIT 1")[0]["metrics"]
        assert figures["process_errors_total"] == 1
        assert child.entry.stop() == ExitCode.OK

    def test_errors_counted_while_the_database_was_away_are_written_later(
        self, env: Callable[..., ChildEnv], database_url: str, servers: Servers
    ) -> None:
        child = env(database_url=database_url).start()
        eventually(lambda: query(database_url, "SELECT pid FROM process_health"), 10)
        with away(servers.database_server_url, database_url):
            child.do("crash-task-tame")
            child.wait_for("heartbeat_not_written")
        eventually(lambda: query(database_url, "SELECT error_count FROM process_health") == [{"error_count": 1}], 10)
        assert len(child.events("heartbeat_not_written")) == 1, "said once"
        assert child.entry.stop() == ExitCode.OK


class TestStop:
    def test_while_it_drains_it_says_so_and_takes_nothing_new(self, env: Callable[..., ChildEnv]) -> None:
        child = env().start()

        def ask() -> None:
            with suppress(requests.ConnectionError):
                child.get("/do/slow", public=True)

        slow = threading.Thread(target=ask)
        slow.start()
        child.wait_for("said: slow")
        child.term()
        child.entry.wait_said("STOPPING", "1")
        assert child.get("/readyz").json()["missing"] == {"process": "draining"}
        assert child.get("/livez").status_code == 200
        # we bound the port ourselves: no process is left waiting in its queue
        eventually(lambda: refuses(child.public), 5, "the public port is closed")
        child.wait_for("said: draining")
        assert child.entry.process.poll() is None, "a request is still under way"
        child.term()
        assert child.entry.wait_exit() == ExitCode.DRAIN_DEADLINE
        joined(slow, 10)

    def test_a_request_under_way_is_answered(self, env: Callable[..., ChildEnv]) -> None:
        child = env().start()
        answers: list[str] = []
        keep = requests.Session()
        keep.trust_env = False
        # a second connection, open before the drain, lets the slow request go
        assert keep.get(f"http://127.0.0.1:{child.public}/do/nothing", timeout=ANSWER_S).ok
        slow = threading.Thread(target=lambda: answers.append(child.get("/do/slow", public=True).text))
        slow.start()
        child.wait_for("said: slow")
        releasing = threading.Thread(
            target=lambda: keep.get(f"http://127.0.0.1:{child.public}/do/release", timeout=ANSWER_S)
        )
        releasing.start()
        child.term()
        assert child.entry.wait_exit() == ExitCode.OK
        joined(slow, 10)
        joined(releasing, 10)
        keep.close()
        assert answers == ["slow"]
        assert child.log().count("said: draining") == child.log().count("said: closed") == 1

    def test_a_second_one_means_now(self, env: Callable[..., ChildEnv]) -> None:
        child = env(room="drain-hangs").start()
        child.term()
        child.wait_for("said: draining")
        started = monotonic()
        child.term()
        assert child.entry.wait_exit() == ExitCode.DRAIN_DEADLINE
        assert monotonic() - started < deadline_s(3.0)
        assert child.events("drain_incomplete")[0]["reason"] == "stopped at once on request"

    def test_the_deadline_ends_a_drain(self, env: Callable[..., ChildEnv]) -> None:
        child = env(room="drain-hangs", meta_drain_s=0.5).start()
        child.term()
        assert child.entry.wait_exit() == ExitCode.DRAIN_DEADLINE
        assert child.events("drain_incomplete")[0]["reason"] == "drain deadline passed"

    def test_what_is_left_is_said(self, env: Callable[..., ChildEnv]) -> None:
        child = env(room="drain-leaves-something").start()
        assert child.entry.stop() == ExitCode.DRAIN_DEADLINE

    def test_a_drain_that_breaks_is_a_crash_with_a_name(self, env: Callable[..., ChildEnv]) -> None:
        child = env(room="drain-raises").start()
        assert child.entry.stop() == ExitCode.CRASH
        assert child.events("crashed")[0]["where"] == "drain"

    @pytest.mark.parametrize("room", ["close-raises", "close-hangs"])
    def test_a_close_that_breaks_does_not_change_how_it_ended(self, env: Callable[..., ChildEnv], room: str) -> None:
        child = env(room=room).start()
        assert child.entry.stop() == ExitCode.OK
        assert len(child.events("close_failed")) == 1
        assert "Traceback" not in "".join(
            line for line in child.log().splitlines(keepends=True) if not line.startswith("{")
        )

    def test_a_frozen_database_delays_no_other_work(self, env: Callable[..., ChildEnv]) -> None:
        """Threads that wait for it must not keep the process after it has said its last word."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
            child = env(database_url=url, database_connect_s=20.0, database_query_s=20.0).start()
            eventually(
                lambda: child.get("/health").json()["database"]["inUse"] > 0, 10, "a thread waits for the database"
            )
            started = monotonic()
            assert child.entry.stop() == ExitCode.OK
            assert monotonic() - started < deadline_s(5.0)
