"""Memory of this process and of what it has started, read from /proc.

A tree of several processes is measured by its proportional set, as the orchestrator does
(docs/adr/0013-memory-by-proportional-set.md): the plain sum counts pages that Chromium's processes share several times.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / 1e6
_KB_IN_MB: Final = 1000 / 1.024
"""`smaps_rollup` counts in units of 1,024 bytes."""


def resident_mb(pid: int | str = "self", proc: Path = Path("/proc")) -> float:
    """Return one process's resident memory in megabytes, without its children."""
    # statm counts pages (proc(5))
    return int((proc / str(pid) / "statm").read_text(encoding="ascii").split()[1]) * _PAGE_MB


def tree_mb(pid: int | None = None, proc: Path = Path("/proc")) -> float:
    """Return the memory in megabytes of a process (this one by default) and everything below it.

    Reading costs the kernel milliseconds for each process of a browser: not for an event loop.
    """
    pids = [pid or os.getpid()]
    # grows while it is read: children of children too
    for parent in pids:
        pids += _children(parent, proc)
    if len(pids) == 1:
        return resident_mb(pids[0], proc)
    return sum(_proportional_mb(one, proc) for one in pids)


def _children(pid: int, proc: Path) -> list[int]:
    found: list[int] = []
    try:
        # of each thread: a child belongs to the thread that started it
        for task in (proc / str(pid) / "task").iterdir():
            found += [int(word) for word in (task / "children").read_text(encoding="ascii").split()]
    except OSError:
        # it or a thread of it has ended meanwhile
        return found
    return found


def _proportional_mb(pid: int, proc: Path) -> float:
    try:
        lines = (proc / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / _KB_IN_MB for line in lines if line.startswith("Pss:"))
    except PermissionError:
        # of another user, as browsers are when we run as root without the right to trace: its own memory at least
        return resident_mb(pid, proc)
    except (OSError, StopIteration):
        # it has ended meanwhile, and uses nothing any more
        return 0.0
