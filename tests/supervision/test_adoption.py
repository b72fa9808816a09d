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
from tests.supervision.env import SOON_S, SupervisionEnv
from tests.support import environment, processes
from tests.support.waiting import deadline_s, eventually

SERVED = {"name": "api", "instances": 2, "instances_most": 10, "port": 3000}
SLOTS = ("api-0", "api-1", "meta-0")
OF_ORCHESTRATOR = {"spawn.started": 2, "death.proved": 1, "spawn.begun": 3}
"""The orchestrator's own crash points, and at which visit of a life each goes off."""


def _replaced_or_over(env: SupervisionEnv, pid: int) -> bool:
    return env.orchestrator.poll() is not None or env.slot("meta-0").get("pid") not in (pid, None)


def test_killed_orchestrator_children_live_and_are_adopted_within_a_second(env: SupervisionEnv) -> None:
    env.rows(SERVED, {"name": "meta"}).start().ready(*SLOTS)
    pids = {slot: env.pid(slot) for slot in SLOTS}
    port = env.slot("api-0")["port"]
    env.kill_orchestrator()
    assert env.get(port).startswith("api-")  # served by children alone
    before = env.last
    env.start()
    env.until(lambda: env.count(Happened.ADOPTED) == 3, "three adopted")
    logged_at = [datetime.fromisoformat(entry.at) for entry in env.events() if entry.seq > before]
    assert (logged_at[-1] - logged_at[0]).total_seconds() < 1.0, env.describe()
    env.ready(*SLOTS, after=before)
    assert {slot: env.pid(slot) for slot in SLOTS} == pids
    assert all(env.slot(slot)["adopted"] and env.slot(slot)["restarts"] == 0 for slot in SLOTS)


def test_an_adopted_child_is_watched_like_any_other(env: SupervisionEnv) -> None:
    """Not our child any more: its death is seen by pidfd, its reason read from its last words, its silence noticed."""
    env.rows({"name": "api", "watchdog_s": 0.5}, {"name": "meta"}).start().ready("api-0", "meta-0")
    env.kill_orchestrator()
    env.start().ready("api-0", "meta-0")
    env.kill("meta-0")
    exited = env.wait(Happened.EXITED, "meta-0")
    # no process can know, and nothing is made up
    assert (exited.details["code"], exited.details["signal"]) == (None, None)
    env.wait(Happened.READY, "meta-0", after=exited.seq)
    env.kill("api-0", signal.SIGSTOP)
    env.wait(Happened.HUNG, "api-0")
    env.wait(Happened.READY, "api-0", after=env.wait(Happened.EXITED, "api-0").seq)


def test_the_exit_record_of_an_adopted_child_has_its_exit_code(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "dies_later"}).start(FIXTURE_LIFE_S="1000").ready("bad-0")
    env.kill_orchestrator()
    env.start().ready("bad-0")
    env.kill("bad-0", signal.SIGTERM)
    assert env.wait(Happened.EXITED, "bad-0").details["code"] == 0


def test_the_same_listening_socket_serves_later_children(env: SupervisionEnv) -> None:
    """Adopted, asked for its socket, then killed: its successor answers on the same queue, and no connection was
    refused."""
    env.rows(SERVED).start(API_INSTANCES="1").ready("api-0")
    port, old = env.slot("api-0")["port"], env.slot("api-0")["incarnation"]
    env.kill_orchestrator()
    env.start().ready("api-0")
    env.kill(
        "api-0", signal.SIGSTOP
    )  # the last child cannot accept; connections wait in the queue that the orchestrator holds, too
    with socket.create_connection(("127.0.0.1", port), timeout=20) as waiting:
        waiting.sendall(b"GET / HTTP/1.1\r\n\r\n")
        env.kill("api-0")
        answer = waiting.makefile("rb").read().decode()
    assert "200 OK" in answer and old not in answer
    assert env.count(Happened.START_FAILED) == 0


def test_an_orchestrator_that_dies_between_two_of_its_steps(env: SupervisionEnv) -> None:
    """Wherever it dies, the next one finds every process, starts none twice and leaves none out."""
    points = ",".join(f"orchestrator:{name}=kill@{visit}" for name, visit in OF_ORCHESTRATOR.items())
    env.rows({"name": "api"}, {"name": "meta"}).start(CHAOS="on", CRASH_POINTS=points)

    def dies() -> None:
        assert env.orchestrator.wait(deadline_s(SOON_S)) == -signal.SIGKILL
        env.start().until(
            lambda: env.slot("api-0").get("state") == "ready" == env.slot("meta-0").get("state"),
            "both are supervised",
        )

    # spawn.started: both processes live, and the lock of the second one does not name it
    dies()
    assert env.count(Happened.ADOPTED) == 2 and env.count(Happened.EXITED) == 0
    # death.proved
    first = env.kill("meta-0")
    dies()
    assert env.pid("meta-0") != first
    # spawn.begun: for the third time in this life, which has started one by now
    for _ in range(2):
        pid = env.kill("meta-0")
        eventually(partial(_replaced_or_over, env, pid), SOON_S, env.describe)
    dies()
    assert sorted(env.alive()) == sorted((env.pid("api-0"), env.pid("meta-0"))), "one process a slot"
    assert env.stop() == ExitCode.OK


def test_two_orchestrators_at_once(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}).start().ready("api-0")
    pid = env.pid("api-0")
    second = env.command("run")
    assert second.returncode == ExitCode.SLOT_TAKEN
    assert f"process {env.orchestrator.pid}" in second.stderr and str(env.home) in second.stderr
    assert env.pid("api-0") == pid and env.status()["pid"] == env.orchestrator.pid


def test_an_orchestrator_that_dies_repeatedly_restarts_no_child(env: SupervisionEnv) -> None:
    env.rows(SERVED, {"name": "meta"}).start().ready(*SLOTS)
    pids = {slot: env.pid(slot) for slot in SLOTS}
    for round_ in range(1, 6):
        env.kill_orchestrator()
        env.start()
        env.until(lambda round_=round_: env.count(Happened.ADOPTED) == 3 * round_, "adopted")  # type: ignore[misc]
        assert {slot: env.pid(slot) for slot in SLOTS} == pids
    assert env.count(Happened.STARTED) == 3 and env.count(Happened.EXITED) == 0
    assert env.ready(*SLOTS).stop() == ExitCode.OK


def test_what_died_without_an_orchestrator_is_proved_dead_and_started_anew(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}, {"name": "meta"}).start().ready("api-0", "meta-0")
    dead, living = env.slot("api-0")["incarnation"], env.pid("meta-0")
    env.kill_orchestrator()
    processes.end([env.kill("api-0")])
    env.start().ready("api-0", "meta-0")
    frees = [entry.incarnation for entry in env.events() if entry.event is Happened.SLOT_FREE]
    assert frees == [dead]
    assert env.pid("meta-0") == living


def test_killed_between_fork_and_writing_the_pid_the_child_is_still_found(env: SupervisionEnv) -> None:
    """The record names no process: the process is found by the incarnation in its environment."""
    env.rows({"name": "api"}).start().ready("api-0")
    env.kill_orchestrator()
    path = runtime.slot_lock_file(env.home, "api-0")
    holder = read_holder(path)
    assert holder is not None
    born = Holder(pid=None, started=0, boot_id=boot_id(), incarnation=holder.incarnation)
    with path.open("r+b", buffering=0) as file:
        lock = SlotLock(file.fileno(), path)
        lock.write(born)
    env.start().ready("api-0")
    adopted = env.happened(Happened.ADOPTED, "api-0")
    assert adopted is not None and adopted.details["pid"] == holder.pid


def test_kinds_with_outdated_settings_are_replaced_after_adoption(env: SupervisionEnv) -> None:
    """A new orchestrator with other settings: those who know the old ones are replaced, one at a time, the others
    stay."""
    env.rows(SERVED, {"name": "meta", "pool_size": 20}).start().ready(*SLOTS)
    pids = {slot: env.pid(slot) for slot in SLOTS}
    env.kill_orchestrator()
    env.start(DATABASE_POOL_META_MAX="7")
    env.wait(Happened.DRAINED, "meta-0", purpose="settings changed")
    env.ready(*SLOTS)
    assert env.pid("meta-0") != pids["meta-0"]
    assert {slot: env.pid(slot) for slot in ("api-0", "api-1")} == {slot: pids[slot] for slot in ("api-0", "api-1")}


def test_another_port_after_adoption(env: SupervisionEnv) -> None:
    env.rows(SERVED).start(API_INSTANCES="1").ready("api-0")
    # the sandbox's, which no process uses here
    old, other = env.slot("api-0")["port"], env.slot("api-0")["port"] + 3
    env.kill_orchestrator()
    env.start(API_PORT=str(other), SANDBOX_PORT=str(old))
    env.wait(Happened.READY, "api-0", after=env.wait(Happened.DRAINED, "api-0").seq)
    assert env.get(other).startswith("api-0.")


def test_fewer_instances_after_adoption(env: SupervisionEnv) -> None:
    env.rows(SERVED).start().ready("api-0", "api-1")
    env.kill_orchestrator()
    env.start(API_INSTANCES="1").ready("api-0")
    env.wait(Happened.DRAINED, "api-1")
    env.until(lambda: "api-1" not in env.status()["slots"], "api-1 is forgotten")


def test_a_child_started_by_hand_is_adopted_too(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}, {"name": "meta"})
    by_hand = subprocess.Popen(
        [sys.executable, str(environment.REPOSITORY / "tests/supervision/children/good.py")],
        env=environment.clean(**env.variables, process_name="api", notify_socket=runtime.notify_socket(env.home)),
        stdout=subprocess.DEVNULL,
    )
    eventually(lambda: runtime.slot_socket(env.home, "api-0").exists(), 10, "it took the slot")
    env.start().ready("api-0", "meta-0")
    assert env.pid("api-0") == by_hand.pid and env.slot("api-0")["adopted"]
    assert env.stop() == ExitCode.OK
    assert by_hand.wait() == 0


def test_stop_works_without_an_orchestrator(env: SupervisionEnv) -> None:
    env.rows({"name": "api", "after": ["db"]}, {"name": "db"}).start().ready("api-0", "db-0")
    env.kill_orchestrator()
    status = env.command("status")
    assert status.returncode == 3 and "api-0" in status.stdout and "unsupervised" in status.stdout
    stopped = env.command("stop")
    assert stopped.returncode == ExitCode.OK, stopped.stderr
    assert env.alive() == {}
    exits = [(entry.slot, entry.details["code"]) for entry in env.events() if entry.event is Happened.EXITED]
    assert exits == [("api-0", 0), ("db-0", 0)]
    assert env.command("status").stdout == f"Nothing runs over {env.home}.\n"


def test_kill_of_everything_and_a_new_start_leave_nothing_old(env: SupervisionEnv) -> None:
    env.rows(SERVED, {"name": "meta"}).start().ready(*SLOTS)
    old = list(env.alive())
    env.kill_orchestrator()
    processes.end(old)
    assert list(runtime.runtime_dir(env.home).glob("*.sock"))  # remains
    env.start().ready(*SLOTS)
    assert not set(old) & set(env.alive())
    assert env.stop() == ExitCode.OK
    names = {path.name for path in (env.home / "run").iterdir()}
    assert names == {*(f"{slot}.lock" for slot in SLOTS), "orchestrator.lock", "events.jsonl"}
