"""The orchestrator with the browser process's memory ceiling at a height that a test can reach in seconds; everything
else as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from embedded import addresses
from shared.kinds import KINDS, ProcessKind
from supervision.commands.context import Context
from supervision.commands.entry import main
from supervision.decisions.restart_policy import Policy

SOFT_MB, HARD_MB = 800, 1600


def run(rows: Iterable[ProcessKind], policy: Policy) -> int:
    """Run the program with other rows of the registry, or another restart policy, and return its exit code."""
    context = Context(
        environ=os.environ, rows=list(rows), entries=Path(__file__).parents[2], embedded=addresses, policy=policy
    )
    return main(sys.argv[1:], context)


if __name__ == "__main__":
    ceilings = [
        replace(row, memory_soft_mb=SOFT_MB, memory_hard_mb=HARD_MB) if row.name == "webdriver" else row
        for row in KINDS
    ]
    sys.exit(run(ceilings, Policy()))
