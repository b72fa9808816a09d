"""`proc_recorder.py --migrate`: brings the schema up to date and leaves."""

from __future__ import annotations

import sys

from shared.errors import MigrationRefused, SettingsInvalid, StoreUnavailable
from shared.process.exit_codes import ExitCode
from shared.settings import load
from shared.store import migrate


def migrate_once() -> int:
    """Apply what is pending, print what was applied, and return an exit code (`ExitCode`)."""
    try:
        settings = load()
    except SettingsInvalid as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return ExitCode.CONFIGURATION
    if not settings.database_url:
        sys.stderr.write("DATABASE_URL is empty; run `bulkhead migrate`, which knows the embedded server's address\n")
        return ExitCode.CONFIGURATION
    try:
        applied = migrate.apply(settings.database_url, requires_row_security=settings.row_security == "required")
    # Exit codes as of a supervised child: a refusal needs an operator, an absent server only a later try.
    except MigrationRefused as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIGURATION
    except StoreUnavailable as error:
        sys.stderr.write(f"{error}\nStart PostgreSQL (or Bulkhead, for the embedded one) and try again.\n")
        return ExitCode.BOOT
    sys.stdout.write("".join(f"applied {name}\n" for name in applied) or "the schema is up to date\n")
    return ExitCode.OK
