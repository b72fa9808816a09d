"""A browser yields the processor, dies with its owner, and is not started for one that is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.process.system_user import SystemUser, system_user
from tests.support import environment
from webdriver.chromium.launcher import NICER, OWNER_GONE, Orders, sessions_are_weighed

LAUNCHER = environment.REPOSITORY / "webdriver" / "chromium" / "launcher.py"
SHOW = "import os; print(os.nice(0), os.sched_getscheduler(0))"


def launch(owner: int, *command: str, user: SystemUser | None = None) -> subprocess.CompletedProcess[str]:
    """Become `command` for `owner`, in a session of its own."""
    orders = Orders(owner=owner, command=list(command), pipe={}, user=[user.uid, user.gid] if user else None)
    return subprocess.run(
        [sys.executable, str(LAUNCHER), json.dumps(orders)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        start_new_session=True,
    )


def test_a_processor_that_runs_only_a_browser_counts_as_free() -> None:
    """With the weight of its session where the kernel weighs sessions, so that it does not starve; by its niceness
    alone elsewhere."""
    weighed = Path("/proc/self/autogroup").exists()
    niceness = os.nice(0) + NICER
    policy = os.SCHED_IDLE if weighed and sessions_are_weighed() else os.sched_getscheduler(0)
    assert launch(os.getpid(), sys.executable, "-c", SHOW).stdout.split() == [str(niceness), str(policy)]
    if weighed:
        assert launch(os.getpid(), "/usr/bin/cat", "/proc/self/autogroup").stdout.split()[-1] == str(niceness)


@pytest.mark.parametrize(
    ("switch", "groups", "with_weight", "weighed"),
    [
        ("1", "4:cpu,cpuacct:/\n0::/bulkhead-1/api-0", "", True),
        ("1", "0::/bulkhead-1/api-0", "", True),
        ("0", "0::/", "", False),
        ("1", "4:cpu,cpuacct:/docker/1\n0::/", "", False),
        ("1", "0::/system.slice/bulkhead.service", "system.slice", False),
        # a container with a view of its own: its root is not the kernel's
        ("1", "0::/", ".", False),
    ],
)
def test_in_a_group_that_has_the_processor_sessions_have_no_weight(
    tmp_path: Path, switch: str, groups: str, with_weight: str, weighed: bool
) -> None:
    """There a browser under `SCHED_IDLE` would starve beside busy processes."""
    proc, mount = tmp_path / "proc", tmp_path / "cgroup"
    for file, text in (("sys/kernel/sched_autogroup_enabled", switch), ("self/cgroup", groups)):
        (proc / file).parent.mkdir(parents=True, exist_ok=True)
        (proc / file).write_text(text + "\n")
    if with_weight:
        (mount / with_weight).mkdir(parents=True)
        (mount / with_weight / "cpu.weight").write_text("100\n")
    assert sessions_are_weighed(proc, [mount]) is weighed


def test_nothing_is_started_for_an_owner_that_is_gone() -> None:
    done = launch(1, sys.executable, "-c", SHOW)
    assert (done.returncode, done.stdout) == (OWNER_GONE, "")


def test_the_ends_of_the_pipe_stand_where_chromium_looks_for_them_and_the_slots_lock_stays_open(tmp_path: Path) -> None:
    """Whatever numbers they had: also those of each other, and that of the lock."""
    for name in ("lock", "input", "output"):
        (tmp_path / name).write_text(name)
    script = f"""
import os
from pathlib import Path
from webdriver.chromium.launcher import place
lock, given, taken = (os.open(Path({str(tmp_path)!r}) / name, os.O_RDONLY) for name in ("lock", "output", "input"))
assert (lock, given, taken) == (3, 4, 5), (lock, given, taken)
place({{3: taken, 4: given}})
opened = sorted(int(name) for name in os.listdir("/proc/self/fd"))
print(*(os.read(number, 10).decode() for number in opened if number > 2 and os.path.exists(f"/proc/self/fd/{{number}}")
        and os.path.isfile(f"/proc/self/fd/{{number}}")))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=environment.REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["input", "output", "lock"]


def test_as_root_every_right_is_dropped_and_the_death_signal_stays() -> None:
    user = system_user("nobody")
    if user is None:
        # not root: there is nothing to drop
        assert os.geteuid() != 0
        return
    show = ("/usr/bin/grep", "-hE", "^(Uid|Gid|Groups|CapEff):", "/proc/self/status")
    lines = dict(line.split(":", 1) for line in launch(os.getpid(), *show, user=user).stdout.splitlines())
    assert lines["Uid"].split() == [str(user.uid)] * 4
    assert lines["Gid"].split() == [str(user.gid)] * 4
    assert lines["Groups"].split() == []
    assert int(lines["CapEff"], 16) == 0


def test_a_program_that_the_user_may_not_run_is_named(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    assert f"PermissionError: [Errno 13] Permission denied: '{program}'" in launch(os.getpid(), str(program)).stderr
