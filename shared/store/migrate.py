"""Applies `migrations/*.sql` with yoyo, one process at a time.

yoyo's own lock is a row that stays when its holder is killed; a PostgreSQL advisory lock is gone with the connection,
so that is what keeps several starting processes apart. It belongs to a transaction that stays open, which a pooler in
transaction mode keeps on one server process. And yoyo notes that a migration is applied in a transaction of its own,
after it: killed in between, the next start would apply it again. Here both are one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg2
import yoyo

from shared.channels.registry import CHANNELS
from shared.clock import monotonic
from shared.errors import MigrationRefused, StoreUnavailable
from shared.logs import logger
from shared.store.pool import deadline
from shared.store.sqlstates import Trouble, trouble
from shared.store.statements import statements

log = logger(__name__)

_ADVISORY_LOCK: Final = 0x62756C6B
"""Key of the advisory lock, used for nothing else: "bulk"."""
_LIMIT_S: Final = 120.0
"""Seconds for everything, the wait for another process's migrations included: a migration may have to rewrite large
tables.
"""
_ALREADY_THERE: Final = frozenset({"42P07", "42710", "42723", "42701"})
"""SQLSTATEs of a table, an object, a function or a column that exists already."""
_FOREIGN: Final = (
    "something of that name is there that Bulkhead did not make; give it a database of its own (DATABASE_URL)"
)


def migrations_directory() -> Path:
    """Return the directory of the migrations, in a checkout and in an installed copy."""
    return Path(__file__).parents[2] / "migrations"


@contextmanager
def _backend(database_url: str) -> Iterator[Any]:
    # yoyo logs each migration by itself, in a form that is not ours; `apply` returns the names.
    logging.getLogger("yoyo").setLevel(logging.WARNING)
    try:
        with (
            # One deadline over all: `_LIMIT_S` bounds the wait for the lock, the migrations and the registry's copy
            # together.
            deadline(monotonic() + _LIMIT_S),
            closing(psycopg2.connect(database_url, application_name="bulkhead/migrate")) as guard,
            guard.cursor() as cursor,
        ):
            # Its own connection, whose transaction stays open to the end of the block: the lock ends with it, also by
            # kill -9.
            cursor.execute(statements()["lock_migrations"], {"key": _ADVISORY_LOCK})
            backend = yoyo.get_backend(database_url)
            try:
                # we are alone, so this is what a killed process left
                backend.break_lock()
                yield backend
            finally:
                backend.connection.close()
    except psycopg2.Error as error:
        if trouble(error) in (Trouble.DATABASE, Trouble.SESSION):
            raise StoreUnavailable(f"PostgreSQL: {str(error).strip()}") from error
        raise


def _apply_one(backend: Any, migration: Any) -> None:
    try:
        # Steps and mark in one transaction, in place of yoyo's two: a kill between them would apply the file twice.
        with backend.transaction():
            migration.process_steps(backend, "apply")
            backend.mark_one(migration, log=False)
    except psycopg2.Error as error:
        # Neither the migration nor the schema is at fault: the caller waits and comes again.
        if trouble(error) in (Trouble.DATABASE, Trouble.SESSION):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # The two causes need different steps of an operator: another database, or a repair of this one.
        hint = _FOREIGN if error.pgcode in _ALREADY_THERE else "the database was changed by hand, or is not Bulkhead's"
        raise MigrationRefused(f"migration {migration.id} cannot be applied: {lines[0]}: {hint}") from error


def _secure(cursor: Any, *, required: bool) -> None:
    try:
        cursor.execute(statements()["secure_tables"])
    except psycopg2.Error as error:
        if trouble(error) in (Trouble.DATABASE, Trouble.SESSION):
            raise
        raise MigrationRefused(f"row-level security cannot be applied: {str(error).splitlines()[0]}") from error
    (problem,) = cursor.fetchone()
    if problem and required:
        raise MigrationRefused(f"row-level security is required (ROW_SECURITY): {problem}")
    if problem:
        # Requests then have one wall in place of two: the conditions of the statements.
        log.warning("row_security_unavailable", reason=problem)


def pending(database_url: str) -> list[str]:
    """Return the names of migrations that are not applied yet, in order. Raises `StoreUnavailable` when PostgreSQL
    cannot be reached.
    """
    with _backend(database_url) as backend:
        return [migration.id for migration in backend.to_apply(yoyo.read_migrations(str(migrations_directory())))]


def apply(database_url: str, *, requires_row_security: bool = False) -> list[str]:
    """Apply what is pending, bring the copy of the channels registry up to date, and protect every table.

    Args:
        database_url: `postgresql://…`, of the user that owns the tables. requires_row_security: refuse a database in
            which the roles of row-level security cannot be made; else that is logged.
    Returns:
        Names of the migrations that were applied now, in order.
    Raises:
        StoreUnavailable: PostgreSQL cannot be reached. MigrationRefused: this database cannot be migrated.
    """
    with _backend(database_url) as backend:
        migrations = backend.to_apply(yoyo.read_migrations(str(migrations_directory())))
        for migration in migrations:
            _apply_one(backend, migration)
        # After every migration, also when none was applied: a release may add a type without a change of the schema.
        # A foreign key and a trigger of the schema use this copy.
        rows = [(channel.name, channel.kind) for channel in CHANNELS]
        with backend.connection.cursor() as cursor:
            parameters = {"connection_types": [row[0] for row in rows], "process_names": [row[1] for row in rows]}
            cursor.execute(statements()["sync_connection_types"], parameters)
            _secure(cursor, required=requires_row_security)
        return [migration.id for migration in migrations]
