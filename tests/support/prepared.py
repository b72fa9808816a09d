"""A home whose embedded PostgreSQL is made and migrated: made once in a run of the suite, copied by all that need one.

initdb and every migration take longer than most tests; what they do has tests of its own, over homes that are empty.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg2
from psycopg2 import sql

from embedded import addresses, postgres
from shared.settings import Settings
from shared.store import migrate
from tests.support import volatile_postgres
from tests.support.entry import Entry

EMPTY_DATABASE: Final = "bulkhead_empty"
"""Name of a database without Bulkhead's tables, beside the migrated one."""
_SQL: Final = Path(__file__).parent
_NOT_COPIED: Final = ("run", "*.log")


def once(shared: Path) -> Path:
    """Return the prepared home.

    Args:
        shared: a directory that every worker of this run knows; the first one that asks makes the home in it.
    """
    made = shared / "prepared"
    with (shared / "prepared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            # a short path, since sockets live below it while the server runs
            fresh = Path(tempfile.mkdtemp(prefix="bh-"))
            _make(fresh)
            shutil.move(fresh, made)
    return made


def copy(prepared: Path, home: Path) -> None:
    """Put the prepared data and its password into an empty home."""
    shutil.copytree(prepared, home, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))


def allow_databases(cluster: postgres.Cluster) -> None:
    """Let the role make databases, as the suite does for its tests; the server must not be running."""
    cluster.alone(postgres.MAINTENANCE_DATABASE, _SQL / "allow_createdb.sql", role=addresses.ROLE)


def _make(home: Path) -> None:
    settings = Settings(bulkhead_home=home)
    cluster = postgres.open_cluster(settings, {"BULKHEAD_HOME": str(home)})
    allow_databases(cluster)
    password = addresses.postgres_password(settings)
    cluster.alone(postgres.MAINTENANCE_DATABASE, _SQL / "cheap_password.sql", role=addresses.ROLE, password=password)
    with Entry("postgres", home, module=volatile_postgres.__name__) as entry:
        entry.start().wait_ready()
        url = addresses.database_url(settings)
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                names = map(sql.Identifier, (EMPTY_DATABASE, addresses.DATABASE))
                cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        migrate.apply(url)
        assert entry.stop() == 0, entry.log.read_text()
    # an installation's role has no more rights than the product gives it
    cluster.alone(postgres.MAINTENANCE_DATABASE, _SQL / "forbid_createdb.sql", role=addresses.ROLE)
