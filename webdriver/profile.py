"""A session's Chromium profile directory: made, checked for an owner, freed of a dead owner's lock, wiped."""

from __future__ import annotations

import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from shared.errors import BulkheadError
from webdriver.processes import is_alive, pids_of_profile

_LOCK: Final = "SingletonLock"
_SOCKET: Final = "SingletonSocket"
_COOKIE: Final = "SingletonCookie"


class ProfileTaken(BulkheadError):
    """Raised when a living process, or one that cannot be proved dead, owns a profile directory."""


def root(home: Path) -> Path:
    """Return the directory of all profiles."""
    return home / "sessions"


def directory(home: Path, connection_id: int) -> Path:
    """Return where the profile of a connection is kept."""
    return root(home) / str(connection_id)


def kept(home: Path) -> list[Path]:
    """Return the profiles that there are."""
    return sorted(path for path in root(home).glob("*") if path.is_dir())


def claim(profile: Path, *, holds_slot_lock: bool) -> bool:
    """Make the directory if needed and remove a dead owner's lock. Returns whether there was one.

    Args:
        holds_slot_lock: we hold the slot's lock, which every Chromium of an earlier life held too: then an owner under another host name
            (the container was made anew) is dead as well.
    Raises:
        ProfileTaken: the owner lives, or nothing proves that it does not.
        OSError: the directory cannot be made or changed.
    """
    profile.mkdir(mode=0o700, parents=True, exist_ok=True)
    if users := pids_of_profile(profile):
        raise ProfileTaken(f"the profile is in use by process {users[0]}")
    try:
        host, _, pid = str((profile / _LOCK).readlink()).rpartition("-")
    except FileNotFoundError:
        return False
    if host != socket.gethostname() and not holds_slot_lock:
        raise ProfileTaken(f"the profile was locked on host {host!r}, and without the slot's lock nothing proves that its owner is gone")
    # an owner on this host that lives is a stranger with a dead owner's number: Chromium's own processes were looked for above
    if host == socket.gethostname() and pid.isdigit() and is_alive(int(pid)) and _is_chromium(int(pid)):
        raise ProfileTaken(f"the profile is locked by process {pid}")
    release(profile)
    return True


def socket_directory(profile: Path) -> Path | None:
    """Return the directory among the system's temporary files that Chromium made for its socket, None when no profile lock names one."""
    try:
        named = (profile / _SOCKET).readlink().parent
    except OSError:
        return None
    return named if "org.chromium." in named.name else None


def release(profile: Path, sockets: Path | None = None) -> None:
    """Remove the lock and the socket of an owner that is known to be gone.

    Args:
        sockets: its socket directory, if that was noted: an owner killed while it closed may have removed what names it.
    """
    for directory in filter(None, (sockets, socket_directory(profile))):
        shutil.rmtree(directory, ignore_errors=True)
    for name in (_LOCK, _SOCKET, _COOKIE):
        (profile / name).unlink(missing_ok=True)


def wipe(profile: Path) -> None:
    """Remove the directory and everything in it; the link to the phone goes with it. Blocks: call it in a thread."""
    with suppress(FileNotFoundError):
        shutil.rmtree(profile)


def _is_chromium(pid: int) -> bool:
    try:
        return b"--user-data-dir=" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
