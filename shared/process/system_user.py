"""A system user of its own for what must not run as root, and the folders that this user must be able to pass.

The user is made with `useradd` when it is missing; where that is not possible (no useradd, read-only /etc) the user
`nobody` serves, which every system has.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.errors import BulkheadError
from shared.logs import logger

_USERADD_S: Final = 30.0
"""Seconds; useradd waits for a lock on the user database that another program may hold."""

log = logger(__name__)


class SystemUserUnusable(BulkheadError):
    """Raised when there is no system user to run a program under, or it cannot reach what it needs; the message names
    the remedy."""


@dataclass(frozen=True)
class SystemUser:
    """A user of the operating system, with no other group than its own."""

    name: str
    uid: int
    gid: int


def _known(name: str) -> SystemUser | None:
    try:
        entry = pwd.getpwnam(name)
    # No such user: `pwd` has no other way to report it.
    except KeyError:
        return None
    return SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def system_user(name: str) -> SystemUser | None:
    """Return the user that a program must run under, made if need be; None when this process is not root and so runs it
    as itself.

    Blocks for up to 30 seconds the first time that a user is made.

    Raises:
        SystemUserUnusable: as root, when there is neither a user of this name nor `nobody`.
    """
    if os.geteuid() != 0:
        return None
    if user := _known(name):
        return user
    command = [
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--home-dir",
        "/nonexistent",
        "--shell",
        "/usr/sbin/nologin",
        name,
    ]
    try:
        made = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_USERADD_S, stdin=subprocess.DEVNULL
        )
        problem = made.stderr.strip()
    # No useradd, a read-only /etc: the fallbacks below decide.
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    # Two processes that make the user at once: one useradd fails, and the user is there all the same.
    if user := _known(name):
        log.info("system_user_created", name=name, uid=user.uid)
        return user
    # Shared with other programs that use it, so weaker, but still not root.
    if user := _known("nobody"):
        log.warning("system_user_shared", name=user.name, instead_of=name, problem=problem)
        return user
    raise SystemUserUnusable(
        f"as root a system user {name} is needed: {problem}. Make one ({' '.join(command)}) or run as another user"
    )


def as_user(user: SystemUser | None) -> dict[str, Any]:
    """Return the arguments of `subprocess` that drop every right but the user's."""
    return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}


def _passable(folder: os.stat_result, user: SystemUser) -> bool:
    # As the kernel decides: only the first class that applies counts, even if a later one would permit more.
    if folder.st_uid == user.uid:
        return bool(folder.st_mode & stat.S_IXUSR)
    if folder.st_gid == user.gid:
        return bool(folder.st_mode & stat.S_IXGRP)
    return bool(folder.st_mode & stat.S_IXOTH)


def open_way(target: Path, user: SystemUser, home: Path) -> None:
    """Let `user` pass every folder above `target`: search permission for others, nothing more, and only where it is
    missing.

    Args:
        target: file or folder that the user must reach.
        user: who must reach it.
        home: BULKHEAD_HOME; a folder changed outside of it is logged.
    Raises:
        SystemUserUnusable: when a folder cannot be opened.
    """
    # From the root downwards: a directory below one that cannot be passed cannot be reached either.
    for folder in reversed(target.resolve().parents):
        facts = folder.stat()
        if _passable(facts, user):
            continue
        mode = stat.S_IMODE(facts.st_mode) | stat.S_IXOTH
        try:
            folder.chmod(mode)
        except OSError as error:
            raise SystemUserUnusable(
                f"user {user.name} cannot pass {folder} on the way to {target}: {error}; run chmod o+x {folder}"
            ) from error
        if not folder.is_relative_to(home.resolve()):
            log.warning(
                "folder_made_searchable",
                folder=str(folder),
                mode_before=f"{stat.S_IMODE(facts.st_mode):04o}",
                mode_now=f"{mode:04o}",
            )


def give(folder: Path, user: SystemUser | None) -> None:
    """Make `folder` and all in it belong to `user`, if there is one and it does not already. Links are not followed."""
    if user is None or folder.lstat().st_uid == user.uid:
        return
    for below, _, files in os.walk(folder, topdown=False):
        for name in files:
            os.chown(Path(below, name), user.uid, user.gid, follow_symlinks=False)
        # The folder itself last: a walk that was interrupted is then repeated in full.
        os.chown(below, user.uid, user.gid, follow_symlinks=False)
