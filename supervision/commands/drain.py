"""`drain [KIND[-N]]`: processes finish their work in hand and stay stopped until `restart`."""

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

# Seconds between two requests for the status, which cost the orchestrator next to nothing.
_LOOK_EACH_S = 0.1


@click.command("drain", short_help="Finish work in progress and stay stopped until restart.")
@click.argument("target", metavar="[KIND[-N]]", type=TARGET, required=False)
@within(120.0, "How long to wait, in seconds; 0: do not.")
@click.pass_obj
def command(context: Context, target: str | None, within: float) -> int:
    """Let a kind, one slot or, without a name, all processes finish their work in progress; they stay stopped until
    `bulkhead restart`.
    """
    # all of them only where no name is given, and not where a shell's variable for it is not set
    if target == "":
        raise KindUnknown("the given name of a kind or slot is empty; leave it out to drain all")
    slots = context.ask({"command": "drain", "target": target or ""})["slots"]
    by = monotonic() + within
    waiting = set(slots)
    while waiting and left(by):
        states = {name: slot["state"] for name, slot in context.ask({"command": "status"})["status"]["slots"].items()}
        # A slot that is gone (fewer instances after a reload) is stopped too.
        for name in [name for name in waiting if states.get(name, SlotState.STOPPED) == SlotState.STOPPED]:
            click.echo(f"{name} stopped")
            waiting.discard(name)
        time.sleep(_LOOK_EACH_S if waiting else 0)
    if waiting and within:
        click.echo(f"not stopped within {within:g} s: {', '.join(sorted(waiting))}", err=True)
        return CommandExit.UNWELL
    return ExitCode.OK
