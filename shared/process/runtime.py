"""Where the processes of one home meet: its sockets, locks and small files, by name.

Files live in `BULKHEAD_HOME/run`. Sockets live there too unless the path would be too long for a unix socket address;
then they live in a private directory under the system's temporary directory whose name follows from the home's path, so
that every process finds the same one.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from shared.errors import BulkheadError

_LONGEST_ADDRESS: Final = 107
"""Bytes of a unix socket's path that the kernel takes, without the closing NUL."""
_ROOM_FOR_NAME: Final = 28
"""Bytes kept free for the longest name below the directory (`postgres/.s.PGSQL.5432`, `webdriver-0.sock`)."""

METRICS_SUFFIX: Final = ".metrics.json"
"""End of the names of files with figures of processes."""


class RuntimeDirectoryUnsafe(BulkheadError):
    """Raised when the directory for sockets belongs to another user or is not a directory: the process that owns it
    could pose as us."""


def run_dir(home: Path) -> Path:
    """Return the directory of locks, journal and status file, `home/run`, made if it is missing."""
    return _private(home.absolute() / "run")


def runtime_dir(home: Path) -> Path:
    """Return the directory of unix sockets, made if it is missing.

    Raises:
        RuntimeDirectoryUnsafe: another user owns it, or it is a link or a file.
    """
    return _private(socket_dir(home))


def socket_dir(home: Path) -> Path:
    """Return where the directory of unix sockets is; makes nothing.

    It is `home/run` when socket names below it stay short enough, else a directory under the system's temporary
    directory.
    """
    beside = home.absolute() / "run"
    if len(os.fsencode(beside)) + _ROOM_FOR_NAME <= _LONGEST_ADDRESS:
        return beside
    # 64 bits of digest keep the homes of one machine apart. The user's id in the name keeps two users of one home's
    # path from meeting.
    name = hashlib.blake2s(os.fsencode(home.absolute()), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"bulkhead-{os.getuid()}-{name}"


def notify_socket(home: Path) -> Path:
    """Return the orchestrator's datagram socket, at a fixed path, so that children reach the next orchestrator without
    being notified.
    """
    return runtime_dir(home) / "notify.sock"


def control_socket(home: Path) -> Path:
    """Return the orchestrator's stream socket for operators' commands."""
    return runtime_dir(home) / "control.sock"


def slot_socket(home: Path, slot: str) -> Path:
    """Return the datagram socket of the child in `slot`."""
    return runtime_dir(home) / f"{slot}.sock"


def redis_socket(home: Path) -> Path:
    """Return the embedded Redis server's socket; makes nothing, since clients ask for its address too."""
    return socket_dir(home) / "redis.sock"


def slot_lock_file(home: Path, slot: str) -> Path:
    """Return the file whose lock says that `slot` is taken."""
    return run_dir(home) / f"{slot}.lock"


def orchestrator_lock_file(home: Path) -> Path:
    """Return the file whose lock says that an orchestrator runs over this home."""
    return run_dir(home) / "orchestrator.lock"


def status_file(home: Path) -> Path:
    """Return the orchestrator's snapshot of all slots."""
    return run_dir(home) / "status.json"


def metrics_file(home: Path, slot: str) -> Path:
    """Return the figures of the process in `slot`."""
    return run_dir(home) / f"{slot}{METRICS_SUFFIX}"


def events_file(home: Path) -> Path:
    """Return the current segment of the orchestrator's journal."""
    return run_dir(home) / "events.jsonl"


def desired_kinds_file(home: Path) -> Path:
    """Return the file with the recorder's last report of which kinds are needed."""
    return run_dir(home) / "desired_kinds.json"


def helper_sockets(home: Path) -> Iterator[Path]:
    """Yield the socket files that helpers of our processes (browsers) made; they keep theirs below `home/sessions`."""
    for directory, _, names in os.walk(home / "sessions"):
        for name in names:
            path = Path(directory, name)
            try:
                is_socket = stat.S_ISSOCK(path.lstat().st_mode)
            except FileNotFoundError:
                continue  # removed between listing and reading
            if is_socket:
                yield path


def _private(directory: Path) -> Path:
    """Make `directory` ours alone. Search permission for others is left if a process gave it (PostgreSQL under its own
    user needs it)."""
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    # lstat: in a directory that anyone may write (/tmp), a link by another user must not be followed.
    facts = directory.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise RuntimeDirectoryUnsafe(
            f"{directory} belongs to user {facts.st_uid} or is no directory; remove it or choose another BULKHEAD_HOME"
        )
    # Read and write permissions for others are removed; search permission (0o011) stays where it was granted.
    if facts.st_mode & 0o066:
        directory.chmod(stat.S_IMODE(facts.st_mode) & 0o711)
    return directory


def sweep(home: Path) -> None:
    """After a stop: remove the snapshot and the sockets of a home; what must survive (locks with last words, journal)
    stays."""
    status_file(home).unlink(missing_ok=True)
    for figures in run_dir(home).glob(f"*{METRICS_SUFFIX}"):
        figures.unlink(missing_ok=True)
    for socket_file in helper_sockets(home):
        # a helper that was killed could not remove its own, and no next life of its slot will
        socket_file.unlink(missing_ok=True)
    directory = runtime_dir(home)
    # Only the directory below the temporary one is removed; `home/run` holds the journal.
    if not directory.is_relative_to(home):
        with suppress(OSError):  # not empty: another's socket is still there
            directory.rmdir()
