"""Trees die whole, on each rung of the ladder, and a slot is free only when they are gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from shared.process import runtime
from shared.process.journal import SupervisionEvent as Happened
from shared.process.slot_lock import SlotLock, is_free
from supervision.processes.cgroups import Cgroups
from supervision.processes.markers import descendants, environment, holders, marked, scan
from supervision.processes.trees import Trees, kill
from tests.supervision.env import SupervisionEnv
from tests.support import processes
from tests.support.waiting import eventually

SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]


def helpers_of(env: SupervisionEnv) -> tuple[int, int]:
    away, daemon = (int(pid) for pid in (env.home / "helpers").read_text().split())
    return away, daemon


def kill_methods() -> list[str]:
    """The ways to end a process tree that this machine and our rights offer."""
    with tempfile.TemporaryDirectory() as home:
        groups = Cgroups.probe(Path(home))
        if groups is None:
            return ["walk"]
        groups.close()
        return ["cgroup", "walk"]


def gone(away: int, daemon: int, kill_method: str) -> bool:
    """Whether the helpers are dead. What nothing marks, only a cgroup can find; without one the test ends it
    itself."""
    if kill_method == "walk":
        processes.end([daemon])
    return not processes.is_alive(away) and not processes.is_alive(daemon)


@pytest.mark.parametrize("kill_method", kill_methods())
def test_helpers_that_left_the_session_die_with_their_process(env: SupervisionEnv, kill_method: str) -> None:
    """A killed child's helpers: one in another session with the lock, one daemonised with a cleared environment and
    without it."""
    env.rows({"name": "bad", "entry": "forks_away"}).start(
        FIXTURE_WALK_ONLY="" if kill_method == "cgroup" else "1"
    ).ready("bad-0")
    assert env.status()["kill_method"] == kill_method
    away, daemon = helpers_of(env)
    assert processes.is_alive(away) and processes.is_alive(daemon)
    env.kill("bad-0")
    free = env.wait(Happened.SLOT_FREE, "bad-0")
    assert gone(away, daemon, kill_method)
    env.wait(Happened.READY, "bad-0", after=free.seq)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stop_leaves_no_helper(env: SupervisionEnv, number: signal.Signals) -> None:
    env.rows({"name": "bad", "entry": "forks_away"}).start().ready("bad-0")
    away, daemon = helpers_of(env)
    kill_method = env.status()["kill_method"]
    if number is signal.SIGKILL:
        env.kill("bad-0")
        env.ready("bad-0", after=env.wait(Happened.STARTED, "bad-0", after=env.wait(Happened.EXITED).seq).seq)
        assert gone(away, daemon, kill_method)
        away, daemon = helpers_of(env)
    assert env.stop() == 0
    assert gone(away, daemon, kill_method)


def test_a_stop_removes_the_sockets_of_helpers_that_could_not(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "forks_away"}).start().ready("bad-0")
    directory = env.home / "sessions/7/tmp"
    directory.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as orphan:
        orphan.bind(str(directory / "SingletonSocket"))
    foreign = env.home / "supervisor.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(foreign))
    assert [path.name for path in runtime.helper_sockets(env.home)] == ["SingletonSocket"]
    assert env.stop() == 0
    assert list(runtime.helper_sockets(env.home)) == []
    assert foreign.exists(), "a keeper's own socket may lie in the home"
    assert directory.exists(), "only sockets go"


def test_remains_of_a_sudden_death_of_everything_are_killed_at_the_next_start(env: SupervisionEnv) -> None:
    """kill -9 of the orchestrator and of the child; its helpers live on and hold the slot. Nothing of the dead
    incarnation survives the next start."""
    env.rows({"name": "bad", "entry": "forks_away"}).start().ready("bad-0")
    away, daemon = helpers_of(env)
    old, kill_method = env.slot("bad-0")["incarnation"], env.status()["kill_method"]
    env.kill_orchestrator()
    env.kill("bad-0")
    assert not is_free(runtime.slot_lock_file(env.home, "bad-0"))
    env.start().ready("bad-0")
    assert gone(away, daemon, kill_method)
    free = env.happened(Happened.SLOT_FREE, "bad-0")
    assert free is not None and free.incarnation == old
    assert env.story("bad-0") == ["started", "ready", "slot_free", "started", "ready"]


def test_scan_knows_us_and_our_children(tmp_path: Path) -> None:
    child = subprocess.Popen(
        SLEEP, start_new_session=True, env={"BULKHEAD_HOME": str(tmp_path), "PROCESS_INCARNATION": "x-0.1"}
    )
    try:
        found = scan()
        assert found[child.pid].parent == os.getpid() and found[child.pid].session == child.pid
        assert child.pid in descendants(found, [os.getpid()])
        eventually(lambda: marked(scan(), tmp_path) == {child.pid: "x-0.1"}, 5, "the child has its environment")
        assert environment(child.pid)["PROCESS_INCARNATION"] == "x-0.1"
    finally:
        child.kill()
        child.wait()
    assert environment(child.pid) == {}
    assert marked([child.pid], tmp_path) == {}


def test_only_inheritors_of_a_lock_are_named(tmp_path: Path) -> None:
    """Who took the lock itself is a process's main process; who inherited it is a helper; who reads the file is a
    bystander."""
    path = tmp_path / "x-0.lock"
    lock = SlotLock.take(path)
    heir = subprocess.Popen(SLEEP, pass_fds=[lock.fd])
    with path.open("rb") as opened:
        reader = subprocess.Popen(SLEEP, stdin=opened)
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl, time; f = open({str(tmp_path / 'y')!r}, 'w'); fcntl.flock(f, 2); "
            "print(1, flush=True); time.sleep(1000)",
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert owner.stdout and owner.stdout.readline()
        assert holders(path) == {heir.pid}
        assert holders(tmp_path / "y") == set()
    finally:
        kill([heir.pid, reader.pid, owner.pid])
        for process in (heir, reader, owner):
            process.wait()
        assert owner.stdout
        owner.stdout.close()
        lock.close()


def test_a_stranger_with_our_pid_is_not_ours(tmp_path: Path) -> None:
    """The main process is known by pid and start time; another process with that pid, and its session, belong to
    another process."""
    stranger = subprocess.Popen(SLEEP, start_new_session=True, env={})
    trees = Trees(tmp_path, use_cgroups=False)
    try:
        trees._mains["x-0.1"] = (stranger.pid, 1)
        assert trees.living("x-0.1") == set()
        trees.watch("x-0.1", stranger.pid)
        assert trees.living("x-0.1") == {stranger.pid}
    finally:
        stranger.kill()
        stranger.wait()


def test_no_cgroup_is_left_behind(env: SupervisionEnv) -> None:
    groups = Cgroups.probe(env.home)
    env.rows({"name": "api"}).start().ready("api-0")
    assert env.stop() == 0
    assert groups is None or not groups._base.exists()


def test_killing_what_is_gone_is_nothing(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    kill([gone.pid])
    assert Trees(tmp_path, use_cgroups=False).kill("never-0.1", lock=tmp_path / "none.lock") == set()
