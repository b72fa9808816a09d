"""A session's Chromium profile directory: made, checked for an owner, freed of a dead owner's lock, wiped.

As root Chromium runs under a system user of its own, and the profile belongs to that user. So nothing here trusts what
lies in a profile: no link in it is followed, and our own files for the session lie beside it. `BULKHEAD_HOME/sessions`
holds

    <connection id>/          the profile staged/<connection id>/   files of messages on their way to the page
    running/<connection id>   which process runs on the profile (`processes.Identity`) connects/<connection id>  when
    the session connected lately (`connects.Connects`)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from shared.errors import BulkheadError
from shared.process.system_user import SystemUser, give, open_way, system_user
from webdriver.chromium import processes

BROWSER_USER: Final = "bulkhead-browser"
"""System user that Chromium runs under when this process is root."""

_STAGED: Final = "staged"
_RUNNING: Final = "running"
_CONNECTS: Final = "connects"
# Chromium's names: the lock is a link to `<host>-<pid>`, the socket one to its directory in TMPDIR.
_LOCK: Final = "SingletonLock"
_SOCKET: Final = "SingletonSocket"
_COOKIE: Final = "SingletonCookie"
_LONGEST_ADDRESS: Final = 107
"""Bytes of a unix socket's path that the kernel accepts, without the closing NUL."""
_SOCKET_NAME: Final = len("/org.chromium.Chromium.XXXXXX/SingletonSocket")
"""Bytes that Chromium appends to TMPDIR for its socket."""


class ProfileTaken(BulkheadError):
    """Raised when a living process, or one that cannot be proved dead, owns a profile directory."""


def browser_user() -> SystemUser | None:
    """Return the user that Chromium runs under, None: as this process. Blocks when the user must be made.

    Raises:
        SystemUserUnusable: see `system_user`.
    """
    return system_user(BROWSER_USER)


def root(home: Path) -> Path:
    """Return the directory of all profiles."""
    return home / "sessions"


def directory(home: Path, connection_id: int) -> Path:
    """Return where the profile of a connection is kept."""
    return root(home) / str(connection_id)


def kept(home: Path) -> list[Path]:
    """Return the profiles that there are; whatever else lies beside them (`lost+found`) is not ours.

    Raises:
        OSError: the directory of all profiles cannot be read.
    """
    try:
        return sorted(path for path in root(home).iterdir() if path.name.isdecimal())
    except FileNotFoundError:
        return []


def living(home: Path) -> list[int]:
    """Return the processes of every browser that was started for this home and not released. Raises as `kept`."""
    return [pid for profile in kept(home) for pid in processes.pids_of_record(running(profile), profile)]


def staged(profile: Path) -> Path:
    """Return the directory of files for the page of a profile; it is made by `claim` and removed by `release`."""
    return profile.parent / _STAGED / profile.name


def running(profile: Path) -> Path:
    """Return the file that names the process on a profile."""
    return profile.parent / _RUNNING / profile.name


def connects(profile: Path) -> Path:
    """Return the file with the latest connects of the session of a profile."""
    return profile.parent / _CONNECTS / profile.name


def claim(profile: Path, user: SystemUser | None, *, holds_slot_lock: bool) -> bool:
    """Make the directories if needed and remove what a dead owner left. Returns whether it left a lock. Blocks.

    Args:
        user: the user that Chromium runs under; the profile becomes its own. None: this process's.
        holds_slot_lock: we hold the slot's lock, which every Chromium of an earlier life held too: then an owner under
            another host name (the container was made anew) is dead as well.
    Raises:
        ProfileTaken: the owner lives, or nothing proves that it does not.
        SystemUserUnusable: the user cannot reach the profile. OSError: the directory cannot be made or changed.
    """
    for shared_by_all in (profile.parent, staged(profile).parent):
        shared_by_all.mkdir(mode=0o700, parents=True, exist_ok=True)
        # the browsers' user may pass, and list nothing
        shared_by_all.chmod(0o711 if user else 0o700)
    # the browser's user has no way into this one: a record that it could write would name any process
    running(profile).parent.mkdir(mode=0o700, exist_ok=True)
    profile.mkdir(mode=0o700, exist_ok=True)
    # before anything is removed: two Chromiums on one profile corrupt it
    if users := processes.pids_of_record(running(profile), profile):
        raise ProfileTaken(f"the profile is in use by process {users[0]}")
    was_locked = _check_lock(profile, holds_slot_lock=holds_slot_lock)
    release(profile)
    if user:
        open_way(profile, user, profile.parent.parent)
        give(profile, user)
    # both fail if another user made them: the owner could pose as our browser, or exchange files for the page
    for ours in (temporary(profile), staged(profile)):
        ours.mkdir(mode=0o711 if user and ours == staged(profile) else 0o700)
    if user:
        os.chown(temporary(profile), user.uid, user.gid, follow_symlinks=False)
    return was_locked


def temporary(profile: Path) -> Path:
    """Return the directory for the temporary files of a profile's Chromium; `claim` makes, `release` removes it.

    It lies in the profile, unless the path of Chromium's socket would then be too long for the kernel.
    """
    beside = profile / "tmp"
    if len(os.fsencode(beside)) + _SOCKET_NAME <= _LONGEST_ADDRESS:
        return beside
    # with our uid: the directory is shared by all users, and each installation has its own hash
    name = hashlib.blake2s(os.fsencode(profile), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"bulkhead-{os.geteuid()}-{name}"


def release(profile: Path) -> None:
    """Remove the lock, the staged and the temporary files of an owner that is known to be gone. Raises `OSError`."""
    for path in (temporary(profile), staged(profile), *(profile / name for name in (_LOCK, _SOCKET, _COOKIE))):
        _remove(path)
    # last: until the lock is gone, the record shows whose it was
    running(profile).unlink(missing_ok=True)


def wipe(profile: Path) -> None:
    """Remove the directory and all that is kept of the session; the link to the phone goes with it.

    Blocks. Raises `OSError`.
    """
    release(profile)
    _remove(profile)
    # last: interrupted before this line, there is a count without a link, never a link without its count
    _remove(connects(profile))


def open_staged(path: Path) -> BinaryIO:
    """Make a file for a page, which the browser's user alone may read, and open it for writing.

    Blocks. Raises `OSError`.
    """
    user = browser_user()
    # O_EXCL follows no link and takes no file that is there already
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    if user:
        # by the descriptor: a path could lead elsewhere by now
        os.fchown(descriptor, user.uid, user.gid)
    return os.fdopen(descriptor, "wb")


def _remove(path: Path) -> None:
    """Remove a file, a link or a directory; links are not followed (`rmtree` opens each directory by its parent)."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()


def _check_lock(profile: Path, *, holds_slot_lock: bool) -> bool:
    """Return whether a dead owner left its lock; raise `ProfileTaken` if the owner may be alive."""
    lock = profile / _LOCK
    if not lock.is_symlink():
        # Chromium's lock is a link; a plain file (from a copy that followed links) locks nothing
        return lock.exists()
    host, _, pid = str(lock.readlink()).rpartition("-")
    if host != socket.gethostname():
        if not holds_slot_lock:
            raise ProfileTaken(
                f"the profile was locked on host {host!r}, and without the slot's lock nothing proves "
                "that its owner is gone"
            )
    elif pid.isdigit() and processes.is_browser_of(int(pid), profile):
        # any other process with this number is a stranger that was started after the owner's death
        raise ProfileTaken(f"the profile is locked by process {pid}")
    return True
