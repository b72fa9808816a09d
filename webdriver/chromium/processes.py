"""Chromium's processes as /proc shows them: which are ours, whether they live, what they use; and how to end them.

Every Chromium leads a process session that it begins, and its helpers stay in it when it dies. So a browser is known by
its main process: pid, start time and boot. No other process can enter that session, whatever its arguments name; a
command line alone is no proof of ownership.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from shared.clock import monotonic
from shared.logs import logger

log = logger(__name__)

MARKER: Final = "--bulkhead-session="
"""Begins an argument that Chromium ignores, as every one that it does not know; shows operators whose browser it is."""
_PR_SET_CHILD_SUBREAPER: Final = 36
"""Of linux/prctl.h."""
_POLL_S: Final = 0.02
"""Between two reads of /proc while processes end: they take milliseconds."""
# /proc counts memory in pages and time in ticks
_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / 2**20
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_DEAD: Final = (b"Z", b"X")
"""States of a zombie and of a process that is being removed (proc(5)): neither runs, and neither holds a lock."""
_STATE, _SESSION, _STARTED = 0, 3, 19
"""Fields of /proc/<pid>/stat, counted from the one behind the process's name."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The main process of one Chromium, distinguished from any other process that ever had its number.

    Attributes:
        pid: leads the browser's process session. started: its start in clock ticks since the boot. boot: the kernel's
            id of that boot.
    """

    pid: int
    started: int
    boot: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What a browser uses, cheap to read: megabytes (shared pages count for each process), CPU seconds, processes."""

    rss_mb: float
    cpu_s: float
    processes: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a browser in megabytes, slow to read: RSS, PSS (shared pages divided), USS (free without it)."""

    rss: float
    pss: float
    uss: float


def mark(home: Path, connection_id: int) -> str:
    """Return the argument that names the installation and the connection of a Chromium."""
    return f"{MARKER}{_installation(home)}/{connection_id}"


def _installation(home: Path) -> str:
    return hashlib.blake2s(str(home).encode(), digest_size=6, person=b"bulkhead").hexdigest()


def identify(pid: int) -> Identity:
    """Return the identity of a process that was just started. Raises `ProcessLookupError` when it is gone already."""
    if (fields := _stat(pid)) is None:
        raise ProcessLookupError(f"process {pid} is gone")
    return Identity(pid, int(fields[_STARTED]), _boot())


def record(identity: Identity, file: Path) -> None:
    """Record an identity for the next life of this process."""
    file.write_text(json.dumps(asdict(identity)), encoding="ascii")


def pids_of(identity: Identity) -> list[int]:
    """Return the living processes of a browser whose main process was not reaped: its number is not used again yet."""
    leader = _stat(identity.pid)
    if leader is None or int(leader[_STARTED]) != identity.started:
        return []
    return pids_of_session(identity.pid)


def pids_of_record(file: Path, profile: Path) -> list[int]:
    """Return the living processes of a browser that an earlier life of this process recorded.

    A main process that is gone may have been reaped, and its number used again: then only processes that name the
    profile count.
    """
    try:
        identity = Identity(**json.loads(file.read_text(encoding="ascii")))
    except FileNotFoundError:
        return []
    # cut short, or of another version: Chromium's own lock in the profile is checked besides (`profile.claim`)
    except (OSError, ValueError, TypeError) as error:
        log.warning("browser_record_unreadable", file=file.name, reason=type(error).__name__)
        return []
    # no process outlives a boot, and start times count from it
    if identity.boot != _boot():
        return []
    if (leader := _stat(identity.pid)) is not None:
        return pids_of_session(identity.pid) if int(leader[_STARTED]) == identity.started else []
    return [pid for pid in pids_of_session(identity.pid) if _names(pid, profile)]


def is_browser_of(pid: int, profile: Path) -> bool:
    """Return whether `pid` is a living process whose command line is that of a Chromium on this profile."""
    return is_alive(pid) and _names(pid, profile)


def has_argument(pid: int, argument: str) -> bool:
    """Return whether a process was started with exactly this argument."""
    try:
        return argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _names(pid: int, profile: Path) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    # a renderer's title joins its arguments by blanks
    argument = b"--user-data-dir=" + os.fsencode(profile)
    # whole: the profile `…/1` must not be found in `…/12`
    return any(line[at + len(argument) :][:1] in (b"", b"\0", b" ") for at in _places(line, argument))


def pids_of_session(leader: int) -> list[int]:
    """Return the processes of the session that `leader` began, zombies left out."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - this loop runs over every process of the machine
        fields = _stat(int(name)) if name.isdigit() else None
        if fields is not None and int(fields[_SESSION]) == leader and fields[_STATE] not in _DEAD:
            found.append(int(name))
    return found


def _stat(pid: int) -> list[bytes] | None:
    """Return the fields of /proc/<pid>/stat behind the process's name, None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - called for every process of the machine
            # the name may itself contain blanks and parentheses; the last one ends it
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def is_alive(pid: int) -> bool:
    """Return whether `pid` is a process that is not a zombie."""
    fields = _stat(pid)
    return fields is not None and fields[_STATE] not in _DEAD


def sample(leaders: Iterable[int]) -> dict[int, Sample]:
    """Return what the browsers of the main processes `leaders` use, in one walk over /proc; dead ones are left out.

    Helpers are found by the process session that each browser begins. Blocks for some milliseconds: call it in a
    thread.
    """
    found = dict.fromkeys(leaders, Sample(0.0, 0.0, 0))
    seen: set[int] = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - this loop runs over every process of the machine
        fields = _stat(int(name)) if name.isdigit() else None
        if fields is None or (leader := int(fields[_SESSION])) not in found or fields[_STATE] in _DEAD:
            continue
        seen.add(leader)
        so_far = found[leader]
        # user and system time, its own and that of the children that it has reaped (proc(5))
        ticks = sum(int(field) for field in fields[11:15])
        found[leader] = Sample(
            so_far.rss_mb + int(fields[21]) * _PAGE_MB, so_far.cpu_s + ticks / _TICKS, so_far.processes + 1
        )
    return {leader: found[leader] for leader in seen}


def memory(pids: Iterable[int]) -> Memory:
    """Return the memory of `pids` together. Reads /proc for many milliseconds: call it in a thread.

    Where the kernel hides another user's `smaps_rollup` (from root in a container without CAP_SYS_PTRACE), shared pages
    are counted once, for the process that has most of them: a little more than the proportional size.
    """
    total = dict.fromkeys((b"Rss", b"Pss", b"Private_Clean", b"Private_Dirty"), 0.0)
    unseen: list[tuple[float, float]] = []
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines()
        except PermissionError:
            unseen.extend(_resident(pid))
            continue
        except OSError:
            continue
        for line in lines:
            name, _, rest = line.partition(b":")
            if name in total:
                total[name] += int(rest.split()[0]) / 1024
    private = sum(resident - shared for resident, shared in unseen)
    return Memory(
        rss=total[b"Rss"] + sum(resident for resident, _ in unseen),
        pss=total[b"Pss"] + private + max((shared for _, shared in unseen), default=0.0),
        uss=total[b"Private_Clean"] + total[b"Private_Dirty"] + private,
    )


def _resident(pid: int) -> list[tuple[float, float]]:
    """Return [(resident, shared)] of a process in megabytes, which every user may read; [] when it is gone."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
    return [(int(resident) * _PAGE_MB, int(shared) * _PAGE_MB)]


async def end(pids: Callable[[], list[int]], by: float) -> list[int]:
    """Send SIGKILL to what `pids` names until it names nothing, at most until the monotonic instant `by`.

    Returns what is left.
    """
    # in a thread: /proc waits for a process that is busy with its memory, as a browser that starts is
    # again and again: a browser may fork while the list is read
    while left := await asyncio.to_thread(pids):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if monotonic() >= by:
            return left
        await asyncio.sleep(_POLL_S)
    return []


def adopt_orphans() -> None:
    """Make orphans below this process its children, which it reaps: pid 1 of a container often does not.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def reap_orphans(but: Iterable[int], seen_dead: Iterable[int]) -> set[int]:
    """Collect children that are dead since the last call at least, so that no other code waits for their exit status.

    Args:
        but: children whose exit status other code collects. seen_dead: what the last call returned.
    Returns:
        The children that are dead now.
    """
    # one round later than seen: code that waits for its own child (npm, a subprocess of asyncio) collects it first
    dead = {pid for pid in _children() - set(but) if not is_alive(pid)}
    for pid in dead.intersection(seen_dead):
        # collected by other code in the meantime
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return dead


def _children() -> set[int]:
    found: set[int] = set()
    # the kernel lists children by the thread that forked them
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found.update(int(pid) for pid in file.read_bytes().split())
    return found


def _places(line: bytes, needle: bytes) -> Iterable[int]:
    at = line.find(needle)
    while at >= 0:
        yield at
        at = line.find(needle, at + 1)
