"""A browser gives way to everybody, dies with its owner, and is not started for one that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import environment
from webdriver.launcher import NICER, OWNER_GONE, sessions_are_weighed

LAUNCHER = environment.REPOSITORY / "webdriver" / "launcher.py"
SHOW = "import os; print(os.nice(0), os.sched_getscheduler(0))"


def launch(owner: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Become `command` for `owner`, in a session of its own."""
    return subprocess.run(
        [sys.executable, str(LAUNCHER), str(owner), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        start_new_session=True,
    )


def test_a_processor_that_runs_only_a_browser_counts_as_free() -> None:
    """With the weight of its session where the kernel weighs sessions, so that it does not starve; by its niceness alone elsewhere."""
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
