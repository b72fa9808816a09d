"""What /proc tells about Chromium's processes: whose they are, whether they are gone, what they hold; and ending them for certain.

All of a Chromium's processes carry its profile directory in their command line, helpers in sessions of their own too (the crash handler
starts its own). That, and not a parent's list, decides who belongs to whom: it is right after any number of crashes.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.clock import monotonic

MARKER: Final = "--bulkhead-session="
_PR_SET_CHILD_SUBREAPER: Final = 36
_POLL_S: Final = 0.02
_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / 2**20
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Glance:
    """What the kernel says of a browser at no cost: megabytes with shared pages counted for each process, CPU seconds so far, processes."""

    rss_mb: float
    cpu_s: float
    processes: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What a close look costs milliseconds to find out, in megabytes: RSS, PSS (shared pages divided), USS (what would be free without it)."""

    rss: float
    pss: float
    uss: float


def mark(home: Path, connection_id: int) -> str:
    """Return the argument that says which installation and which connection a Chromium belongs to."""
    return f"{MARKER}{_installation(home)}/{connection_id}"


def _installation(home: Path) -> str:
    return hashlib.blake2s(str(home).encode(), digest_size=6, person=b"bulkhead").hexdigest()


def pids_of_profile(profile: Path) -> list[int]:
    """Return the processes that run on this profile directory, helpers included."""
    needle = b"=" + os.fsencode(profile)
    return _pids(
        lambda line: any(
            line[at + len(needle) : at + len(needle) + 1] in (b"", b"\0", b" ", b"/") for at in _places(line, needle)
        )
    )


def pids_of_installation(home: Path, profiles: Path) -> list[int]:
    """Return every Chromium process that was started for this BULKHEAD_HOME: by marker argument, or with a profile below `profiles`."""
    needles = (f"{MARKER}{_installation(home)}/".encode(), b"=" + os.fsencode(profiles) + b"/")
    return _pids(lambda line: any(needle in line for needle in needles))


def pids_of_session(leader: int) -> list[int]:
    """Return the processes of the session that `leader` began, zombies left out: also those of a wrapper script, whose command line says nothing."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _in_session(path, leader)]


def _in_session(path: Path, leader: int) -> bool:
    try:
        fields = (path / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return fields[0] not in (b"Z", b"X") and int(fields[3]) == leader


def is_alive(pid: int) -> bool:
    """Return whether `pid` is a process that is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rindex(b")") + 2 :][:1] not in (b"Z", b"X")


def glance(leaders: Iterable[int]) -> dict[int, Glance]:
    """Return what the browsers use whose main processes are `leaders`, in one walk over /proc; one that is gone is left out.

    Helpers are found by the process session that each browser begins. Blocks for some milliseconds: call it in a thread.
    """
    found = dict.fromkeys(leaders, Glance(0.0, 0.0, 0))
    seen: set[int] = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - this loop runs over every process of the machine
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        leader = int(fields[3])
        if leader not in found or fields[0] in (b"Z", b"X"):
            continue
        seen.add(leader)
        so_far = found[leader]
        ticks = sum(int(field) for field in fields[11:15])
        found[leader] = Glance(
            so_far.rss_mb + int(fields[21]) * _PAGE_MB, so_far.cpu_s + ticks / _TICKS, so_far.processes + 1
        )
    return {leader: found[leader] for leader in seen}


def memory(pids: Iterable[int]) -> Memory:
    """Return the memory of `pids` together. Reads /proc for many milliseconds: call it in a thread."""
    total = dict.fromkeys((b"Rss", b"Pss", b"Private_Clean", b"Private_Dirty"), 0.0)
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, rest = line.partition(b":")
            if name in total:
                total[name] += int(rest.split()[0]) / 1024
    return Memory(rss=total[b"Rss"], pss=total[b"Pss"], uss=total[b"Private_Clean"] + total[b"Private_Dirty"])


async def end(pids: Callable[[], list[int]], by: float) -> list[int]:
    """Send SIGKILL to what `pids` names until it names nothing, at most until the monotonic instant `by`. Returns what is left."""
    # in a thread: /proc waits for a process that is busy with its memory, as a browser that starts is
    while left := await asyncio.to_thread(pids):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if monotonic() >= by:
            return left
        await asyncio.sleep(_POLL_S)
    return []


def adopt_orphans() -> None:
    """Make orphans below this process its children, so that they can be reaped and do not stay as zombies where nobody else reaps.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def reap_orphans(but: Iterable[int], seen_dead: Iterable[int]) -> set[int]:
    """Collect children that are dead since the last call at least, so that nobody else waits for their exit status.

    Args:
        but: children whose exit status somebody waits for. seen_dead: what the last call returned.
    Returns:
        The children that are dead now.
    """
    dead = {pid for pid in _children() - set(but) if not is_alive(pid)}
    for pid in dead.intersection(seen_dead):
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return dead


def _children() -> set[int]:
    found: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found.update(int(pid) for pid in file.read_bytes().split())
    return found


def _pids(belongs: Callable[[bytes], bool]) -> list[int]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - this loop runs over every process of the machine
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:  # noqa: PTH123 - as above
                line = file.read()
        except OSError:
            continue
        # a zombie's line is empty
        if line and belongs(line):
            found.append(int(name))
    return found


def _places(line: bytes, needle: bytes) -> Iterable[int]:
    at = line.find(needle)
    while at >= 0:
        yield at
        at = line.find(needle, at + 1)
