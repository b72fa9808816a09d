"""A whole database as one file, and back: by PostgreSQL's own programs, which know every version's catalogue.

Roles and privileges are not part of it: they belong to the server, and `migrate.apply` makes them anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg2
from psycopg2 import extensions

from shared.clock import monotonic
from shared.errors import BulkheadError, StoreUnavailable
from shared.store.address import connected
from shared.store.statements import parse
from shared.store.waiting import DeadlinePassed

_SQL: Final = parse(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"), "dumps.sql")
"""Statements that only the owner of the tables runs."""
_MAJOR: Final = re.compile(r"\b(\d+)(?:\.\d+)*\b")
_LEFT_OUT: Final = ("POLICY", "ROW SECURITY")
"""Entries that name roles: policies, which the migrations make for the roles of this server."""
_CONNECT_S: Final = 15.0
"""Seconds for a connection, all servers of the address together."""
_SAID: Final = 2000
"""Characters of what a program of PostgreSQL said that are repeated."""


class DumpFailed(BulkheadError):
    """Raised when a database cannot be dumped or loaded; the text says why, and what to do."""


def dump(database_url: str, target: Path, folder: Path | None) -> None:
    """Write a database into one file of `pg_dump`'s custom format.

    Args:
        database_url: of the user that owns the tables. target: file to write. folder: with programs to use where PATH
            has none that is new enough.
    Raises:
        DumpFailed: it cannot be. StoreUnavailable: PostgreSQL cannot be reached.
    """
    version = one(database_url, "server_version")["major"]
    program = program_for("pg_dump", version, folder)
    # as the owner, to whom the policies of row-level security show every row
    _run(
        [str(program), "--format=custom", "--no-owner", "--no-privileges", "--enable-row-security", "-f", str(target)],
        database_url,
    )


def load(database_url: str, source: Path, folder: Path | None) -> None:
    """Load such a file into an empty database, in one transaction.

    Raises:
        DumpFailed: it cannot be; nothing was changed. StoreUnavailable: PostgreSQL cannot be reached.
    """
    program = program_for("pg_restore", one(database_url, "server_version")["major"], folder)
    listed = subprocess.run(
        [str(program), "--list", str(source)], capture_output=True, text=True, check=False, env=_environ({})
    )
    if listed.returncode:
        raise DumpFailed(f"the dump cannot be read: {listed.stderr.strip()[:_SAID]}")
    chosen = source.with_name(f"{source.name}.list")
    chosen.write_text("".join(f"{line}\n" for line in listed.stdout.splitlines() if not _is_left_out(line)))
    _run(
        [
            *(str(program), "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"),
            *("--no-comments", "--use-list", str(chosen), str(source)),
        ],
        database_url,
    )


def finish_load(database_url: str, *, position: int, reason: str) -> int:
    """Prepare a loaded database for the migrations, and hold what would be sent twice.

    Args:
        database_url: of the owner. position: the last position of events that the dumped database gave.
        reason: why its connections are paused, for people.
    Returns:
        How many connections were paused.
    """
    with closing(_connected(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_SQL["forget_row_security"])
        cursor.execute(_SQL["continue_event_positions"], {"last": position})
        cursor.execute(_SQL["pause_restored_connections"], {"reason": reason})
        return int(cursor.rowcount)


def one(database_url: str, statement: str) -> Mapping[str, Any]:
    """Return the one row of a statement of `dumps.sql` without parameters, as the user that signs in. Raises
    `StoreUnavailable`."""
    with closing(_connected(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_SQL[statement])
        names = [column.name for column in cursor.description or ()]
        return dict(zip(names, cursor.fetchone() or (), strict=True))


def column(database_url: str, statement: str) -> list[Any]:
    """Return the first column of a statement of `dumps.sql` without parameters. Raises `StoreUnavailable`."""
    with closing(_connected(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_SQL[statement])
        return [row[0] for row in cursor.fetchall()]


def program_for(name: str, version: int, folder: Path | None) -> Path:
    """Return a program of PostgreSQL that is at least as new as the server, that of PATH first.

    Raises:
        DumpFailed: there is none.
    """
    seen = []
    for candidate in (shutil.which(name), None if folder is None else str(folder / name)):
        if candidate is None or not Path(candidate).exists():
            continue
        said = subprocess.run(
            [candidate, "--version"], capture_output=True, text=True, check=False, env=_environ({})
        ).stdout
        found = _MAJOR.search(said)
        if found and int(found[1]) >= version:
            return Path(candidate)
        seen.append(f"{candidate} is of version {found[1] if found else '?'}")
    raise DumpFailed(
        f"PostgreSQL is of version {version}, and there is no {name} of it or a later one"
        f"{' (' + '; '.join(seen) + ')' if seen else ''}: install the package postgresql-client-{version}"
    )


def _is_left_out(line: str) -> bool:
    """Whether an entry of the list (`3456; 3256 16789 POLICY public hooks …`) is one that names roles."""
    words = line.partition("; ")[2].split(" ", 2)
    return len(words) > len(("tableoid", "oid")) and words[2].startswith(_LEFT_OUT)


def _connected(database_url: str) -> Any:
    try:
        return connected(database_url, monotonic() + _CONNECT_S, application_name="bulkhead/backup")[0]
    except DeadlinePassed as error:
        raise StoreUnavailable("PostgreSQL did not answer in time", outage="slow") from error
    except psycopg2.OperationalError as error:
        raise StoreUnavailable(f"PostgreSQL: {str(error).strip()}") from error


def _run(command: Sequence[str], database_url: str) -> None:
    parameters = extensions.parse_dsn(database_url)
    # in the environment: arguments can be read by every user of the machine
    secret = {"PGPASSWORD": parameters.pop("password")} if "password" in parameters else {}
    done = subprocess.run(
        [*command, f"--dbname={extensions.make_dsn(**parameters)}"],
        env=_environ(secret),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DumpFailed(f"{Path(command[0]).name}: {done.stderr.strip()[-_SAID:]}")


def _environ(secret: Mapping[str, str]) -> dict[str, str]:
    # nothing of an operator's own PG… variables
    return {"PATH": os.defpath, "LC_ALL": "C", **secret}


__all__ = ["DumpFailed", "column", "dump", "finish_load", "load", "one", "program_for"]
