"""`move`: let Bulkhead serve a share of a single-process server's numbers, watch them, and give them back when messages
fail.

The recorder's room does it; this only runs its entry file with the right environment.
"""

from __future__ import annotations

from typing import Any, NoReturn

import click

from shared.channels.registry import connection_types
from supervision.commands.context import Context
from supervision.commands.entry_process import ask_recorder
from supervision.commands.options import DURATION, PERCENT, SECONDS, old_tables


@click.command("move", short_help="Move a share of a single-process server's numbers here, or back.")
@click.option("--percent", type=PERCENT, required=True, help="Share of them that is here.")
@click.option(
    "--type", "types", type=click.Choice(connection_types()), multiple=True, help="Only of these types; repeatable."
)
@click.option("--old-off", required=True, metavar="WORD", help="Status by which the old server lets one go: inactive.")
@click.option("--old-on", required=True, metavar="WORD", help="Status by which it serves one: active.")
@click.option(
    "--for", "watch_s", type=DURATION, default=0, metavar="2d", help="Watch the moved numbers for so long: 30m, 2h, 2d."
)
@click.option(
    "--failed-share", type=PERCENT, default=5.0, show_default=True, help="Give back above so many percent failures."
)
@click.option(
    "--oldest",
    type=SECONDS,
    default=120.0,
    show_default=True,
    metavar="S",
    help="Give back when a message waits for longer.",
)
@click.option(
    "--drain",
    type=SECONDS,
    default=30.0,
    show_default=True,
    metavar="S",
    help="Let what waits here be sent before a number goes back, for so long at most.",
)
@old_tables
@click.option("--dry-run", is_flag=True, help="Say what would change sides.")
@click.pass_obj
def command(context: Context, /, **given: Any) -> NoReturn:
    """Let Bulkhead serve a share of the numbers of a single-process server, in an order that is always the same; a
    smaller share gives numbers back (MIGRATION.md).

    Leaves with 1 when numbers were given back, or one could not be moved.
    """
    ask_recorder(context, "--move", **given)
