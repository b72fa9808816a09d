"""Entry of the orchestrator: starts, monitors and restarts the kinds; also the operator's command line.

`bulkhead --help` lists the commands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from embedded import addresses
from shared.kinds import KINDS
from supervision.commands.context import Context
from supervision.commands.entry import main as run_command
from supervision.decisions.restart_policy import Policy


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command over the registry and return its exit code. Without arguments: the process's own command line."""
    # The registry, the embedded servers and the restart policy are passed in: only an entry file may import several
    # rooms, and tests run the same commands over kinds and policies of their own.
    context = Context(
        environ=os.environ, rows=KINDS, entries=Path(__file__).resolve().parent, embedded=addresses, policy=Policy()
    )
    return run_command(sys.argv[1:] if argv is None else argv, context)


if __name__ == "__main__":
    sys.exit(main())
