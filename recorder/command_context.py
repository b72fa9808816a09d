"""What operators' commands over the database share: settings are read, a store of one connection is opened, and what is
missing is reported with the next step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace

from shared.errors import SettingsInvalid, StoreUnavailable
from shared.process.exit_codes import ExitCode
from shared.settings import ChildEnvironment, Settings, load
from shared.store.store import Store


def run_command(command: str, do: Callable[[Store, Settings], int]) -> int:
    """Do something with the database and return an exit code (`ExitCode`, or what `do` returns).

    Args:
        command: as an operator types it after `bulkhead`. do: may raise `SettingsInvalid` and `StoreUnavailable`.
    """
    try:
        settings = load()
        if not settings.database_url:
            sys.stderr.write(
                f"DATABASE_URL is empty; run `bulkhead {command}`, which knows the embedded server's address\n"
            )
            return ExitCode.CONFIGURATION
        # One connection: a command runs one transaction after the other. The command's last word appears in
        # `pg_stat_activity`.
        store = Store.open(settings, ChildEnvironment(process_name=command.rpartition(" ")[2]), limit=1)
        try:
            return do(store, settings)
        finally:
            store.close()
    except SettingsInvalid as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return ExitCode.CONFIGURATION
    except StoreUnavailable as error:
        sys.stderr.write(f"{error}\nStart PostgreSQL (or Bulkhead, for the embedded one) and try again.\n")
        return ExitCode.BOOT


def asked(words: Sequence[str]) -> SimpleNamespace:
    """Return what the command line said: it comes from there, checked, as one JSON object."""
    (text,) = words
    return SimpleNamespace(**json.loads(text))
