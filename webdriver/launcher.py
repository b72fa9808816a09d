"""Become Chromium, but never outlive the owner: run as a script by `chromium.py`, with the owner's pid and the command as arguments.

The kernel sends SIGKILL when the thread that forked us ends (PR_SET_PDEATHSIG survives exec). It is asked for here, after the fork and in a
process of one thread, because Python's `preexec_fn` may deadlock in a process that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
OWNER_GONE = 75
NICER = 5


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
        # a processor that runs only this counts as free for whoever wakes up; the session's weight, which stays, keeps it from starving
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # another parent means that the owner died before the line above could count
    if os.getppid() == owner:
        os.execv(command[0], command)  # noqa: S606 - replacing this process is the purpose


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
    sys.exit(OWNER_GONE)
