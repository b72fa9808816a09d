"""`import`: take numbers, contacts, history and browser profiles of a single-process server over.

Numbers come paused: the old server serves them until `connections resume` and `sessions` move one. OLD_DATABASE_URL
names its database where that is another one than DATABASE_URL. It may be repeated: what is here already stays.
"""

from __future__ import annotations

from argparse import REMAINDER, ArgumentParser, Namespace
from typing import NoReturn

from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder

HELP = "take numbers, contacts, history and browser profiles of a single-process server over (MIGRATION.md)"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line: every word is the room's own, also those that look like options."""
    parser.prefix_chars = ""
    parser.add_argument("words", nargs=REMAINDER, metavar="…", help="`bulkhead import --help` lists them")


def run(context: Context, given: Namespace) -> NoReturn:
    """Become `proc_recorder.py --import`."""
    become_recorder(context, "--import", *given.words)
