"""The system user that PostgreSQL runs under when Bulkhead itself runs as root, and the folders that user must be able to pass.

PostgreSQL refuses to run as root, and initdb refuses a user id without an entry in the user database. So: the user `bulkhead-postgres`, made
with `useradd` when it is missing; where that is not possible (no useradd, read-only /etc) the user `nobody`, which every system has.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedded.failure import ServerUnusable
from shared.logs import logger

NAME: Final = "bulkhead-postgres"

log = logger(__name__)


@dataclass(frozen=True)
class Account:
    """A system user that a server runs under, with no other group than its own."""

    name: str
    uid: int
    gid: int


def _known(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def server_account() -> Account | None:
    """Return the user that PostgreSQL must run under, made if need be; None when this process is not root and so runs it as itself.

    Raises:
        ServerUnusable: as root, when there is neither `bulkhead-postgres` nor `nobody`.
    """
    if os.geteuid() != 0:
        return None
    if account := _known(NAME):
        return account
    command = [
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--home-dir",
        "/nonexistent",
        "--shell",
        "/usr/sbin/nologin",
        NAME,
    ]
    try:
        made = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
        )
        problem = made.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    # Two copies that make the user at once: one useradd fails, and the user is there all the same.
    if account := _known(NAME):
        log.info("server_account_created", name=NAME, uid=account.uid)
        return account
    if account := _known("nobody"):
        log.warning("server_account_shared", name=account.name, problem=problem)
        return account
    raise ServerUnusable(
        f"as root PostgreSQL needs a system user: {problem}. Make one ({' '.join(command)}), run as another user, or set DATABASE_URL"
    )


def _passable(folder: os.stat_result, account: Account) -> bool:
    if folder.st_uid == account.uid:
        return bool(folder.st_mode & stat.S_IXUSR)
    if folder.st_gid == account.gid:
        return bool(folder.st_mode & stat.S_IXGRP)
    return bool(folder.st_mode & stat.S_IXOTH)


def open_way(target: Path, account: Account, home: Path) -> None:
    """Let `account` pass every folder above `target`: search permission for others, nothing more, and only where it is missing.

    Args:
        target: file or folder that the server must reach.
        account: the user that must reach it.
        home: BULKHEAD_HOME; a folder changed outside of it is logged.
    Raises:
        ServerUnusable: when a folder cannot be opened.
    """
    for folder in reversed(target.resolve().parents):
        facts = folder.stat()
        if _passable(facts, account):
            continue
        wanted = stat.S_IMODE(facts.st_mode) | stat.S_IXOTH
        try:
            folder.chmod(wanted)
        except OSError as error:
            raise ServerUnusable(
                f"user {account.name} cannot pass {folder} on the way to {target}: {error}; run chmod o+x {folder}"
            ) from error
        if not folder.is_relative_to(home.resolve()):
            log.warning(
                "folder_made_searchable",
                folder=str(folder),
                mode_before=f"{stat.S_IMODE(facts.st_mode):04o}",
                mode_now=f"{wanted:04o}",
            )


def give(folder: Path, account: Account | None) -> None:
    """Make `folder` and all in it belong to `account`, if there is one and it does not already. Links are not followed."""
    if account is None or folder.lstat().st_uid == account.uid:
        return
    for below, _, files in os.walk(folder, topdown=False):
        for name in files:
            os.chown(Path(below, name), account.uid, account.gid, follow_symlinks=False)
        # The folder itself last: a walk that was interrupted is then repeated in full.
        os.chown(below, account.uid, account.gid, follow_symlinks=False)
