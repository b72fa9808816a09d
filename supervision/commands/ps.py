"""`ps`: every process of every slot, helpers included."""

from __future__ import annotations

import json
from typing import Final

import click

from shared.process.exit_codes import ExitCode
from supervision.commands import screen
from supervision.commands.command_exits import CommandExit
from supervision.commands.context import Context
from supervision.commands.options import as_json
from supervision.commands.status import ask
from supervision.processes.resources import details
from supervision.processes.trees import Trees

_COLUMNS: Final = ("slot", "pid", "parent", "memory_mb", "threads", "open_files", "cpu_s", "command")


@click.command("ps", short_help="Show every process of every slot, helpers included.")
@as_json("As JSON.")
@click.pass_obj
def command(context: Context, as_json: bool) -> int:
    """Show every process of every slot, helpers included."""
    home = context.settings().bulkhead_home
    status, _ = ask(home)
    if not status["slots"] and not as_json:
        click.echo(f"Nothing runs over {home}.")
        return CommandExit.NOT_RUNNING
    # By walk: probing for cgroups makes directories, which a command that only shows must not do.
    trees = Trees(home, use_cgroups=False)
    found = []
    for name, slot in status["slots"].items():
        if slot["pid"]:
            trees.adopt(slot["incarnation"], slot["pid"])
            found += [{"slot": name, **row} for row in details(trees.living(slot["incarnation"]))]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        rows = [
            [str(row["command"])[:100] if column == "command" else row[column] for column in _COLUMNS] for row in found
        ]
        screen.show_table([column.upper() for column in _COLUMNS], rows)
    return ExitCode.OK if found else CommandExit.NOT_RUNNING
