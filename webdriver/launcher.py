"""Become Chromium, but never outlive the owner: run as a script by `chromium.py`, with the owner's pid and the command as arguments.

The kernel sends SIGKILL when the thread that forked us ends (PR_SET_PDEATHSIG survives exec). It is asked for here, after the fork and in a
process of one thread, because Python's `preexec_fn` may deadlock in a process that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
OWNER_GONE = 75
NICER = 5


def sessions_are_weighed(
    proc: Path = Path("/proc"), mounts: Sequence[Path] = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
) -> bool:
    """Whether the kernel gives each session a weight: the switch is on, and no control group of ours (a container's, a service's) has the processor.

    Only the root group has no `cpu.weight` (cgroup v2). Raises `OSError` when the kernel does not tell.

    Args:
        proc, mounts: where proc and the control groups are mounted.
    """
    if (proc / "sys/kernel/sched_autogroup_enabled").read_text(encoding="ascii").strip() != "1":
        return False
    for line in (proc / "self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(",") and path != "/":
            return False
        if not controllers:
            group = Path(path.lstrip("/"))
            if any((mount / above / "cpu.weight").exists() for mount in mounts for above in (group, *group.parents)):
                return False
    return True


def become(owner: int, command: list[str]) -> None:
    """Replace this process by `command`; returns only if the owner is gone already. Raises `OSError` when it cannot be run."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # browsers that start must not keep the process that watches them, or any other kind, from the processor
    niceness = os.nice(NICER)
    with suppress(OSError):
        # where the kernel weighs sessions (docs/adr/0016), this one is new and would count like any other
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")
        if sessions_are_weighed():
            # a processor that runs only this counts as free for whoever wakes up; the session's weight, which stays, keeps it from starving
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # another parent means that the owner died before the line above could count
    if os.getppid() == owner:
        os.execv(command[0], command)  # noqa: S606 - replacing this process is the purpose


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
    sys.exit(OWNER_GONE)
