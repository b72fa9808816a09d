"""A session's Chromium profile directory: made, checked for an owner, freed of a dead owner's lock, wiped."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from shared.errors import BulkheadError
from webdriver.processes import is_alive, pids_of_profile

_LOCK: Final = "SingletonLock"
_SOCKET: Final = "SingletonSocket"
_COOKIE: Final = "SingletonCookie"
_LONGEST_ADDRESS: Final = 107
_SOCKET_NAME: Final = len("/org.chromium.Chromium.XXXXXX/SingletonSocket")


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
    """Make the directories if needed and remove what a dead owner left. Returns whether it left a lock.

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
    was_locked = _check_lock(profile, holds_slot_lock=holds_slot_lock)
    release(profile)
    # fails if somebody else made it: whoever owns it could pose as our browser
    temporary(profile).mkdir(mode=0o700)
    return was_locked


def temporary(profile: Path) -> Path:
    """Return the directory for the temporary files of a profile's Chromium; it is made by `claim` and removed by `release`.

    It lies in the profile, unless the path of Chromium's socket would then be too long for the kernel.
    """
    beside = profile / "tmp"
    if len(os.fsencode(beside)) + _SOCKET_NAME <= _LONGEST_ADDRESS:
        return beside
    name = hashlib.blake2s(os.fsencode(profile), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"bulkhead-{os.geteuid()}-{name}"


def release(profile: Path) -> None:
    """Remove the lock and the temporary files of an owner that is known to be gone."""
    shutil.rmtree(temporary(profile), ignore_errors=True)
    for name in (_LOCK, _SOCKET, _COOKIE):
        (profile / name).unlink(missing_ok=True)


def wipe(profile: Path) -> None:
    """Remove the directory and everything in it; the link to the phone goes with it. Blocks: call it in a thread."""
    with suppress(FileNotFoundError):
        shutil.rmtree(profile)


def _check_lock(profile: Path, *, holds_slot_lock: bool) -> bool:
    """Return whether a dead owner left its lock; raise `ProfileTaken` if the owner may be alive."""
    try:
        host, _, pid = str((profile / _LOCK).readlink()).rpartition("-")
    except FileNotFoundError:
        return False
    if host != socket.gethostname():
        if not holds_slot_lock:
            raise ProfileTaken(
                f"the profile was locked on host {host!r}, and without the slot's lock nothing proves that its owner is gone"
            )
    elif pid.isdigit() and is_alive(int(pid)) and _is_chromium(int(pid)):
        # a process with this number that is no Chromium is a stranger: those on this profile were looked for before
        raise ProfileTaken(f"the profile is locked by process {pid}")
    return True


def _is_chromium(pid: int) -> bool:
    try:
        return b"--user-data-dir=" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
