"""Files of a running system that something removes (a cleaner of temporary files): noticed, made again, and no process
is called hung for it."""

from __future__ import annotations

import shutil

import pytest

from shared.process import runtime
from shared.process.exit_codes import ExitCode
from shared.process.journal import SupervisionEvent as Happened
from tests.supervision.env import SupervisionEnv
from tests.support.waiting import deadline_s

pytestmark = pytest.mark.serial

ROWS = ({"name": "api", "watchdog_s": 0.6}, {"name": "meta", "watchdog_s": 0.6})
SLOTS = ("api-0", "meta-0")


@pytest.fixture
def long_env(env: SupervisionEnv) -> SupervisionEnv:
    """An orchestrator whose home is too long for sockets: they live below the system's temporary directory."""
    home = env.home / ("long" * 20)
    home.mkdir(mode=0o700)
    return SupervisionEnv(home, env.variables | {"BULKHEAD_HOME": str(home)})


def test_a_removed_socket_directory_is_recreated_and_no_child_is_called_hung(long_env: SupervisionEnv) -> None:
    env = long_env
    try:
        env.rows(*ROWS).start().ready(*SLOTS)
        sockets = runtime.runtime_dir(env.home)
        assert not sockets.is_relative_to(env.home)
        pids = {slot: env.pid(slot) for slot in SLOTS}
        for _ in range(3):
            shutil.rmtree(sockets)
            # an operator's command waits until the orchestrator is back
            assert env.command("status").returncode == ExitCode.OK
            env.never(lambda: env.count(Happened.HUNG), 1.0, "a child is called hung though only the socket was gone")
        assert {slot: env.pid(slot) for slot in SLOTS} == pids
        assert env.count(Happened.EXITED) == 0
        shutil.rmtree(sockets)
        assert env.command("restart", "api").returncode == ExitCode.OK
        shutil.rmtree(sockets)
        assert env.command("stop").returncode == ExitCode.OK
        assert env.orchestrator.wait(deadline_s(10)) == ExitCode.OK
    finally:
        env.close()


def test_removed_logs_do_not_stop_a_restart(env: SupervisionEnv) -> None:
    env.rows(*ROWS).start().ready(*SLOTS)
    shutil.rmtree(env.home / "logs")
    exited = env.wait(Happened.STARTED, "api-0").seq
    env.kill("api-0")
    env.ready("api-0", after=env.wait(Happened.STARTED, "api-0", after=exited).seq)
    assert env.count(Happened.START_FAILED) == 0
    assert (env.home / "logs" / "api-0.err.log").exists()


def test_the_orchestrator_writes_to_its_log_after_the_directory_was_removed(env: SupervisionEnv) -> None:
    env.rows(*ROWS).start().ready(*SLOTS)
    shutil.rmtree(env.home / "logs")
    log = env.home / "logs" / "orchestrator.err.log"
    env.until(log.exists, "the file is made again")
    # what it logs next: a lost socket
    runtime.control_socket(env.home).unlink()
    env.until(lambda: "sockets_bound_again" in log.read_text(), "the line is in the new file")


def test_an_orchestrator_without_a_socket_is_stopped_by_its_pid(env: SupervisionEnv) -> None:
    env.rows(*ROWS).start().ready(*SLOTS)
    # something that is no socket stands in its place, and is not ours to remove
    control = runtime.control_socket(env.home)
    control.unlink()
    control.mkdir()
    (control / "inside").write_text("")
    try:
        assert env.command("stop").returncode == ExitCode.OK
    finally:
        shutil.rmtree(control)
    assert env.orchestrator.wait(deadline_s(10)) == ExitCode.OK
