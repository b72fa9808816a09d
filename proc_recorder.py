"""Entry of kind recorder: migrations, the orchestrator's events, reclaim.

`--migrate`, `--import`, `--move`, `--reseal`, `--webhooks`, `--backup` and `--restore` run one command and exit.
"""

from __future__ import annotations

import sys

from recorder.backup import backup, restore
from recorder.migration import migrate_once
from recorder.moving import move
from recorder.old_server_import import import_old_server
from recorder.reseal import reseal
from recorder.room import open_service
from recorder.webhooks import webhooks
from shared.process.child import run_child


def main(argv: list[str]) -> int:
    """Run the process, or the one command that `argv` names, and return the exit code."""
    # The orchestrator's command line starts these as processes of their own: the orchestrator imports no database
    # client, and the recorder's slot stays with the recorder that runs.
    match argv:
        case ["--migrate", *words]:
            return migrate_once(words)
        case ["--import", *words]:
            return import_old_server(words)
        case ["--move", *words]:
            return move(words)
        case ["--reseal", *words]:
            return reseal(words)
        case ["--backup", *words]:
            return backup(words)
        case ["--restore", *words]:
            return restore(words)
        case ["--webhooks", *words]:
            return webhooks(words)
    return run_child("recorder", open_service)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
