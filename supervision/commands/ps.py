"""`ps`: every process of every slot, helpers included."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from shared import table
from shared.process.exit_codes import ExitCode
from supervision.commands.context import CommandExit, Context
from supervision.commands.status import ask
from supervision.processes.resources import details
from supervision.processes.trees import Trees

HELP = "show every process of every slot, helpers included"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(context: Context, given: Namespace) -> int:
    """Print the processes; 3: none."""
    home = context.settings().bulkhead_home
    status, _ = ask(home)
    if not status["slots"] and not given.json:
        print(f"Nothing runs over {home}.")
        return CommandExit.NOT_RUNNING
    # By walk: probing for cgroups makes directories, which a command that only shows must not do.
    trees = Trees(home, use_cgroups=False)
    found = []
    for name, slot in status["slots"].items():
        if slot["pid"]:
            trees.adopt(slot["incarnation"], slot["pid"])
            found += [{"slot": name, **row} for row in details(trees.living(slot["incarnation"]))]
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        columns = ("slot", "pid", "parent", "memory_mb", "threads", "open_files", "cpu_s", "command")
        rows = [
            [str(row["command"])[:100] if column == "command" else row[column] for column in columns] for row in found
        ]
        print("\n".join(table.lines([column.upper() for column in columns], rows)))
    return ExitCode.OK if found else CommandExit.NOT_RUNNING
