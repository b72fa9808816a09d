"""`dead-letters list|redrive`: messages that are not tried again without a human.

The recorder's room does it; this only runs its entry file with the right environment.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import NoReturn

from supervision.commands.context import Context
from supervision.commands.recorder_process import become_recorder

HELP = "list messages that failed, and queue them again"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("action", choices=("list", "redrive"), help="what to do")
    parser.add_argument("--company", metavar="ID", default="", help="only of this company; needed for redrive")
    parser.add_argument("--id", type=int, metavar="N", default=0, help="only this message (redrive)")
    parser.add_argument("--code", metavar="CODE", default="", help="only those with this error code")
    parser.add_argument("--phone-index", type=int, metavar="N", default=-1, help="only those of this connection")
    parser.add_argument(
        "-n",
        "--limit",
        type=int,
        default=100,
        metavar="N",
        help="how many at most: list the newest, redrive the oldest (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(context: Context, given: Namespace) -> NoReturn:
    """Become `proc_recorder.py --dead-letters …`."""
    asked = [given.action, "--company", given.company, "--id", str(given.id), "--code", given.code]
    asked += ["--phone-index", str(given.phone_index), "--limit", str(given.limit), *(["--json"] if given.json else [])]
    become_recorder(context, "--dead-letters", *asked)
