"""The listening socket outlives every process that serves it."""

from __future__ import annotations

import signal
import socket
import threading

from shared.process.exit_codes import ExitCode
from shared.process.journal import SupervisionEvent as Happened
from shared.process.supervised import bind_listener
from tests.supervision.house import House

SERVED = {"name": "api", "instances": 2, "instances_most": 10, "port": 3000}


class Clients:
    """Asks a port again and again, and counts what it receives."""

    def __init__(self, house: House, port: int) -> None:
        self.house, self.port = house, port
        self.answers: list[str] = []
        self.refused = 0
        self.broken = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(self.house.get(self.port))
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


def test_crashes_refuse_no_connection(house: House) -> None:
    house.rows(SERVED).start(API_INSTANCES="1").ready("api-0")
    with Clients(house, house.slot("api-0")["port"]) as clients:
        for _ in range(5):
            before, lives = house.last, len(set(clients.answers))
            house.kill("api-0")
            house.wait(Happened.READY, "api-0", after=house.wait(Happened.EXITED, "api-0", after=before).seq)
            house.until(lambda lives=lives: len(set(clients.answers)) > lives, "the next life answers")  # type: ignore[misc]
    assert clients.refused == 0
    assert clients.broken <= 5 * 4


def test_a_rolling_restart_refuses_no_connection_and_keeps_one_ready(house: House) -> None:
    house.rows(SERVED).start().ready("api-0", "api-1")
    old = {house.slot(slot)["incarnation"] for slot in ("api-0", "api-1")}
    with Clients(house, house.slot("api-0")["port"]) as clients:
        restarted = house.command("restart", "api")
    assert restarted.returncode == ExitCode.OK, restarted.stderr + house.tell()
    assert clients.refused == 0 and set(clients.answers[-4:]).isdisjoint(old)
    order = [(entry.event, entry.slot) for entry in house.events() if entry.event in (Happened.EXITED, Happened.READY)]
    assert order[2:] == [
        (Happened.EXITED, "api-0"),
        (Happened.READY, "api-0"),
        (Happened.EXITED, "api-1"),
        (Happened.READY, "api-1"),
    ]


def test_a_taken_port_is_said_before_anything_runs(house: House) -> None:
    house.rows(SERVED, {"name": "meta"})
    with bind_listener("127.0.0.1", int(house.variables["API_PORT"])):
        refused = house.command("run")
    assert refused.returncode == ExitCode.BOOT
    assert f"API_PORT={house.variables['API_PORT']} is taken" in refused.stderr
    assert house.count(Happened.STARTED) == 0


def test_an_address_that_is_not_ours(house: House) -> None:
    house.rows(SERVED).variables["BIND_ADDRESS"] = "192.0.2.1"
    refused = house.command("run")
    assert (
        refused.returncode == ExitCode.BOOT
        and "BIND_ADDRESS=192.0.2.1 is not an address of this machine" in refused.stderr
    )


def test_a_port_that_is_taken_later_follows_the_restart_law(house: House) -> None:
    """The kind was not needed at start; when it is, its port is gone. The other kinds run, and it is tried again."""
    house.rows(
        {"name": "recorder", "entry": "recorder", "reads_journal": True},
        {"name": "meta", "needed": "connections", "port": 3002},
    ).start()
    house.ready("recorder-0")
    with bind_listener("127.0.0.1", int(house.variables["META_PORT"])):
        (house.home / "desired-by-fixture").write_text("meta")
        failed = house.wait(Happened.START_FAILED, "meta-0")
        assert "META_PORT" in failed.details["error"]
    house.ready("meta-0")


def test_the_port_of_a_kind_that_is_not_needed_refuses(house: House) -> None:
    house.rows({"name": "recorder", "entry": "recorder"}, {"name": "meta", "needed": "connections", "port": 3002})
    (house.home / "desired-by-fixture").write_text("meta")
    house.start().ready("meta-0")
    port = int(house.variables["META_PORT"])
    assert house.get(port).startswith("meta-0.")
    (house.home / "desired-by-fixture").write_text("")
    house.wait(Happened.DRAINED, "meta-0", purpose="not needed any more")
    house.until(lambda: house.slot("meta-0")["state"] == "stopped", "stopped")
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        pass
    else:
        raise AssertionError("somebody still listens for nobody")
    (house.home / "desired-by-fixture").write_text("meta")
    house.ready("meta-0")
    assert house.get(port).startswith("meta-0.")


def test_a_stopped_worker_takes_no_connection_with_it(house: House) -> None:
    """SIGSTOP of one of two: the other goes on answering all."""
    house.rows(SERVED | {"watchdog_s": 30.0}).start().ready("api-0", "api-1")
    house.kill("api-0", signal.SIGSTOP)
    answers = {house.get(house.slot("api-1")["port"]) for _ in range(20)}
    assert answers == {house.slot("api-1")["incarnation"]}
