"""Commands over the database run as a process of the recorder's entry file, which knows the schema."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from shared.settings import ChildEnvironment
from supervision.commands.context import Context, is_running
from supervision.environment import child_environ
from supervision.ipc.control import NoOrchestrator

_KIND = "recorder"


def become_recorder(context: Context, *words: str) -> NoReturn:
    """Replace this process by `proc_recorder.py WORDS`, with the settings that the recorder may see.

    Raises:
        SettingsInvalid: the settings are wrong.
        NoOrchestrator: the database is the embedded one, and nothing runs that could have started it.
    """
    operator = context.settings()
    if not operator.database_url and not is_running(operator.bulkhead_home):
        raise NoOrchestrator(
            f"Nothing runs over {operator.bulkhead_home}: the embedded PostgreSQL is not there. Start it: bulkhead"
        )
    config = context.child_config()
    row = config.settings.kind(_KIND)
    # The incarnation names a child: rules over several settings are checked here, not there.
    identity = ChildEnvironment(process_name=_KIND, process_incarnation=f"{_KIND}.command")
    environ = child_environ(config, row, identity, context.environ)
    # the entry file beside ours
    os.execve(sys.executable, [sys.executable, str(context.entries / row.entry), *words], environ)  # noqa: S606
