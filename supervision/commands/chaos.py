"""`chaos`: inject faults while messages flow, and judge by the provider's ledger. This only starts the program
`chaos`."""

from __future__ import annotations

import os
import sys

import click

from supervision.commands.context import Context
from supervision.commands.options import passed_on


@click.command("chaos", short_help="Inject faults while messages flow, and compare outcome and promise.", **passed_on())
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="…")
@click.pass_obj
def command(context: Context, words: tuple[str, ...]) -> int:
    """Inject faults while messages flow, and compare what arrived with what was promised."""
    # found beside our entry files whatever the working directory holds
    environ = {**context.environ, "PYTHONPATH": str(context.entries)}
    # -P: the working directory is not searched, where a package of the same name may lie.
    os.execve(sys.executable, [sys.executable, "-P", "-m", "chaos", *words], environ)  # noqa: S606
