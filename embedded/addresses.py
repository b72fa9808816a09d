"""Where the embedded servers listen and the password that opens PostgreSQL: one place for the wrappers and for who
starts them.

The orchestrator calls this to fill in `DATABASE_URL` and `REDIS_URL` for its children; it may do so before the servers
were ever started.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final
from urllib.parse import quote

from shared.errors import SettingsInvalid
from shared.process.runtime import redis_socket, runtime_dir
from shared.settings import Settings

DATABASE: Final = "bulkhead"
ROLE: Final = "bulkhead"


def postgres_socket_dir(settings: Settings) -> Path:
    """Return the folder of PostgreSQL's socket: one of its own, because as root it belongs to the server's system
    user."""
    return runtime_dir(settings.bulkhead_home) / "postgres"


def postgres_password(settings: Settings) -> str:
    """Return the password of the role `bulkhead`; made at the first call and kept in BULKHEAD_HOME/postgres_password,
    mode 0600.

    Two processes that make it at once agree: the first file in place wins.
    """
    kept = settings.path("postgres_password")
    if not kept.exists():
        settings.bulkhead_home.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = settings.path(f"postgres_password.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, kept)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    password = kept.read_text().strip()
    if not password:
        raise SettingsInvalid([f"{kept} is empty; remove it: a new password is then made and given to the server"])
    return password


def is_prepared(settings: Settings) -> bool:
    """Whether `database_url` is known without making anything: the password exists."""
    return settings.path("postgres_password").exists()


def database_url(settings: Settings) -> str:
    """Return the address of the embedded PostgreSQL, with the password in it."""
    return f"postgresql://{ROLE}:{postgres_password(settings)}@/{DATABASE}?host={quote(str(postgres_socket_dir(settings)), safe='')}"


def redis_url(settings: Settings) -> str:
    """Return the address of the embedded Redis."""
    return f"unix://{quote(str(redis_socket(settings.bulkhead_home)))}?db=0"
