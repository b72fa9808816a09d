"""Entry of kind recorder: migrations, the orchestrator's events, reclaim.

`--migrate`, `--import`, `--move`, `--reseal`, `--webhooks`, `--backup` and `--restore` run one command and exit.
"""

from __future__ import annotations

import sys
from typing import Final

from recorder.backup import backup, restore
from recorder.migration import migrate_once
from recorder.moving import move
from recorder.old_server_import import import_old_server
from recorder.reseal import reseal
from recorder.room import open_service
from recorder.webhooks import webhooks
from shared.process.child import run_child

_COMMANDS: Final = {
    "--migrate": migrate_once,
    "--import": import_old_server,
    "--move": move,
    "--reseal": reseal,
    "--backup": backup,
    "--restore": restore,
    "--webhooks": webhooks,
}
"""What the orchestrator's command line starts as a process of its own: it imports no database client, and the slot
stays with the recorder that runs."""


def main(argv: list[str]) -> int:
    """Run the process, or the one command that `argv` names, and return the exit code."""
    if argv and argv[0] in _COMMANDS:
        return _COMMANDS[argv[0]](argv[1:])
    return run_child("recorder", open_service)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
