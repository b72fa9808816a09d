"""The lock of one slot: free only when the process that took it and every descendant that inherited the descriptor are
gone.

The file says who holds it (or held it last), in one record of fixed length, so that an orchestrator that finds the lock
held knows which process to adopt, and one that finds it free knows which incarnation's work to reclaim. The kernel, not
the record, decides whether it is held.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from shared.errors import SlotTaken
from shared.fail_points import ORCHESTRATOR
from shared.process import runtime

_RECORD_LENGTH: Final = 1024
"""Bytes of the record, padded: a shorter one overwrites a longer one completely, and one pwrite replaces it."""
_LONGEST_REASON: Final = 400
"""Characters of an exit reason, so that the record fits, also when JSON escapes some of them."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a slot."""

    pid: int | None
    """None: being started, the process is known only by its incarnation. Not 0, which kill(2) takes for the process
    group of its caller."""
    started: int
    """Start time in clock ticks after boot (field 22 of /proc/PID/stat): with it a pid cannot be mistaken for a later
    process's."""
    boot_id: str
    incarnation: str
    admin_port: int = 0
    public_port: int = 0
    exit_code: int | None = None
    """Exit code that the process recorded before it exited; None: it recorded none."""
    exit_reason: str = ""

    def is_running(self) -> bool:
        """Whether exactly this process, and not a later one with its pid, exists and is not a zombie."""
        return self.pid is not None and self.boot_id == boot_id() and process_start(self.pid) == self.started


def boot_id() -> str:
    """Return the kernel's name for this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def process_start(pid: int) -> int | None:
    """Return the start time of process `pid` in clock ticks after boot, or None when there is no such process or it is
    a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may contain spaces and brackets (proc(5)). Fields 3 (state) and 22 (start time) follow it.
    after_name = stat[stat.rindex(")") + 2 :].split()
    return None if after_name[0] in "ZX" else int(after_name[19])


def own_age_s() -> float:
    """Return for how many seconds this process has existed; in steps of a clock tick."""
    started = process_start(os.getpid())
    assert started is not None  # noqa: S101 - as below
    # CLOCK_BOOTTIME counts suspended time as the start time in /proc does; the monotonic clock does not.
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def holder_of_this_process(incarnation: str, *, admin_port: int = 0, public_port: int = 0) -> Holder:
    """Return the record that says: this process, this incarnation."""
    started = process_start(os.getpid())
    assert started is not None  # noqa: S101 - we are alive, so /proc lists us
    return Holder(
        pid=os.getpid(),
        started=started,
        boot_id=boot_id(),
        incarnation=incarnation,
        admin_port=admin_port,
        public_port=public_port,
    )


class SlotLock:
    """A held slot lock. Closing the last descriptor of it anywhere, by `close` or by death, frees the slot.

    Attributes:
        fd: the descriptor; hand it on to helper processes that must not outlive the slot unnoticed.
    """

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self.path = path

    @classmethod
    def take(cls, path: Path) -> SlotLock:
        """Take the lock at `path`. Raises `SlotTaken` at once, without waiting, when a process holds it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # flock and not fcntl's locks: it belongs to the open file description, so children inherit it, and it is
            # free only when the last descriptor is closed. Without it two processes of one slot could send the same
            # messages.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            holder = read_holder(path)
            known = (
                f"process {holder.pid}, incarnation {holder.incarnation}" if holder else "a process that left no name"
            )
            raise SlotTaken(f"{path} is held by {known}") from None
        # Also on KeyboardInterrupt: a descriptor that stays open would hold the lock for ever.
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, path)

    @classmethod
    def inherited(cls, fd: int, path: Path) -> SlotLock:
        """Return the lock that the parent took for us. Raises `SlotTaken` when `fd` is not a descriptor of `path`'s
        file or does not hold its lock."""
        try:
            ours, named = os.fstat(fd), path.stat()
        except OSError as problem:
            raise SlotTaken(f"descriptor {fd} does not hold {path}: {problem}") from None
        # SLOT_LOCK_FD comes from the environment: it may be any descriptor, or one of a file that was replaced.
        if (ours.st_dev, ours.st_ino) != (named.st_dev, named.st_ino):
            raise SlotTaken(f"descriptor {fd} is not {path}")
        try:
            # Succeeds only if this open file description holds the lock already (or nothing does): that is the proof.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SlotTaken(f"descriptor {fd} does not hold the lock of {path}") from None
        # Helpers get it explicitly (`pass_fds`); any other process that inherited it would keep the slot taken.
        os.set_inheritable(fd, False)
        return cls(fd, path)

    def write(self, holder: Holder) -> None:
        """Record the holder of the slot. One write of fixed length, so that a reader never sees half a record."""
        record = json.dumps(
            asdict(holder) | {"pid": holder.pid or 0, "exit_reason": holder.exit_reason[:_LONGEST_REASON]}
        )
        os.pwrite(self.fd, record.encode().ljust(_RECORD_LENGTH - 1) + b"\n", 0)

    def read(self) -> Holder | None:
        """Return the record in the file, or None when there is none."""
        return _parse(os.pread(self.fd, _RECORD_LENGTH, 0))

    def close(self) -> None:
        """Close this descriptor; the slot is free when no other process has inherited it. Closing twice does
        nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def read_holder(path: Path) -> Holder | None:
    """Return who holds the slot at `path` or held it last; None when no process ever did or the record is not
    readable."""
    try:
        return _parse(path.read_bytes()[:_RECORD_LENGTH])
    except FileNotFoundError:
        return None


def is_free(path: Path) -> bool:
    """Whether no process holds the lock at `path` at this moment."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        # Probes by taking it for a moment. A start that fails in that moment is retried (`Policy.occupied_s`).
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def kill_holder(home: Path, slot: str) -> None:
    """Kill -9 what lives in `slot`, with the helpers of its process group, or the orchestrator; only for crash points.
    No process there: nothing happens."""
    path = runtime.orchestrator_lock_file(home) if slot == ORCHESTRATOR else runtime.slot_lock_file(home, slot)
    holder = read_holder(path)
    if holder is None or holder.pid is None or not holder.is_running():
        return
    with suppress(ProcessLookupError):
        # A slot's process leads a session of its own; the orchestrator is in the session of the shell that started it.
        (os.kill if slot == ORCHESTRATOR else os.killpg)(holder.pid, signal.SIGKILL)


def _parse(record: bytes) -> Holder | None:
    try:
        # An empty file (created, not written yet) or one of another version: the kernel's lock counts, not the record.
        values: dict[str, Any] = json.loads(record)
        # in the file it is 0, as earlier versions read it
        return Holder(**{row.name: values[row.name] for row in fields(Holder)} | {"pid": values["pid"] or None})
    except (ValueError, KeyError, TypeError):
        return None
