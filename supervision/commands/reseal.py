"""`reseal`: seals every secret with the newest key, says which keys are in use, and retires one."""

from __future__ import annotations

from typing import NoReturn

import click

from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder


@click.command("reseal", short_help="Seal every secret with the present key, and show which keys are in use.")
@click.option("--retire", default="", metavar="KEY_ID", help="Refuse unless nothing is sealed with this key any more.")
@click.pass_obj
def command(context: Context, retire: str) -> NoReturn:
    """Seal every secret with the present SECRET_ENCRYPTION_KEY, and show which keys are in use."""
    # Works on the database itself: the API's processes may not be able to read the secrets any more.
    become_recorder(context, "--reseal", *(["--retire", retire] if retire else []))
