"""`reseal`: seals every secret with the newest key, says which keys are in use, and retires one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder

HELP = "seal every secret with the present SECRET_ENCRYPTION_KEY, and show which keys are in use"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "--retire", default="", metavar="KEY_ID", help="refuse unless nothing is sealed with this key any more"
    )


def run(context: Context, given: Namespace) -> int:
    """Do what was asked; returns only when it cannot begin."""
    # Works on the database itself: the API's processes may not be able to read the secrets any more.
    become_recorder(context, "--reseal", *(["--retire", given.retire] if given.retire else []))
