"""`move`: let Bulkhead serve a share of a single-process server's numbers, watch them, and give them back when messages
fail.

The recorder's room does it; this only runs its entry file with the right environment.
"""

from __future__ import annotations

from typing import NoReturn

import click

from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder
from supervision.commands.options import passed_on


@click.command("move", short_help="Move a share of a single-process server's numbers here, or back.", **passed_on())
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="…")
@click.pass_obj
def command(context: Context, words: tuple[str, ...]) -> NoReturn:
    """Move a share of a single-process server's numbers here, or back (MIGRATION.md)."""
    become_recorder(context, "--move", *words)
