"""The listening socket outlives every process that serves it."""

from __future__ import annotations

import signal
import socket
import threading

from shared.process.exit_codes import ExitCode
from shared.process.journal import SupervisionEvent as Happened
from shared.process.supervised import bind_listener
from tests.supervision.env import SupervisionEnv

SERVED = {"name": "api", "instances": 2, "instances_most": 10, "port": 3000}


class Clients:
    """Asks a port again and again, and counts what it receives."""

    def __init__(self, env: SupervisionEnv, port: int) -> None:
        self.env, self.port = env, port
        self.answers: list[str] = []
        self.refused = 0
        self.broken = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(self.env.get(self.port))
            except ConnectionRefusedError:
                self.refused += 1
            except (OSError, IndexError):
                self.broken += 1  # died with the process that had accepted it

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_crashes_refuse_no_connection(env: SupervisionEnv) -> None:
    env.rows(SERVED).start(API_INSTANCES="1").ready("api-0")
    with Clients(env, env.slot("api-0")["port"]) as clients:
        for _ in range(5):
            before, lives = env.last, len(set(clients.answers))
            env.kill("api-0")
            env.wait(Happened.READY, "api-0", after=env.wait(Happened.EXITED, "api-0", after=before).seq)
            env.until(lambda lives=lives: len(set(clients.answers)) > lives, "the next life answers")  # type: ignore[misc]
    assert clients.refused == 0
    assert clients.broken <= 5 * 4


def test_a_rolling_restart_refuses_no_connection_and_keeps_one_ready(env: SupervisionEnv) -> None:
    env.rows(SERVED).start().ready("api-0", "api-1")
    old = {env.slot(slot)["incarnation"] for slot in ("api-0", "api-1")}
    with Clients(env, env.slot("api-0")["port"]) as clients:
        restarted = env.command("restart", "api")
    assert restarted.returncode == ExitCode.OK, restarted.stderr + env.describe()
    assert clients.refused == 0 and set(clients.answers[-4:]).isdisjoint(old)
    order = [(entry.event, entry.slot) for entry in env.events() if entry.event in (Happened.EXITED, Happened.READY)]
    assert order[2:] == [
        (Happened.EXITED, "api-0"),
        (Happened.READY, "api-0"),
        (Happened.EXITED, "api-1"),
        (Happened.READY, "api-1"),
    ]


def test_a_taken_port_is_said_before_anything_runs(env: SupervisionEnv) -> None:
    env.rows(SERVED, {"name": "meta"})
    with bind_listener("127.0.0.1", int(env.variables["API_PORT"])):
        refused = env.command("run")
    assert refused.returncode == ExitCode.BOOT
    assert f"API_PORT={env.variables['API_PORT']} is taken" in refused.stderr
    assert env.count(Happened.STARTED) == 0


def test_an_address_that_is_not_ours(env: SupervisionEnv) -> None:
    env.rows(SERVED).variables["BIND_ADDRESS"] = "192.0.2.1"
    refused = env.command("run")
    assert (
        refused.returncode == ExitCode.BOOT
        and "BIND_ADDRESS=192.0.2.1 is not an address of this machine" in refused.stderr
    )


def test_a_port_that_is_taken_later_follows_the_restart_policy(env: SupervisionEnv) -> None:
    """The kind was not needed at start; when it is, its port is gone. The other kinds run, and it is tried again."""
    env.rows(
        {"name": "recorder", "entry": "recorder", "reads_journal": True},
        {"name": "meta", "needed": "connections", "port": 3002},
    ).start()
    env.ready("recorder-0")
    with bind_listener("127.0.0.1", int(env.variables["META_PORT"])):
        (env.home / "desired-by-fixture").write_text("meta")
        failed = env.wait(Happened.START_FAILED, "meta-0")
        assert "META_PORT" in failed.details["error"]
    env.ready("meta-0")


def test_the_port_of_a_kind_that_is_not_needed_refuses(env: SupervisionEnv) -> None:
    env.rows({"name": "recorder", "entry": "recorder"}, {"name": "meta", "needed": "connections", "port": 3002})
    (env.home / "desired-by-fixture").write_text("meta")
    env.start().ready("meta-0")
    port = int(env.variables["META_PORT"])
    assert env.get(port).startswith("meta-0.")
    (env.home / "desired-by-fixture").write_text("")
    env.wait(Happened.DRAINED, "meta-0", purpose="not needed any more")
    env.until(lambda: env.slot("meta-0")["state"] == "stopped", "stopped")
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        pass
    else:
        raise AssertionError("somebody still listens for nobody")
    (env.home / "desired-by-fixture").write_text("meta")
    env.ready("meta-0")
    assert env.get(port).startswith("meta-0.")


def test_a_stopped_worker_takes_no_connection_with_it(env: SupervisionEnv) -> None:
    """SIGSTOP of one of two: the other goes on answering all."""
    env.rows(SERVED | {"watchdog_s": 30.0}).start().ready("api-0", "api-1")
    env.kill("api-0", signal.SIGSTOP)
    answers = {env.get(env.slot("api-1")["port"]) for _ in range(20)}
    assert answers == {env.slot("api-1")["incarnation"]}
