"""Ends whole process trees, and proves that nothing of an incarnation lives.

Two methods, probed once at start: "cgroup" where the kernel kills a group in one step; otherwise "walk", which finds an
incarnation's processes by session, group, parentage and environment marker and kills until none is found. An
incarnation without a group (its orchestrator could not make one) is walked with either method.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from shared.process.slot_lock import is_free, process_start
from supervision.processes.cgroups import Cgroups
from supervision.processes.markers import Process, descendants, holders, marked, scan

# From linux/prctl.h.
_PR_SET_CHILD_SUBREAPER: Final = 36


def become_subreaper() -> bool:
    """Make orphans of our descendants our own children, so that they can be found and reaped. Returns whether the
    kernel can do that."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class Trees:
    """Finds and kills the processes of incarnations of one home.

    Attributes:
        kill_method: which capability holds here, `cgroup` or `walk`.
    """

    def __init__(self, home: Path, *, use_cgroups: bool = True) -> None:
        self._home = home
        self._cgroups = Cgroups.probe(home) if use_cgroups else None
        self.kill_method: Literal["cgroup", "walk"] = "cgroup" if self._cgroups else "walk"
        # The main process of each incarnation with its start time, which distinguishes a reused pid.
        self._mains: dict[str, tuple[int, int]] = {}

    def watch(self, incarnation: str, pid: int) -> None:
        """Remember the main process of a new incarnation, and put it into a cgroup of its own where that can be had."""
        self._mains[incarnation] = (pid, process_start(pid) or 0)
        if self._cgroups:
            self._cgroups.place(incarnation, pid)

    def adopt(self, incarnation: str, pid: int) -> None:
        """Remember the main process of an incarnation that an earlier orchestrator started."""
        self._mains[incarnation] = (pid, process_start(pid) or 0)
        if self._cgroups:
            self._cgroups.adopt(incarnation, pid)

    def living(self, incarnation: str) -> set[int]:
        """Return the pids of every process that belongs to `incarnation`, its main process included."""
        # The kernel's own list is complete; a walk could only find less.
        if self._cgroups and self._cgroups.has(incarnation):
            return self._cgroups.members(incarnation)
        processes = scan()
        seeds = self._seeds(incarnation, processes)
        # Never ourselves: started from a shell below a supervised child, we would carry its marker too.
        return (seeds | descendants(processes, seeds)) - {os.getpid()}

    def kill(self, incarnation: str, *, lock: Path | None = None) -> set[int]:
        """Send SIGKILL to all of `incarnation`, and return those that were found.

        Args:
            incarnation: whose processes.
            lock: when nothing was found, kill the process that still has this file open: they keep the slot from being
                free.
        """
        if self._cgroups:
            self._cgroups.kill(incarnation)
        found = self.living(incarnation)
        if not found and lock is not None and not is_free(lock):
            found = holders(lock)
        # By pid as well: with the method "walk" it is the only way.
        kill(found)
        return found

    def forget(self, incarnation: str) -> None:
        """Forget an incarnation that is proved dead."""
        self._mains.pop(incarnation, None)
        if self._cgroups:
            self._cgroups.remove(incarnation)

    def leftovers(self, living: set[str]) -> set[str]:
        """Return the incarnations of this home that have processes but are not in `living`: remains of an
        orchestrator's sudden death."""
        # By marker with both methods: an earlier orchestrator may have had no cgroups.
        found = set(marked(scan(), self._home).values())
        if self._cgroups:
            found |= self._cgroups.leftovers(living)
        return found - living

    def close(self) -> None:
        """Remove what was made for this home outside of it."""
        if self._cgroups:
            self._cgroups.close()

    def _seeds(self, incarnation: str, processes: dict[int, Process]) -> set[int]:
        main, started = self._mains.get(incarnation, (0, 0))
        seeds = {pid for pid, name in marked(processes, self._home).items() if name == incarnation}
        there = processes.get(main)
        if main and (there is None or there.started == started):
            # A session or group number is not reused while a member lives; a later process with our main's pid would
            # show by its start time.
            seeds |= {
                process.pid for process in processes.values() if main in (process.pid, process.session, process.group)
            }
        return seeds


def kill(pids: Iterable[int]) -> None:
    """Send SIGKILL to each process that still exists and that we may signal."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
