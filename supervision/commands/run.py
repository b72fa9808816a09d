"""`run`: what `bulkhead run` takes; `entry` starts the supervisor itself, without the library that parses here."""

from __future__ import annotations

import click

from supervision.commands.context import Context
from supervision.commands.supervise import start


@click.command("run", short_help="Start everything that is needed and supervise it, until Ctrl-C.")
@click.option(
    "--only", default="", metavar="KINDS", help="Run only these kinds and what they need, for example api,meta."
)
@click.pass_obj
def command(context: Context, only: str) -> int:
    """Start everything that is needed and supervise it, until Ctrl-C."""
    return start(context, only)
