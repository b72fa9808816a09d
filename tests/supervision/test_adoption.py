"""The orchestrator's own death interrupts nothing: the next one adopts every child, its socket and its silence, and
doubles nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from datetime import datetime
from functools import partial

from shared.process import runtime
from shared.process.exit_codes import ExitCode
from shared.process.journal import SupervisionEvent as Happened
from shared.process.slot_lock import Holder, SlotLock, boot_id, read_holder
from tests.supervision.house import SOON_S, House
from tests.support import environment, processes
from tests.support.waiting import eventually

SERVED = {"name": "api", "instances": 2, "instances_most": 10, "port": 3000}
SLOTS = ("api-0", "api-1", "meta-0")
OF_ORCHESTRATOR = {"spawn.started": 2, "death.proved": 1, "spawn.begun": 3}
"""The orchestrator's own crash points, and at which visit of a life each goes off."""


def _replaced_or_over(house: House, pid: int) -> bool:
    return house.orchestrator.poll() is not None or house.slot("meta-0").get("pid") not in (pid, None)


def test_killed_orchestrator_children_live_and_are_adopted_within_a_second(house: House) -> None:
    house.rows(SERVED, {"name": "meta"}).start().ready(*SLOTS)
    pids = {slot: house.pid(slot) for slot in SLOTS}
    port = house.slot("api-0")["port"]
    house.kill_orchestrator()
    assert house.get(port).startswith("api-")  # served by children alone
    before = house.last
    house.start()
    house.until(lambda: house.count(Happened.ADOPTED) == 3, "three adopted")
    told = [datetime.fromisoformat(entry.at) for entry in house.events() if entry.seq > before]
    assert (told[-1] - told[0]).total_seconds() < 1.0, house.tell()
    house.ready(*SLOTS, after=before)
    assert {slot: house.pid(slot) for slot in SLOTS} == pids
    assert all(house.slot(slot)["adopted"] and house.slot(slot)["restarts"] == 0 for slot in SLOTS)


def test_an_adopted_child_is_watched_like_any_other(house: House) -> None:
    """Not our child any more: its death is seen by pidfd, its reason read from its last words, its silence noticed."""
    house.rows({"name": "api", "watchdog_s": 0.5}, {"name": "meta"}).start().ready("api-0", "meta-0")
    house.kill_orchestrator()
    house.start().ready("api-0", "meta-0")
    house.kill("meta-0")
    exited = house.wait(Happened.EXITED, "meta-0")
    # no process can know, and nothing is made up
    assert (exited.details["code"], exited.details["signal"]) == (None, None)
    house.wait(Happened.READY, "meta-0", after=exited.seq)
    house.kill("api-0", signal.SIGSTOP)
    house.wait(Happened.HUNG, "api-0")
    house.wait(Happened.READY, "api-0", after=house.wait(Happened.EXITED, "api-0").seq)


def test_an_adopted_childs_last_words_tell_its_exit_code(house: House) -> None:
    house.rows({"name": "bad", "entry": "dies_later"}).start(FIXTURE_LIFE_S="1000").ready("bad-0")
    house.kill_orchestrator()
    house.start().ready("bad-0")
    house.kill("bad-0", signal.SIGTERM)
    assert house.wait(Happened.EXITED, "bad-0").details["code"] == 0


def test_the_same_listening_socket_serves_later_children(house: House) -> None:
    """Adopted, asked for its socket, then killed: its successor answers on the same queue, and no connection was
    refused."""
    house.rows(SERVED).start(API_INSTANCES="1").ready("api-0")
    port, old = house.slot("api-0")["port"], house.slot("api-0")["incarnation"]
    house.kill_orchestrator()
    house.start().ready("api-0")
    house.kill(
        "api-0", signal.SIGSTOP
    )  # the last child cannot accept; connections wait in the queue that the orchestrator holds, too
    with socket.create_connection(("127.0.0.1", port), timeout=20) as waiting:
        waiting.sendall(b"GET / HTTP/1.1\r\n\r\n")
        house.kill("api-0")
        answer = waiting.makefile("rb").read().decode()
    assert "200 OK" in answer and old not in answer
    assert house.count(Happened.START_FAILED) == 0


def test_an_orchestrator_that_dies_between_two_of_its_steps(house: House) -> None:
    """Wherever it dies, the next one finds every process, starts none twice and leaves none out."""
    points = ",".join(f"orchestrator:{name}=kill@{visit}" for name, visit in OF_ORCHESTRATOR.items())
    house.rows({"name": "api"}, {"name": "meta"}).start(CHAOS="on", CRASH_POINTS=points)

    def dies() -> None:
        assert house.orchestrator.wait(SOON_S) == -signal.SIGKILL
        house.start().until(
            lambda: house.slot("api-0").get("state") == "ready" == house.slot("meta-0").get("state"),
            "both are supervised",
        )

    # spawn.started: both processes live, and the lock of the second one does not name it
    dies()
    assert house.count(Happened.ADOPTED) == 2 and house.count(Happened.EXITED) == 0
    # death.proved
    first = house.kill("meta-0")
    dies()
    assert house.pid("meta-0") != first
    # spawn.begun: for the third time in this life, which has started one by now
    for _ in range(2):
        pid = house.kill("meta-0")
        eventually(partial(_replaced_or_over, house, pid), SOON_S, house.tell)
    dies()
    assert sorted(house.alive()) == sorted((house.pid("api-0"), house.pid("meta-0"))), "one process a slot"
    assert house.stop() == ExitCode.OK


def test_two_orchestrators_at_once(house: House) -> None:
    house.rows({"name": "api"}).start().ready("api-0")
    pid = house.pid("api-0")
    second = house.command("run")
    assert second.returncode == ExitCode.SLOT_TAKEN
    assert f"process {house.orchestrator.pid}" in second.stderr and str(house.home) in second.stderr
    assert house.pid("api-0") == pid and house.status()["pid"] == house.orchestrator.pid


def test_an_orchestrator_that_dies_again_and_again_restarts_nobody(house: House) -> None:
    house.rows(SERVED, {"name": "meta"}).start().ready(*SLOTS)
    pids = {slot: house.pid(slot) for slot in SLOTS}
    for round_ in range(1, 6):
        house.kill_orchestrator()
        house.start()
        house.until(lambda round_=round_: house.count(Happened.ADOPTED) == 3 * round_, "adopted")  # type: ignore[misc]
        assert {slot: house.pid(slot) for slot in SLOTS} == pids
    assert house.count(Happened.STARTED) == 3 and house.count(Happened.EXITED) == 0
    assert house.ready(*SLOTS).stop() == ExitCode.OK


def test_what_died_without_an_orchestrator_is_proved_dead_and_started_anew(house: House) -> None:
    house.rows({"name": "api"}, {"name": "meta"}).start().ready("api-0", "meta-0")
    dead, living = house.slot("api-0")["incarnation"], house.pid("meta-0")
    house.kill_orchestrator()
    processes.end([house.kill("api-0")])
    house.start().ready("api-0", "meta-0")
    frees = [entry.incarnation for entry in house.events() if entry.event is Happened.SLOT_FREE]
    assert frees == [dead]
    assert house.pid("meta-0") == living


def test_killed_between_fork_and_writing_the_pid_the_child_is_still_found(house: House) -> None:
    """The record says pid 0: the process is found by the incarnation in its environment."""
    house.rows({"name": "api"}).start().ready("api-0")
    house.kill_orchestrator()
    path = runtime.slot_lock_file(house.home, "api-0")
    holder = read_holder(path)
    assert holder is not None
    born = Holder(pid=0, started=0, boot_id=boot_id(), incarnation=holder.incarnation)
    with path.open("r+b", buffering=0) as file:
        lock = SlotLock(file.fileno(), path)
        lock.write(born)
    house.start().ready("api-0")
    adopted = house.happened(Happened.ADOPTED, "api-0")
    assert adopted is not None and adopted.details["pid"] == holder.pid


def test_kinds_that_were_told_something_else_are_replaced_after_adoption(house: House) -> None:
    """A new orchestrator with other settings: those who know the old ones are replaced, one at a time, the others
    stay."""
    house.rows(SERVED, {"name": "meta", "pool_size": 20}).start().ready(*SLOTS)
    pids = {slot: house.pid(slot) for slot in SLOTS}
    house.kill_orchestrator()
    house.start(DATABASE_POOL_META_MAX="7")
    house.wait(Happened.DRAINED, "meta-0", purpose="settings changed")
    house.ready(*SLOTS)
    assert house.pid("meta-0") != pids["meta-0"]
    assert {slot: house.pid(slot) for slot in ("api-0", "api-1")} == {slot: pids[slot] for slot in ("api-0", "api-1")}


def test_another_port_after_adoption(house: House) -> None:
    house.rows(SERVED).start(API_INSTANCES="1").ready("api-0")
    # the sandbox's, which no process uses here
    old, other = house.slot("api-0")["port"], house.slot("api-0")["port"] + 3
    house.kill_orchestrator()
    house.start(API_PORT=str(other), SANDBOX_PORT=str(old))
    house.wait(Happened.READY, "api-0", after=house.wait(Happened.DRAINED, "api-0").seq)
    assert house.get(other).startswith("api-0.")


def test_fewer_instances_after_adoption(house: House) -> None:
    house.rows(SERVED).start().ready("api-0", "api-1")
    house.kill_orchestrator()
    house.start(API_INSTANCES="1").ready("api-0")
    house.wait(Happened.DRAINED, "api-1")
    house.until(lambda: "api-1" not in house.status()["slots"], "api-1 is forgotten")


def test_a_child_started_by_hand_is_adopted_too(house: House) -> None:
    house.rows({"name": "api"}, {"name": "meta"})
    by_hand = subprocess.Popen(
        [sys.executable, str(environment.REPOSITORY / "tests/supervision/children/good.py")],
        env=environment.clean(**house.variables, process_name="api", notify_socket=runtime.notify_socket(house.home)),
        stdout=subprocess.DEVNULL,
    )
    eventually(lambda: runtime.slot_socket(house.home, "api-0").exists(), 10, "it took the slot")
    house.start().ready("api-0", "meta-0")
    assert house.pid("api-0") == by_hand.pid and house.slot("api-0")["adopted"]
    assert house.stop() == ExitCode.OK
    assert by_hand.wait() == 0


def test_stop_works_without_an_orchestrator(house: House) -> None:
    house.rows({"name": "api", "after": ["db"]}, {"name": "db"}).start().ready("api-0", "db-0")
    house.kill_orchestrator()
    status = house.command("status")
    assert status.returncode == 3 and "api-0" in status.stdout and "unsupervised" in status.stdout
    stopped = house.command("stop")
    assert stopped.returncode == ExitCode.OK, stopped.stderr
    assert house.alive() == {}
    exits = [(entry.slot, entry.details["code"]) for entry in house.events() if entry.event is Happened.EXITED]
    assert exits == [("api-0", 0), ("db-0", 0)]
    assert house.command("status").stdout == f"Nothing runs over {house.home}.\n"


def test_kill_of_everything_and_a_new_start_leave_nothing_old(house: House) -> None:
    house.rows(SERVED, {"name": "meta"}).start().ready(*SLOTS)
    old = list(house.alive())
    house.kill_orchestrator()
    processes.end(old)
    assert list(runtime.runtime_dir(house.home).glob("*.sock"))  # remains
    house.start().ready(*SLOTS)
    assert not set(old) & set(house.alive())
    assert house.stop() == ExitCode.OK
    names = {path.name for path in (house.home / "run").iterdir()}
    assert names == {*(f"{slot}.lock" for slot in SLOTS), "orchestrator.lock", "events.jsonl"}
