"""Become Chromium and do not outlive the owner: a script that gets one JSON argument (see `Orders`).

The kernel sends SIGKILL when the thread that forked us ends (PR_SET_PDEATHSIG survives exec). It is asked for here,
after the fork and in a process of one thread, because Python's `preexec_fn` may deadlock in a process that has threads.
Root's rights are dropped here too and not by `subprocess`: the interpreter may lie in a folder that only root can
enter.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

# Numbers of linux/prctl.h and linux/sched.h, which Python 3.11 does not name.
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
OWNER_GONE = 75
"""Exit code when the owner was gone before Chromium began: EX_TEMPFAIL of sysexits.h, and none of Chromium's own."""
NICER = 5
"""Niceness steps below our own process: about a third of its weight where both want the processor."""
LOWEST_FREE = 20
"""Descriptors that stand where the pipe's ends must be are moved to this number or above."""
NO_SANDBOX = "--no-sandbox"

libc = ctypes.CDLL(None, use_errno=True)


class Orders(TypedDict):
    """What to become.

    `owner`: pid of the process to die with. `command`: the program and its arguments. `pipe`: descriptors to be moved
    to the numbers that are their keys. `user`: uid and gid to run under, null: stay as we are.
    """

    owner: int
    command: list[str]
    pipe: dict[str, int]
    user: list[int] | None


def sessions_are_weighed(
    proc: Path = Path("/proc"), mounts: Sequence[Path] = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
) -> bool:
    """Whether the kernel's scheduler groups processes by session (autogroup).

    The switch is on, and no control group of ours (a container's, a service's) has the processor. Only the root group
    has no `cpu.weight` (cgroup v2).

    Args:
        proc, mounts: where proc and the control groups are mounted.
    Raises:
        OSError: the kernel does not show it.
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


def yield_processor() -> None:
    """Lower our precedence: browsers must not keep any process of ours from the processor."""
    niceness = os.nice(NICER)
    with suppress(OSError):
        # where the kernel weighs sessions (docs/adr/0016), this one is new and would count like any other
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")
        if sessions_are_weighed():
            # a processor that runs only this counts as idle when another process wakes up; the session's weight keeps
            # this one from starving
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def place(places: dict[int, int]) -> None:
    """Move each descriptor to the number that is its key; what stands there (the slot's lock) gets a new number."""
    # all of them are moved out of the way first: the number that one descriptor is to get may be the present number of
    # another
    free = {number: fcntl.fcntl(given, fcntl.F_DUPFD, LOWEST_FREE) for number, given in places.items()}
    for given in places.values():
        os.close(given)
    for number, moved in free.items():
        with suppress(OSError):
            fcntl.fcntl(number, fcntl.F_DUPFD, LOWEST_FREE)
        os.dup2(moved, number)
        os.close(moved)


def drop_rights(user: Sequence[int]) -> None:
    """Run under `user` (uid, gid) and no other group from now on."""
    uid, gid = user
    # in this order: after setuid there is no right left to change the groups
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    # a change of user makes /proc/self root's, and a process that cannot write there cannot make a sandbox
    prctl(PR_SET_DUMPABLE, 1)


def can_sandbox() -> bool:
    """Whether this user may make the namespaces that Chromium's sandbox consists of.

    Tried in a child, since it cannot be undone.
    """
    # safe here: this process has one thread, so no lock of another one is held in the copy
    child = os.fork()
    if child == 0:
        try:
            uid, gid = os.getuid(), os.getgid()
            unshare(CLONE_NEWUSER)
            # without this the kernel lets no unprivileged process write its gid_map (user_namespaces(7))
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
            unshare(CLONE_NEWPID | CLONE_NEWNET)
        except OSError:
            # not sys.exit: the copy must not run the parent's exit handlers
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def prctl(option: int, value: int) -> None:
    """Call prctl(2). Raises `OSError`."""
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def unshare(flags: int) -> None:
    """Call unshare(2). Raises `OSError`."""
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def become(orders: Orders) -> None:
    """Replace this process by the command; returns only if the owner is gone already.

    Raises `OSError` when it cannot be run.
    """
    yield_processor()
    place({int(number): given for number, given in orders["pipe"].items()})
    command = orders["command"]
    # only what Chromium makes itself is private by its own mode
    os.umask(0o077)
    if orders["user"] is not None:
        drop_rights(orders["user"])
        if not can_sandbox():
            # containers often forbid namespaces; then the system user alone contains the page
            command = [command[0], NO_SANDBOX, *command[1:]]
    # after the change of user, which would clear it
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # another parent means that the owner died before the line above could count
    if os.getppid() == orders["owner"]:
        try:
            os.execv(command[0], command)  # noqa: S606 - replacing this process is the purpose
        except OSError as error:
            raise OSError(error.errno, error.strerror, command[0]) from None


if __name__ == "__main__":
    become(json.loads(sys.argv[1]))
    sys.exit(OWNER_GONE)
