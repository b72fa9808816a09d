"""`proc_recorder.py --migrate [--status | --back N]`: brings the schema up to date, shows migrations, undoes some."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Final

from shared.errors import MigrationRefused, SettingsInvalid, StoreUnavailable
from shared.numbers import whole
from shared.process.exit_codes import ExitCode
from shared.settings import Settings, load
from shared.store import migrate
from shared.store.migrate import MigrationState
from shared.table import lines

UNWELL: Final = 1
"""Exit code: nothing was undone, or a migration was edited."""


def migrate_once(words: Sequence[str] = ()) -> int:
    """Do what the words say, print what was done, and return an exit code (`ExitCode`, or `UNWELL`)."""
    parser = ArgumentParser(prog="bulkhead migrate")
    parser.add_argument("--status", action="store_true")
    parser.add_argument("--back", type=whole(1), metavar="N")
    parser.add_argument("--yes", action="store_true")
    given = parser.parse_args(words)
    try:
        settings = load()
    except SettingsInvalid as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return ExitCode.CONFIGURATION
    if not settings.database_url:
        sys.stderr.write("DATABASE_URL is empty; run `bulkhead migrate`, which knows the embedded server's address\n")
        return ExitCode.CONFIGURATION
    try:
        return int(_do(settings, given))
    # Exit codes as of a supervised child: a refusal needs an operator, an absent server only a later try.
    except MigrationRefused as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIGURATION
    except StoreUnavailable as error:
        sys.stderr.write(f"{error}\nStart PostgreSQL (or Bulkhead, for the embedded one) and try again.\n")
        return ExitCode.BOOT


def _do(settings: Settings, given: Namespace) -> int:
    if given.status:
        return _show(settings.database_url)
    if given.back:
        return _undo(settings.database_url, given.back, is_agreed=given.yes)
    applied = migrate.apply(settings.database_url, requires_row_security=settings.row_security == "required")
    sys.stdout.write("".join(f"applied {name}\n" for name in applied) or "the schema is up to date\n")
    return ExitCode.OK


def _show(database_url: str) -> int:
    notes = migrate.notes(database_url)
    rows = [
        [note.name, note.state, note.applied_at.isoformat(" ", "seconds") if note.applied_at else ""] for note in notes
    ]
    _say(*lines(("migration", "state", "applied at"), rows))
    return UNWELL if any(note.state is MigrationState.EDITED for note in notes) else ExitCode.OK


def _undo(database_url: str, count: int, *, is_agreed: bool) -> int:
    found = migrate.rollbacks(database_url, count)
    _say(*(f"{rollback.name}: {'; '.join(map(str, rollback.losses)) or 'loses no data'}" for rollback in found))
    _say("Make a back-up first: no command brings back what is lost here.")
    # Asked without a lock: a person may take hours, in which other processes may want to migrate.
    if not is_agreed and not _agrees(len(found)):
        _say("Nothing was undone.")
        return UNWELL
    migrate.undo(database_url, [rollback.name for rollback in found])
    _say(*(f"undone {rollback.name}" for rollback in found))
    _say("The next start of this version applies them again: start the version before.")
    return ExitCode.OK


def _agrees(count: int) -> bool:
    """Ask. Without a terminal, `--yes` is the only consent."""
    if not sys.stdin.isatty():
        sys.stderr.write("--yes is needed without a terminal\n")
        return False
    return input(f"Undo {count} migrations? yes/no: ").strip() == "yes"


def _say(*sentences: str) -> None:
    sys.stdout.write("".join(f"{sentence}\n" for sentence in sentences))
