"""`webhooks list|show|replay`: list and show webhooks of the journal, and replay raw events or files.

The recorder's room does it; this only runs its entry file with the right environment.
"""

from __future__ import annotations

from typing import NoReturn

import click

from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder
from supervision.commands.options import passed_on


@click.command("webhooks", short_help="List, show and replay webhooks that came in.", **passed_on())
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="list|show|replay …")
@click.pass_obj
def command(context: Context, words: tuple[str, ...]) -> NoReturn:
    """List and show webhooks of the journal, and replay raw events or files."""
    become_recorder(context, "--webhooks", *words)
