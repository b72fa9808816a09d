"""`migrate [--status | --back N]`: bring the database's schema up to date, show its migrations, or undo the newest.

The recorder's room does it; this only runs its entry file with the right environment.
"""

from __future__ import annotations

from typing import NoReturn

import click

from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder
from supervision.commands.options import count


@click.command("migrate", short_help="Apply pending schema migrations, show them, or undo some.")
@click.option("--status", is_flag=True, help="Show each migration: applied, pending, edited, unknown.")
@click.option(
    "--back", type=count(1), default=None, metavar="N", help="Undo the newest N; says what is lost, and asks."
)
@click.option("--yes", is_flag=True, help="Do not ask (--back).")
@click.pass_obj
def command(context: Context, status: bool, back: int | None, yes: bool) -> NoReturn:
    """Apply pending schema migrations; with --status show them, with --back undo the newest ones."""
    if status and back:
        raise click.UsageError("--status and --back exclude each other")
    words = ["--status"] if status else ["--back", str(back)] if back else []
    become_recorder(context, "--migrate", *words, *(["--yes"] if yes else []))
