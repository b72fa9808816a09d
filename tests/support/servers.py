"""PostgreSQL and Redis for the whole suite: the embedded ones, started once by their own entry files, or external ones
named by the environment.

`TEST_DATABASE_URL` (a role with CREATEDB and CREATEROLE) and `TEST_REDIS_URL` (a database that may be flushed) name
external servers. What cannot be reached fails the tests that need it. Each worker of a parallel run has servers of its
own; of an external Redis each uses another numbered database.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import redis
from psycopg2 import errors, sql

from embedded import addresses, postgres
from shared.settings import Settings
from shared.store import migrate
from tests.support import environment, prepared, volatile_postgres
from tests.support.database import Kept, keeping
from tests.support.entry import Entry
from tests.support.waiting import eventually

_numbers = itertools.count()


def of_this_worker(redis_url: str) -> str:
    """Return the address of the database that this worker may flush: the named one for the first, the next one for the
    second, and so on."""
    parts = urlsplit(redis_url)
    number = int(parts.path.strip("/") or 0) + environment.worker().number
    return parts._replace(path=f"/{number}").geturl()


def beside(redis_url: str) -> str:
    """Return the address of another database on the same server, which no worker has as its first."""
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return f"{redis_url.removesuffix(parts.query)}db=1"
    return parts._replace(path=f"/{int(parts.path.strip('/') or 0) + environment.worker().workers}").geturl()


def _at(server_url: str, database: str) -> str:
    return urlsplit(server_url)._replace(path=f"/{database}").geturl()


class Servers:
    """The suite's two servers; each starts when it is first asked for.

    Args:
        prepared_home: returns a home to copy PostgreSQL's data from, see `prepared`; None: it is made anew, and
            `addresses.DATABASE` has no tables.
        durable: whether PostgreSQL's commits wait for the disk, as the product's do.
    """

    def __init__(self, prepared_home: Callable[[], Path] | None = None, *, durable: bool = False) -> None:
        self._prepared_home, self._durable = prepared_home, durable
        # Short, since sockets live below it.
        self.home = Path(tempfile.mkdtemp(prefix="bh-"))
        self._open = ExitStack()
        self._open.callback(shutil.rmtree, self.home)
        self._admin = Kept()
        self._open.callback(self._admin.close)
        self._run = f"t{os.getpid()}"
        self._entries: list[Entry] = []

    @property
    def roots(self) -> set[int]:
        """The processes that all others descend from."""
        return {entry.process.pid for entry in self._entries}

    @property
    def members(self) -> set[int]:
        """Processes that belong to the suite and not to a test."""
        return set().union(*({entry.process.pid, *entry.descendants()} for entry in self._entries))

    def _run_entry(self, kind: str, module: str = "") -> None:
        entry = Entry(kind, self.home, module=module)
        self._open.callback(entry.close)
        self._entries.append(entry.start())
        entry.wait_ready()
        self._open.callback(self._stop, entry)

    @staticmethod
    def _stop(entry: Entry) -> None:
        code = entry.stop()
        assert code == 0, f"{entry.kind} left with {code}:\n{entry.log.read_text()}"

    @cached_property
    def database_server_url(self) -> str:
        """Address of a database on the server, with a role that may make others."""
        url = os.environ.get("TEST_DATABASE_URL") or self._start_database_server()
        self._open.enter_context(keeping(url))
        return url

    def _start_database_server(self) -> str:
        if self._prepared_home:
            prepared.copy(self._prepared_home(), self.home)
        settings = Settings(bulkhead_home=self.home)
        prepared.allow_databases(postgres.open_cluster(settings, {"BULKHEAD_HOME": str(self.home)}))
        self._run_entry("postgres", "" if self._durable else volatile_postgres.__name__)
        # none that is copied: while a connection to it is open, no other one can make the copy
        return _at(addresses.database_url(settings), postgres.MAINTENANCE_DATABASE)

    @cached_property
    def redis_server_url(self) -> str:
        """Address of the Redis server."""
        if external := os.environ.get("TEST_REDIS_URL"):
            return of_this_worker(external)
        self._run_entry("redis")
        return addresses.redis_url(Settings(bulkhead_home=self.home))

    @cached_property
    def _templates(self) -> tuple[str, str]:
        """Names of a migrated database and of one without Bulkhead's tables, to be copied."""
        external = os.environ.get("TEST_DATABASE_URL")
        if self._prepared_home and not external:
            _ = self.database_server_url  # copies both
            return addresses.DATABASE, prepared.EMPTY_DATABASE
        given = urlsplit(external).path.lstrip("/") if external else addresses.DATABASE
        migrated, empty = f"{self._run}_migrated", f"{self._run}_empty"
        for name in (migrated, empty):
            self._administer("CREATE DATABASE {} TEMPLATE {}", name, given)
            self._open.callback(self.drop_database, name)
        migrate.apply(self.url_of(migrated))
        return migrated, empty

    def new_database(self, *, migrated: bool = True) -> tuple[str, str]:
        """Make a database and return its name and address.

        Args:
            migrated: with Bulkhead's tables; otherwise empty.
        """
        name = f"{self._run}_{next(_numbers)}"
        template = self._templates[not migrated]
        # half a dozen times faster than the default, which writes a copy of every page into the log
        self._administer("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, template)
        return name, self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Remove a database that `new_database` made, ending who is still connected."""

        def dropped() -> bool:
            self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
            return True

        # the server's own vacuum may be in it for a moment, and only a superuser may end that
        eventually(
            dropped, 20, f"database {name} is dropped", ignoring=(errors.InsufficientPrivilege, errors.ObjectInUse)
        )

    def new_redis(self, *, kept: bool = False) -> str:
        """Return the address of a Redis database with nothing in it.

        Args:
            kept: for processes that run on while other tests empty theirs: a database of its own.
        """
        url = beside(self.redis_server_url) if kept else self.redis_server_url
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return url

    def close(self) -> None:
        """Stop what was started, in order, and remove its files."""
        self._open.close()

    def url_of(self, database: str) -> str:
        """Return the address of a database on the server."""
        return _at(self.database_server_url, database)

    def _administer(self, statement: str, *names: str) -> None:
        with self._admin.connected(self.database_server_url) as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
