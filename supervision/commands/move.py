"""`move`: let Bulkhead serve a share of a single-process server's numbers, watch them, and give them back when messages
fail.

The recorder's room does it; this only runs its entry file with the right environment.
"""

from __future__ import annotations

from argparse import REMAINDER, ArgumentParser, Namespace
from typing import NoReturn

from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder

HELP = "move a share of a single-process server's numbers here, or back (MIGRATION.md)"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line: every word is the room's own, also those that look like options."""
    parser.prefix_chars = ""
    parser.add_argument("words", nargs=REMAINDER, metavar="…", help="`bulkhead move --help` lists them")


def run(context: Context, given: Namespace) -> NoReturn:
    """Become `proc_recorder.py --move`."""
    become_recorder(context, "--move", *given.words)
