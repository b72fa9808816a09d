"""Applies `migrations/*.sql` with yoyo, one process at a time.

yoyo's own lock is a row that stays when its holder is killed; a PostgreSQL advisory lock is gone with the connection,
so that is what keeps several starting processes apart. It belongs to a transaction that stays open, which a pooler in
transaction mode keeps on one server process. And yoyo notes that a migration is applied in a transaction of its own,
after it: killed in between, the next start would apply it again. Here both are one transaction.

What a migration was when it was applied is kept as a digest: an edited one is refused, since databases in which it ran
before and after the edit would differ for good.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import psycopg2
import yoyo
from yoyo.backends.core.postgresql import PostgresqlBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import default_migration_table

from shared.channels.registry import CHANNELS
from shared.clock import monotonic
from shared.errors import MigrationRefused, StoreUnavailable
from shared.logs import logger
from shared.store.address import connected, parts_of
from shared.store.migration_losses import Loss, losses
from shared.store.old_server import OldTablesUnknown, chosen_columns
from shared.store.pool import deadline
from shared.store.sqlstates import Trouble, trouble
from shared.store.statements import parse, statements
from shared.store.waiting import DeadlinePassed

log = logger(__name__)

_SQL: Final = parse(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"), "migrate.sql")
"""Statements about the library's notes and about schemas, which only the owner of the tables runs."""
_ADVISORY_LOCK: Final = 0x62756C6B
"""Key of the advisory lock, used for nothing else: "bulk"."""
_CONNECT_S: Final = 10.0
"""Seconds for the connection that holds the lock, all servers of the address together."""
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
        connection, server = connected(database_url, monotonic() + _CONNECT_S, application_name="bulkhead/migrate")
        with (
            # One deadline over all: `_LIMIT_S` bounds the wait for the lock, the migrations and the registry's copy
            # together.
            deadline(monotonic() + _LIMIT_S),
            closing(connection) as guard,
            guard.cursor() as cursor,
        ):
            # Its own connection, whose transaction stays open to the end of the block: the lock ends with it, also by
            # kill -9.
            cursor.execute(statements()["lock_migrations"], {"key": _ADVISORY_LOCK})
            # The very server that we are on, and its address read by libpq: the library has a parser of its own, which
            # knows no lists of hosts.
            place = parts_of(server) | _with_schema(server, cursor)
            backend = PostgresqlBackend(
                DatabaseURI("postgresql", None, None, None, None, None, place), default_migration_table
            )
            backend.init_database()
            try:
                # we are alone, so this is what a killed process left
                backend.break_lock()
                yield backend
            finally:
                backend.connection.close()
    except DeadlinePassed as error:
        raise StoreUnavailable("PostgreSQL did not answer in time", outage="slow") from error
    except psycopg2.Error as error:
        if trouble(error) in (Trouble.DATABASE, Trouble.SESSION):
            raise StoreUnavailable(f"PostgreSQL: {str(error).strip()}") from error
        raise


def _with_schema(server: str, cursor: Any) -> dict[str, str]:
    """Return the search path for the library's connection, as the parameter `schema`: `bulkhead_tables` first, where
    the path leads to the single-process server's tables; the schema is made. Else nothing.

    Raises:
        MigrationRefused: a right is missing, or the table of that name is no such server's.
    """
    cursor.execute(_SQL["places"])
    has_ours, has_schema, old_schema, old_owner, may_alter, may_make, user, path, columns = cursor.fetchone()
    if has_ours or not (has_schema or old_schema):
        return {}
    # an administrator who has made the schema knows whose table it is
    if not has_schema:
        _require_old_server(old_schema, columns)
    if not has_schema and not may_make:
        raise MigrationRefused(
            f"the table phone_configs in schema {old_schema} is another program's, and the database user {user} "
            "may make no schema beside it: let an administrator run CREATE SCHEMA bulkhead_tables AUTHORIZATION "
            f"{user} (MIGRATION.md)"
        )
    if old_schema and not may_alter:
        raise MigrationRefused(
            f"the table phone_configs in schema {old_schema} belongs to {old_owner}, and the database user {user} "
            f"may not add a column to it: let an administrator run GRANT {old_owner} TO {user} (MIGRATION.md)"
        )
    if not has_schema:
        # its own connection: our transaction ends with the lock, and the library's connection has to see the schema
        with closing(psycopg2.connect(server, application_name="bulkhead/migrate")) as maker:
            maker.autocommit = True
            with maker.cursor() as making:
                making.execute(_SQL["make_schema"])
        log.info("schema_made_beside_old_server", old_schema=old_schema)
    # the library's own tables too: nothing of ours among the server's
    return {"schema": f"bulkhead_tables, {path}"}


def _require_old_server(old_schema: str, columns: Sequence[str]) -> None:
    try:
        chosen_columns("numbers", columns, {})
    except OldTablesUnknown as error:
        raise MigrationRefused(
            f"migration 0001.schema cannot be applied: the table phone_configs in schema {old_schema} is no "
            f"single-process server's ({str(error).partition(';')[0]}): {_FOREIGN}"
        ) from error


def _digest(migration: Any) -> str:
    return sha256(Path(migration.path).read_bytes()).hexdigest()


def _digests(cursor: Any) -> dict[str, str]:
    cursor.execute(_SQL["make_migration_digests"])
    cursor.execute(_SQL["migration_digests"])
    return dict(cursor.fetchall())


def _require_unedited(backend: Any, migrations: Sequence[Any]) -> None:
    """Compare applied migrations with their digests, and keep those of which none is kept. Raises
    `MigrationRefused`."""
    applied = set(backend.get_applied_migration_hashes())
    ours = [migration for migration in migrations if migration.hash in applied]
    with backend.connection.cursor() as cursor:
        kept = _digests(cursor)
        now = {migration.id: _digest(migration) for migration in ours}
        for name, digest in now.items():
            if kept.get(name, digest) != digest:
                raise MigrationRefused(
                    f"migration {name} was edited after it was applied to this database: put the file back as it was, "
                    "and make the change by a new migration"
                )
        # Applied by a version that kept no digests: nothing is known of an edit before now.
        cursor.execute(_SQL["keep_migration_digests"], {"names": list(now), "digests": list(now.values())})


def _apply_one(backend: Any, migration: Any) -> None:
    try:
        # Steps and mark in one transaction, in place of yoyo's two: a kill between them would apply the file twice.
        with backend.transaction(), backend.connection.cursor() as cursor:
            migration.process_steps(backend, "apply")
            backend.mark_one(migration, log=False)
            # one that was undone by other means than ours, and may have been edited since
            cursor.execute(_SQL["forget_migration_digest"], {"name": migration.id})
            values = {"names": [migration.id], "digests": [_digest(migration)]}
            cursor.execute(_SQL["keep_migration_digests"], values)
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
        known = yoyo.read_migrations(str(migrations_directory()))
        _require_unedited(backend, known)
        migrations = backend.to_apply(known)
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


class MigrationState(StrEnum):
    """What is known of one migration in one database."""

    APPLIED = auto()
    PENDING = auto()
    EDITED = auto()
    """Applied, and its file is another one since."""
    UNKNOWN = auto()
    """Applied by another version, which has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MigrationNote:
    """One migration as a database knows it; `applied_at` is None while it is pending."""

    name: str
    state: MigrationState
    applied_at: datetime | None = None


def notes(database_url: str) -> list[MigrationNote]:
    """Return every migration that the database or this version knows, in the order in which they were applied, then
    those that are pending. Raises `StoreUnavailable`, `MigrationRefused`.
    """
    with _backend(database_url) as backend:
        known = {migration.id: migration for migration in yoyo.read_migrations(str(migrations_directory()))}
        pending_now = [m.id for m in backend.to_apply(yoyo.read_migrations(str(migrations_directory())))]
        with backend.connection.cursor() as cursor:
            digests = _digests(cursor)
            cursor.execute(_SQL["applied_migrations"])
            applied = cursor.fetchall()
    return [
        *(
            MigrationNote(name=name, state=_state(known.get(name), digests.get(name)), applied_at=at)
            for name, at in applied
        ),
        *(MigrationNote(name=name, state=MigrationState.PENDING) for name in pending_now),
    ]


def _state(migration: Any, digest: str | None) -> MigrationState:
    if migration is None:
        return MigrationState.UNKNOWN
    return MigrationState.APPLIED if digest in (None, _digest(migration)) else MigrationState.EDITED


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollback:
    """One migration that would be undone, with what its rollback drops (`migration_losses.Loss`)."""

    name: str
    losses: Sequence[Loss]


def rollbacks(database_url: str, count: int) -> list[Rollback]:
    """Return what undoing the newest `count` migrations would lose, newest first.

    Raises:
        StoreUnavailable: PostgreSQL cannot be reached. MigrationRefused: they cannot be undone, since one of them is
            not this version's or is edited, or processes run that use what is dropped.
    """
    with _backend(database_url) as backend:
        newest = _newest(backend, count)
        with backend.connection.cursor() as cursor:
            return [
                Rollback(name=m.id, losses=losses(cursor, _SQL, _rollback_file(m).read_text("utf-8"))) for m in newest
            ]


def undo(database_url: str, names: Sequence[str]) -> None:
    """Undo migrations, each in one transaction: those that `rollbacks` named, in that order. Raises as it does, and
    `MigrationRefused` when others are the newest by now.
    """
    with _backend(database_url) as backend:
        newest = _newest(backend, len(names))
        if [migration.id for migration in newest] != list(names):
            raise MigrationRefused("another process has migrated meanwhile: begin again")
        for migration in newest:
            _undo_one(backend, migration)


def _newest(backend: Any, count: int) -> list[Any]:
    known = yoyo.read_migrations(str(migrations_directory()))
    _require_unedited(backend, known)
    names = {migration.id for migration in known}
    with backend.connection.cursor() as cursor:
        cursor.execute(_SQL["applied_migrations"])
        strange = [name for name, _ in cursor.fetchall() if name not in names]
        living = _living_processes(cursor)
    if strange:
        raise MigrationRefused(
            f"{', '.join(strange)} was applied by another version of Bulkhead, which has its rollback: run "
            "`bulkhead migrate --back` of that version"
        )
    if living:
        raise MigrationRefused(
            f"processes of Bulkhead use what is dropped, and wrote a heartbeat within half a minute ({living}): stop "
            "them first (bulkhead stop)"
        )
    newest = list(backend.to_rollback(known))
    if count > len(newest):
        raise MigrationRefused(f"only {len(newest)} migrations are applied")
    return newest[:count]


def _living_processes(cursor: Any) -> str:
    cursor.execute(_SQL["is_relation"], {"table": "process_health"})
    if not cursor.fetchone()[0]:
        return ""
    cursor.execute(_SQL["living_processes"])
    return ", ".join(f"{name}-{instance}" for name, instance in cursor.fetchall())


def _rollback_file(migration: Any) -> Path:
    return Path(migration.path).with_suffix(".rollback.sql")


def _undo_one(backend: Any, migration: Any) -> None:
    try:
        with backend.transaction(), backend.connection.cursor() as cursor:
            migration.process_steps(backend, _rollback_file(migration).suffixes[-2].removeprefix("."))
            backend.unmark_one(migration, log=False)
            cursor.execute(_SQL["forget_migration_digest"], {"name": migration.id})
    except psycopg2.Error as error:
        if trouble(error) in (Trouble.DATABASE, Trouble.SESSION):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise MigrationRefused(f"migration {migration.id} cannot be undone: {lines[0]}") from error
