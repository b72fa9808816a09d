"""A browser gives way to everybody, dies with its owner, and is not started for one that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import environment
from webdriver.launcher import NICER, OWNER_GONE

LAUNCHER = environment.REPOSITORY / "webdriver" / "launcher.py"
SHOW = "import os; print(os.nice(0), os.sched_getscheduler(0))"


def launch(owner: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Become `command` for `owner`, in a session of its own."""
    return subprocess.run(
        [sys.executable, str(LAUNCHER), str(owner), *command], capture_output=True, text=True, check=False, timeout=30, start_new_session=True
    )


def test_a_processor_that_runs_only_a_browser_counts_as_free() -> None:
    """With the weight of its session where the kernel weighs sessions, so that it does not starve; by its niceness alone elsewhere."""
    weighed = Path("/proc/self/autogroup").exists()
    niceness = os.nice(0) + NICER
    policy = os.SCHED_IDLE if weighed else os.sched_getscheduler(0)
    assert launch(os.getpid(), sys.executable, "-c", SHOW).stdout.split() == [str(niceness), str(policy)]
    if weighed:
        assert launch(os.getpid(), "/usr/bin/cat", "/proc/self/autogroup").stdout.split()[-1] == str(niceness)


def test_nothing_is_started_for_an_owner_that_is_gone() -> None:
    done = launch(1, sys.executable, "-c", SHOW)
    assert (done.returncode, done.stdout) == (OWNER_GONE, "")
