"""`import`: take numbers, contacts, history and browser profiles of a single-process server over.

Numbers come paused: the old server serves them until `connections resume` and `sessions` move one. OLD_DATABASE_URL
names its database where that is another one than DATABASE_URL. It may be repeated: what is here already stays.
"""

from __future__ import annotations

from typing import NoReturn

import click

from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder
from supervision.commands.options import passed_on


@click.command(
    "import", short_help="Take over numbers, contacts, history and profiles of a single-process server.", **passed_on()
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="…")
@click.pass_obj
def command(context: Context, words: tuple[str, ...]) -> NoReturn:
    """Take numbers, contacts, history and browser profiles of a single-process server over (MIGRATION.md)."""
    become_recorder(context, "--import", *words)
