"""Facts from /proc about processes: parents, sessions, and the incarnation in whose environment they were started.

The marker is the pair BULKHEAD_HOME and PROCESS_INCARNATION in a process's environment. Helpers inherit it through any
number of forks and sessions, so it finds what parentage does not show any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
# A process that exits while it is read, or another user's, is no finding.
_GONE: Final = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, slots=True)
class Process:
    """One living process."""

    pid: int
    parent: int
    group: int
    session: int
    started: int
    """Clock ticks after boot."""


def scan() -> dict[int, Process]:
    """Return every living process that /proc shows, without zombies."""
    found: dict[int, Process] = {}
    for name in os.listdir(_PROC):  # noqa: PTH208 - thousands of paths are not needed, only names
        if not name.isdecimal():
            continue
        with suppress(*_GONE):
            process = _read(name)
            if process is not None:
                found[process.pid] = process
    return found


def descendants(processes: Mapping[int, Process], roots: Iterable[int]) -> set[int]:
    """Return the pids of all that descend from `roots`, without the roots themselves unless they descend from each
    other."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        # One pass over the snapshot, then a walk downwards; asking the kernel for each process again would see another
        # state.
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def environment(pid: int) -> dict[str, str]:
    """Return the environment that `pid` was started with; empty when it has exited or is not readable."""
    with suppress(*_GONE):
        pairs = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
        return dict(pair.decode(errors="replace").split("=", 1) for pair in pairs if b"=" in pair)
    return {}


def marked(processes: Iterable[int], home: Path) -> dict[int, str]:
    """Return the incarnation of each of `processes` that carries the marker of `home`."""
    needle = b"BULKHEAD_HOME=" + os.fsencode(home)
    found: dict[int, str] = {}
    for pid in processes:
        with suppress(*_GONE):
            pairs = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
            if needle in pairs:
                for pair in pairs:
                    # 20 is the length of the name with its equals sign: an empty value marks nothing.
                    if pair.startswith(b"PROCESS_INCARNATION=") and len(pair) > 20:
                        found[pid] = pair[20:].decode(errors="replace")
    return found


def holders(path: Path) -> set[int]:
    """Return the pids that hold the lock of `path` by an inherited descriptor, without the process that took it and
    those that only read the file.

    Looks at every descriptor of every process: for the rare case that nothing else explains a held lock.
    """
    target = path.resolve()
    found: set[int] = set()
    for name in os.listdir(_PROC):  # noqa: PTH208 - as in scan
        if name.isdecimal() and int(name) != os.getpid():
            with suppress(*_GONE):
                for descriptor in (_PROC / name / "fd").iterdir():
                    with suppress(*_GONE):
                        # The link alone is not enough: a program that only reads the file must not be killed.
                        if descriptor.readlink() == target and _inherited_lock(
                            _PROC / name / "fdinfo" / descriptor.name, name
                        ):
                            found.add(int(name))
                            break
    return found


def _inherited_lock(fdinfo: Path, pid: str) -> bool:
    """Whether the descriptor holds a lock that another process took: the kernel keeps the taker's pid."""
    # fdinfo (proc(5)): `lock: 1: FLOCK ADVISORY WRITE <pid> …`.
    locks = (
        line.split()
        for line in fdinfo.read_text(encoding="ascii", errors="replace").splitlines()
        if line.startswith("lock:")
    )
    return any("FLOCK" in words and words[words.index("FLOCK") + 3] != pid for words in locks)


def _read(name: str) -> Process | None:
    # read for every process of the machine, so without a Path
    with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
        stat = file.read()
    # The name in brackets may contain anything, so fields are counted from the last bracket: state, parent, group,
    # session; start time is field 22.
    values = stat[stat.rindex(b")") + 2 :].split()
    if values[0] in (b"Z", b"X"):
        return None
    return Process(
        pid=int(name), parent=int(values[1]), group=int(values[2]), session=int(values[3]), started=int(values[19])
    )
