"""Memory ceilings, log files and the words of strangers: what children use and say, and what they may not."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from shared.kinds import KINDS
from shared.process import notify, runtime
from shared.process.journal import SupervisionEvent as Happened
from shared.settings import Settings
from supervision.ipc.notify_socket import NotifySocket
from supervision.ipc.sd_notify import SdNotify
from supervision.processes.log_files import LogFiles, Mark
from supervision.processes.resources import Sampler, Usage, details, measure
from supervision.processes.spawn import spawn
from tests.supervision.env import SupervisionEnv
from tests.support.waiting import deadline_s

SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]


def last(pids: list[int]) -> Usage:
    *steps, usage = measure(pids)
    assert usage is not None and steps == [None] * usage.processes
    return usage


# memory


def test_soft_ceiling_drains_and_replaces(env: SupervisionEnv) -> None:
    env.rows(
        {"name": "bad", "entry": "leaks", "memory_soft_mb": 80, "memory_hard_mb": 2000},
        {"name": "api", "memory_soft_mb": 80},
    ).start(FIXTURE_LEAK_MB="120")
    env.ready("api-0")
    over = env.wait(Happened.OVER_MEMORY, "bad-0")
    assert over.details["ceiling"] == "soft" and over.details["rss_mb"] > 120 and over.details["limit_mb"] == 80
    drained = env.wait(Happened.DRAINED, "bad-0")
    assert drained.details["in_time"] is True and drained.details["purpose"] == "over its soft memory ceiling"
    env.wait(Happened.STARTED, "bad-0", after=drained.seq)
    assert env.count(Happened.EXITED, "api-0") == 0


def test_hard_ceiling_kills_and_replaces(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "leaks", "memory_hard_mb": 80}).start(FIXTURE_LEAK_MB="120")
    over = env.wait(Happened.OVER_MEMORY, "bad-0")
    assert over.details["ceiling"] == "hard"
    exited = env.wait(Happened.EXITED, "bad-0")
    assert exited.details["signal"] == 9 and exited.details["reason"] == "over its hard memory ceiling"
    env.wait(Happened.STARTED, "bad-0", after=exited.seq)


def test_the_snapshot_shows_memory_threads_and_files(env: SupervisionEnv) -> None:
    env.rows({"name": "api", "entry": "forks_away"}).start().ready("api-0")
    slot = env.until(lambda: env.slot("api-0") if (env.slot("api-0").get("processes") or 0) >= 2 else None, "measured")
    assert slot is not None
    assert slot["processes"] >= 2 and slot["threads"] >= 2 and slot["open_files"] >= 6 and 5 < slot["memory_mb"] < 200


def test_a_tree_is_not_counted_five_times() -> None:
    """Shared pages count once: three processes of the same program use far less than three times what one shows."""
    alone = subprocess.Popen(SLEEP)
    more = [subprocess.Popen(SLEEP) for _ in range(2)]
    try:
        whole = last([alone.pid, *(process.pid for process in more)])
        plain_sum = sum(psutil.Process(process.pid).memory_info().rss for process in (alone, *more)) / 1024 / 1024
        assert whole.processes == 3 and whole.memory_mb < plain_sum
    finally:
        for process in (alone, *more):
            process.kill()
            process.wait()
    assert last([alone.pid]) == Usage(0.0, 0, 0, 0)
    assert details([alone.pid]) == []


def test_the_sampler_looks_at_one_process_at_a_time() -> None:
    looked: list[str] = []

    def tree_of(slot: str) -> list[int]:
        looked.append(slot)
        return [os.getpid(), os.getppid()]

    sampler = Sampler(tree_of)
    assert sampler.step() is None
    sampler.begin(["api-0", "meta-0"])
    sampler.begin(["late-0"])  # the round before is not over
    results = []
    while not sampler.is_idle:
        results.append(sampler.step())
    assert looked == ["api-0", "meta-0"]
    assert [result[0] if result else None for result in results] == [None, None, "api-0", None, None, "meta-0"]


@pytest.mark.parametrize(("given", "niceness"), [(7, 7), (25, 19)])
def test_priorities_are_set_from_outside(tmp_path: Path, given: int, niceness: int) -> None:
    """25: a row's, beside that of an operator who starts everything with `nice -n 15`."""
    script = tmp_path / "sleep.py"
    script.write_text("import time\ntime.sleep(1000)\n")
    with (tmp_path / "log").open("wb") as log:
        started = spawn(
            script,
            os.environ,
            streams=(log.fileno(), log.fileno()),
            keep=[],
            niceness=given,
            oom_score_adj=300,
            err_from=Mark(0, 0),
        )
    try:
        assert Path(f"/proc/{started.pid}/oom_score_adj").read_text().strip() == "300"
        assert resource.prlimit(started.pid, resource.RLIMIT_CORE) == (0, 0)
        assert os.getsid(started.pid) == started.pid
        assert os.getpriority(os.PRIO_PROCESS, started.pid) == niceness
        session = Path(f"/proc/{started.pid}/autogroup")
        assert not session.exists() or session.read_text().split()[-2:] == ["nice", str(niceness)]
    finally:
        os.kill(started.pid, 9)
        os.waitid(os.P_PIDFD, started.pidfd, os.WEXITED)
        started.close()


def test_the_orchestrator_goes_before_its_children(env: SupervisionEnv) -> None:
    """As root, or with CAP_SYS_NICE; without such rights all run alike. Its own policy is not inherited."""
    env.rows({"name": "api"}, {"name": "browser", "nice": 5}).start().ready("api-0", "browser-0")
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, env.orchestrator.pid) == (ours - 5 if os.geteuid() == 0 else ours)
    assert os.getpriority(os.PRIO_PROCESS, env.pid("api-0")) == ours
    assert os.getpriority(os.PRIO_PROCESS, env.pid("browser-0")) == ours + 5
    mine = os.SCHED_RR | os.SCHED_RESET_ON_FORK if os.geteuid() == 0 else os.SCHED_OTHER
    assert [os.sched_getscheduler(pid) for pid in (env.orchestrator.pid, env.pid("api-0"))] == [
        mine,
        os.SCHED_OTHER,
    ]


def test_chromiums_kind_yields_to_the_others() -> None:
    rows = {row.name: row for row in KINDS}
    assert rows["webdriver"].nice > rows["api"].nice == rows["meta"].nice == 0
    assert rows["webdriver"].oom_score_adj > 0 > rows["postgres"].oom_score_adj
    assert [rows[name].memory_hard_mb for name in ("api", "webdriver", "meta")] == [2048, 4096, 1024]


# logs


def test_a_flood_is_rotated_and_the_disk_does_not_fill(env: SupervisionEnv) -> None:
    env.rows({"name": "bad", "entry": "fills_its_log"}, {"name": "api"}).start(LOG_MAX_MB="0.5", LOG_KEEP="2").ready(
        "bad-0", "api-0"
    )
    logs = env.home / "logs"
    env.until((logs / "bad-0.err.log.2").exists, "two generations")
    pid = env.pid("bad-0")
    rotations = env.home / "logs" / "orchestrator.out.log"
    env.until(lambda: rotations.read_text().count("log_rotated") >= 4, "two more rotations")
    assert not (logs / "bad-0.err.log.3").exists()
    assert (logs / "bad-0.err.log.2").stat().st_size <= 3 * 0.5 * 1024 * 1024
    assert env.pid("bad-0") == pid and env.slot("api-0")["state"] == "ready"
    env.kill("bad-0")
    assert "xxxx" in env.wait(Happened.EXITED, "bad-0").details["log_tail"]


def test_rotation_keeps_every_line_of_a_writer_that_pauses(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path, max_bytes=1000, keep=2)
    lines = [f"line {number}" for number in range(400)]
    with logs.opened("api-0") as (out, _):
        for line in lines:
            os.write(out, f"{line}\n".encode())
            if logs.rotate_full():
                assert logs.size("api-0", "out") == 0
            kept = "".join(
                path.read_text()
                for path in sorted(tmp_path.glob("api-0.out.log*"), key=lambda path: path.name, reverse=True)
            )
            assert kept.endswith(f"{line}\n")
    assert len(list(tmp_path.glob("api-0.out.log*"))) == 3


def test_the_tail_is_of_this_life_and_without_numbers(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path, max_bytes=1000, keep=2)
    with logs.opened("api-0") as (_, err):
        os.write(err, b"of the life before\n")
        since = logs.mark("api-0", "err")
        os.write(err, b"cannot reach +49 151 23456789\nAuthorization: Bearer abcdef\n")
    tail = logs.tail("api-0", "err", since=since)
    assert tail == "cannot reach [number]\nAuthorization: Bearer [secret]"
    assert logs.tail("nobody", "err", since=logs.mark("nobody", "err")) == ""


def test_the_tail_reaches_back_over_a_rotation(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path, max_bytes=10, keep=2)
    with logs.opened("api-0") as (_, err):
        since = logs.mark("api-0", "err")
        os.write(err, b"before the rotation\n")
        assert logs.rotate_full()
        assert logs.tail("api-0", "err", since=since) == "before the rotation"
        os.write(err, b"after it\n")
    assert logs.tail("api-0", "err", since=since) == "before the rotation\nafter it"


def test_a_full_disk_stops_no_supervision(env: SupervisionEnv) -> None:
    """Journal, log and snapshot cannot be written; deaths are seen and answered all the same, and it is all there again
    when there is room."""
    env.rows(
        {"name": "api"}, {"name": "recorder", "entry": "recorder"}, {"name": "meta", "needed": "connections"}
    ).start().ready("api-0", "recorder-0")
    resource.prlimit(env.orchestrator.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    (env.home / "desired-by-fixture").write_text("meta")
    env.until(lambda: env.status()["desired"] == ["meta"], "the recorder is heard")
    env.kill("api-0")
    env.until(lambda: env.status()["slots"]["api-0"]["restarts"] >= 1, "the death is seen")
    resource.prlimit(env.orchestrator.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    env.until(lambda: env.status()["slots"]["api-0"]["state"] == "ready", "restarted")
    env.until(
        lambda: env.count(Happened.SLOT_FREE, "api-0") == env.count(Happened.EXITED, "api-0") >= 1,
        "what could not be written is written",
    )
    assert env.story("api-0")[:5] == ["started", "ready", "exited", "slot_free", "restarting"]


def test_a_childs_files_outlive_the_orchestrator(env: SupervisionEnv) -> None:
    """No pipe to the orchestrator: what a child writes after its death still arrives."""
    env.rows({"name": "bad", "entry": "fills_its_log"}).start().ready("bad-0")
    env.kill_orchestrator()
    err = env.home / "logs" / "bad-0.err.log"
    size = err.stat().st_size
    env.process = None
    env.until(lambda: err.stat().st_size > size, "it goes on writing")


# strangers


def test_datagrams_of_other_senders_are_ignored(env: SupervisionEnv) -> None:
    env.rows({"name": "api", "entry": "never_ready", "startup_s": 30.0}).start()
    env.wait(Happened.STARTED, "api-0")
    incarnation = env.until(lambda: env.slot("api-0").get("incarnation"), "its name")
    with notify.open_sender() as stranger:
        for fields in (
            {"READY": "1", "X_INCARNATION": str(incarnation)},
            {"X_DESIRED": "meta"},
            {"EXTEND_TIMEOUT_USEC": "9" * 30},
            {"READY": "1"},
        ):
            assert notify.send(stranger, str(runtime.notify_socket(env.home)), fields)
        stranger.sendto(os.urandom(4000), str(runtime.notify_socket(env.home)))
    env.never(lambda: env.slot("api-0")["state"] != "starting", 0.7, "a stranger's READY was believed")
    assert env.count(Happened.DESIRED_KINDS) == 0


def test_descriptors_from_strangers_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "n.sock"
    ours = NotifySocket(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, socket.socket() as gift:
        sender.sendmsg(
            [b"X=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, gift.fileno().to_bytes(4, sys.byteorder))], 0, str(path)
        )
        (datagram,) = ours.receive()
    assert datagram.pid == os.getpid() and datagram.fields == {"X": "1"} and len(datagram.descriptors) == 1
    os.close(datagram.descriptors[0])
    ours.ask(tmp_path / "nobody.sock", b"x")
    ours.close()
    assert not path.exists()


# the recorder's word


def test_desired_kinds_start_and_stop_with_connections_and_are_kept(env: SupervisionEnv) -> None:
    env.rows(
        {"name": "recorder", "entry": "recorder", "reads_journal": True},
        {"name": "meta", "needed": "connections"},
        {"name": "api"},
    ).start()
    env.ready("recorder-0", "api-0")
    assert env.status()["desired"] is None and env.slot("meta-0")["state"] == "stopped"
    (env.home / "desired-by-fixture").write_text("meta")
    env.ready("meta-0")
    assert json.loads(runtime.desired_kinds_file(env.home).read_text()) == ["meta"]
    env.stop()
    (env.home / "desired-by-fixture").unlink()
    env.start().ready("meta-0")  # no word yet in this life: the kept one counts
    assert env.status()["desired"] == ["meta"]


def test_a_damaged_file_of_desired_kinds_is_ignored(env: SupervisionEnv) -> None:
    runtime.desired_kinds_file(env.home).write_text("{not json")
    env.rows({"name": "meta", "needed": "connections"}, {"name": "api"}).start().ready("api-0")
    assert env.status()["desired"] is None


def test_readers_of_the_journal_are_notified(env: SupervisionEnv) -> None:
    env.rows({"name": "reader", "entry": "counts_notifies", "reads_journal": True}, {"name": "api"}).start().ready(
        "reader-0", "api-0"
    )
    before = env.until(lambda: env.slot("reader-0").get("status"), "a notification")
    env.kill("api-0")
    env.until(lambda: env.slot("reader-0")["status"] != before, "another notification")


# our own keeper


def test_the_service_manager_receives_ready_watchdog_and_stopping(env: SupervisionEnv) -> None:
    path = env.home / "keeper.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(10)
        env.rows({"name": "api"}).start(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="400000").ready("api-0")
        received: list[dict[str, str]] = []
        while not any("READY" in fields for fields in received) or not any("WATCHDOG" in fields for fields in received):
            received.append(notify.parse(manager.recv(4096)))
        assert "NOTIFY_SOCKET=" + str(runtime.notify_socket(env.home)) in Path(
            f"/proc/{env.pid('api-0')}/environ"
        ).read_text().split("\0")
        begun = time.monotonic()
        for _ in range(5):
            manager.recv(4096)
        assert time.monotonic() - begun < deadline_s(5 * 0.4)
        env.orchestrator.terminate()
        while "STOPPING" not in received[-1]:
            received.append(notify.parse(manager.recv(4096)))
        assert int(received[-1]["EXTEND_TIMEOUT_USEC"]) >= 5_000_000
        assert env.stop() == 0


def test_a_watchdog_that_is_meant_for_another_process_is_not_ours() -> None:
    half_said = (
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "x"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    )
    for environ in ({}, *half_said):
        manager = SdNotify(environ)
        assert manager.interval_s == 0
        manager.alive()
        manager.close()


def test_orchestrator_is_small(env: SupervisionEnv) -> None:
    env.rows({"name": "api"}).start().ready("api-0")
    assert env.until(lambda: env.status()["memory_mb"], "measured") < 60
    assert Settings().log_max_mb > 0
