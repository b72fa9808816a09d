"""`restart KIND[-N]`: replace one process after the other, without the kind ever being unavailable; ends a drain, a
quarantine, a misconfiguration.
"""

from __future__ import annotations

import time

import click

from shared.clock import left, monotonic
from shared.process.exit_codes import ExitCode
from shared.states import SlotState
from supervision.commands.command_exits import CommandExit
from supervision.commands.context import Context
from supervision.commands.options import TARGET, within
from supervision.decisions.plan import KindUnknown

# Seconds between two requests for the status.
_LOOK_EACH_S = 0.1


@click.command("restart", short_help="Replace the processes of a kind, one at a time.")
@click.argument("target", metavar="KIND[-N]", type=TARGET)
@within(180.0, "How long to wait for readiness, in seconds; 0: do not.")
@click.pass_obj
def command(context: Context, target: str, within: float) -> int:
    """Replace the processes of a kind (meta) or of one slot (meta-0), one at a time, without refusing a connection.

    Ends a drain, a quarantine and a misconfiguration. Waits until each slot has a new process that is ready.
    """
    # what a shell makes of a variable that is not set: to the orchestrator it means every process, the servers too
    if not target:
        raise KindUnknown("restart needs a kind or a slot; the given name is empty")
    old = context.ask({"command": "restart", "target": target})["slots"]
    by = monotonic() + within
    waiting = dict(old)
    while waiting and left(by):
        slots = context.ask({"command": "status"})["status"]["slots"]
        for name in list(waiting):
            slot = slots.get(name)
            if slot is None:
                click.echo(f"{name} does not exist any more")
                del waiting[name]
            elif slot["state"] == SlotState.STOPPED:
                click.echo(f"{name} is not needed now")
                del waiting[name]
            # Readiness alone is not enough: the old process is ready too until its turn comes.
            elif slot["state"] == SlotState.READY and slot["incarnation"] != old[name]:
                click.echo(f"{name} ready, process {slot['pid']}")
                del waiting[name]
            # It will not become ready soon, and the other slots of the kind are not replaced before: waiting would show
            # nothing.
            elif slot["state"] in (SlotState.QUARANTINED, SlotState.MISCONFIGURED) and slot["incarnation"] != old[name]:
                click.echo(f"{name} {slot['state']}: {slot['reason']}", err=True)
                return CommandExit.UNWELL
        time.sleep(_LOOK_EACH_S if waiting else 0)
    if waiting and within:
        click.echo(f"not ready within {within:g} s: {', '.join(waiting)}", err=True)
        return CommandExit.UNWELL
    return ExitCode.OK
