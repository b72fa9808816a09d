"""`migrate [--status | --back N]`: bring the database's schema up to date, show its migrations, or undo the newest.

The recorder's room does it; this only runs its entry file with the right environment.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import NoReturn

from shared.numbers import whole
from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder

HELP = "apply pending schema migrations; --status shows them, --back N undoes the newest ones"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true", help="show each migration: applied, pending, edited, unknown")
    what.add_argument("--back", type=whole(1), metavar="N", help="undo the newest N; shows what is lost, and asks")
    parser.add_argument("--yes", action="store_true", help="do not ask (--back)")


def run(context: Context, given: Namespace) -> NoReturn:
    """Become `proc_recorder.py --migrate`."""
    words = ["--status"] if given.status else ["--back", str(given.back)] if given.back else []
    become_recorder(context, "--migrate", *words, *(["--yes"] if given.yes else []))
