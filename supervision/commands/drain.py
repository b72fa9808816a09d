"""`drain [KIND[-N]]`: processes finish their work in hand and stay stopped until `restart`."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace

from shared.clock import left, monotonic
from shared.numbers import seconds
from shared.process.exit_codes import ExitCode
from shared.states import SlotState
from supervision.commands.context import CommandExit, Context
from supervision.decisions.plan import KindUnknown

HELP = "finish work in progress and stay stopped until restart"
# Seconds between two requests for the status, which cost the orchestrator next to nothing.
_LOOK_EACH_S = 0.1


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("target", metavar="KIND[-N]", nargs="?", help="a kind or one slot; without it: all")
    parser.add_argument(
        "--within",
        type=seconds,
        default=120.0,
        metavar="S",
        help="how long to wait, in seconds (%(default)s); 0: do not wait",
    )


def run(context: Context, given: Namespace) -> int:
    """Request it, and wait until all are stopped.

    Raises:
        KindUnknown: the target is empty.
    """
    # all of them only where no name is given, and not where a shell's variable for it is not set
    if given.target == "":
        raise KindUnknown("the given name of a kind or slot is empty; leave it out to drain all")
    slots = context.ask({"command": "drain", "target": given.target or ""})["slots"]
    by = monotonic() + given.within
    waiting = set(slots)
    while waiting and left(by):
        states = {name: slot["state"] for name, slot in context.ask({"command": "status"})["status"]["slots"].items()}
        # A slot that is gone (fewer instances after a reload) is stopped too.
        for name in [name for name in waiting if states.get(name, SlotState.STOPPED) == SlotState.STOPPED]:
            print(f"{name} stopped")
            waiting.discard(name)
        time.sleep(_LOOK_EACH_S if waiting else 0)
    if waiting and given.within:
        print(f"not stopped within {given.within:g} s: {', '.join(sorted(waiting))}", file=sys.stderr)
        return CommandExit.UNWELL
    return ExitCode.OK
