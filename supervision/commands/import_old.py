"""`import`: take numbers, contacts, history and browser profiles of a single-process server over.

The recorder's room does it; this only runs its entry file with the right environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import click

from supervision.commands.context import Context
from supervision.commands.entry_process import ask_recorder
from supervision.commands.options import OLD_TABLES, old_tables


@click.command("import", short_help="Take over numbers, contacts, history and profiles of a single-process server.")
@click.option("--what", type=click.Choice(OLD_TABLES), multiple=True, help="Only this; may be repeated.")
@click.option("--company", "companies", multiple=True, metavar="ID", help="Only this company; may be repeated.")
@old_tables
@click.option(
    "--profiles",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Copy browser profiles out of a .wwebjs_auth.",
)
@click.option("--dry-run", is_flag=True, help="Say what is found, and change nothing.")
@click.pass_obj
def command(context: Context, /, **given: Any) -> NoReturn:
    """Take numbers, contacts, history and browser profiles of a single-process server over (MIGRATION.md).

    Numbers come paused: the old server serves them until `bulkhead move`, or `connections resume` and `sessions`, take
    one. OLD_DATABASE_URL names its database where that is another one than DATABASE_URL. It may be repeated: what is
    here already stays. Leaves with 1 when rows were refused.
    """
    ask_recorder(context, "--import", **given)
