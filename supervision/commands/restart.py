"""`restart KIND[-N]`: replace one process after the other, without the kind ever being unavailable; ends a drain, a
quarantine, a misconfiguration.
"""

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

HELP = "replace the processes of a kind, one at a time"
# Seconds between two requests for the status.
_LOOK_EACH_S = 0.1


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("target", metavar="KIND[-N]", help="a kind (meta) or one slot (meta-0)")
    parser.add_argument(
        "--within",
        type=seconds,
        default=180.0,
        metavar="S",
        help="how long to wait for readiness, in seconds (%(default)s); 0: do not",
    )


def run(context: Context, given: Namespace) -> int:
    """Request it, and wait until each slot has a new process that is ready.

    Raises:
        KindUnknown: the target is empty.
    """
    # what a shell makes of a variable that is not set: to the orchestrator it means every process, the servers too
    if not given.target:
        raise KindUnknown("restart needs a kind or a slot; the given name is empty")
    old = context.ask({"command": "restart", "target": given.target})["slots"]
    by = monotonic() + given.within
    waiting = dict(old)
    while waiting and left(by):
        slots = context.ask({"command": "status"})["status"]["slots"]
        for name in list(waiting):
            slot = slots.get(name)
            if slot is None:
                print(f"{name} does not exist any more")
                del waiting[name]
            elif slot["state"] == SlotState.STOPPED:
                print(f"{name} is not needed now")
                del waiting[name]
            # Readiness alone is not enough: the old process is ready too until its turn comes.
            elif slot["state"] == SlotState.READY and slot["incarnation"] != old[name]:
                print(f"{name} ready, process {slot['pid']}")
                del waiting[name]
            # It will not become ready soon, and the other slots of the kind are not replaced before: waiting would show
            # nothing.
            elif slot["state"] in (SlotState.QUARANTINED, SlotState.MISCONFIGURED) and slot["incarnation"] != old[name]:
                print(f"{name} {slot['state']}: {slot['reason']}", file=sys.stderr)
                return CommandExit.UNWELL
        time.sleep(_LOOK_EACH_S if waiting else 0)
    if waiting and given.within:
        print(f"not ready within {given.within:g} s: {', '.join(waiting)}", file=sys.stderr)
        return CommandExit.UNWELL
    return ExitCode.OK
