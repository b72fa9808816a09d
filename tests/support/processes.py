"""Who is alive: the descendants of this test run, found even when they left their parent, their session and their
group.

The test run is a child subreaper, so what a killed process leaves behind becomes a child of ours. Such orphans are
reaped here, as init would do; children that `subprocess` started are left to their `Popen`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Set
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import psutil

from shared.process.slot_lock import process_start
from tests.support.waiting import eventually

_PR_SET_CHILD_SUBREAPER = 36
_ours: set[int] = set()


def adopt_orphans() -> None:
    """Become the parent of every orphan below this process, and keep track of which children are no orphans. Call
    once."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    start = subprocess.Popen.__init__

    @wraps(start)
    def started(self: subprocess.Popen[Any], *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        _ours.add(self.pid)

    subprocess.Popen.__init__ = started  # type: ignore[method-assign]


def reap_orphans() -> None:
    """Take the exit status of dead orphans, so that their pids are free."""
    # asked for again and again while a test waits, so without a look at every process of the machine
    for pid in _children(os.getpid()):
        with suppress(psutil.NoSuchProcess, ChildProcessError):
            if pid not in _ours and psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                os.waitpid(pid, os.WNOHANG)


def refuse_to_kill_groups_by_mistake() -> None:
    """Let `os.kill` refuse 0 and below, which would end the whole run, and what started it, without a word."""
    kill = os.kill

    def kill_one(pid: int, number: int, /) -> None:
        if pid <= 0:
            raise ValueError(f"a signal to process {pid} would reach a whole group")
        kill(pid, number)

    os.kill = kill_one


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet reaped does not."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def _children(pid: int) -> list[int]:
    """Return the children that the kernel lists for a process; it leaves out some when one ends meanwhile."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, (thread / "children").read_text().split())
    return found


def descendants_at_a_glance(without: Set[int] = frozenset()) -> set[int]:
    """Return the pids of this test run's descendants, without a look at every process of the machine. One may be
    missing: who needs to be sure asks `living_descendants`.

    Args:
        without: processes that are left out together with their descendants.
    """
    found: set[int] = set()
    open_pids = [os.getpid()]
    while open_pids:
        new = [pid for pid in _children(open_pids.pop()) if pid not in found and pid not in without]
        found.update(new)
        open_pids += new
    return found


def now() -> float:
    """Return the instant in the clock that the kernel notes the start of a process in, as clock ticks."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")


def started_after(pid: int, instant: float) -> bool:
    """Whether a living process began after an instant of `now`."""
    started = process_start(pid)
    return started is not None and started >= int(instant)


def living_descendants(root: int | None = None) -> dict[int, str]:
    """Return pid and command line of every living descendant of `root`, by default of the test run."""
    reap_orphans()
    try:
        found = psutil.Process(root).children(recursive=True)
    except psutil.NoSuchProcess:
        return {}
    alive = {}
    for process in found:
        with suppress(psutil.NoSuchProcess):
            if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                alive[process.pid] = " ".join(process.cmdline()) or process.name()
    return alive


def environ_of(pid: int) -> dict[str, str]:
    """Return the environment that the process was started with; empty when it is gone or not ours to look into."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}
    return dict(os.fsdecode(pair).split("=", 1) for pair in pairs if b"=" in pair)


def of_home(home: Path) -> dict[int, str]:
    """Return pid and command line of every living process whose environment names `home` as BULKHEAD_HOME, or whose
    command line names a path in it."""
    reap_orphans()
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            command = " ".join(process.cmdline())
            named = environ_of(process.pid).get("BULKHEAD_HOME") == str(home) or f"{home}/" in command
            if (
                named
                and process.pid != os.getpid()
                and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
            ):
                found[process.pid] = command or process.name()
    return found


def end(pids: Iterable[int]) -> None:
    """Kill these processes and wait until they are gone."""
    pids = list(pids)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, pids)), 10, "killed processes are gone")
    reap_orphans()
