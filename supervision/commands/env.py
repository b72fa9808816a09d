"""`env [NAME]`: the settings of all processes. A secret is shown only when it is named."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from shared.process.exit_codes import ExitCode
from shared.settings import to_environ, variables
from supervision.commands.context import Context

HELP = "show the settings of all processes"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="only this setting's value")


def run(context: Context, given: Namespace) -> int:
    """Print the settings; 64: no setting has that name."""
    values = to_environ(context.known())
    if given.name:
        if given.name.upper() not in values:
            print(f"no setting {given.name!r}; docs/settings.md lists them", file=sys.stderr)
            return ExitCode.USAGE
        print(values[given.name.upper()])
        return ExitCode.OK
    # Whether a secret is set is shown, its value is not: lists end up in tickets and on screens.
    hidden = {variable.name for variable in variables(context.rows).values() if variable.secret}
    for name, value in values.items():
        print(f"{name}={'(secret)' if name in hidden and value else value}")
    return ExitCode.OK
