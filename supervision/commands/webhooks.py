"""`webhooks list|show|replay`: list and show webhooks of the journal, and replay raw events or files.

The recorder's room does it; this only runs its entry file with the right environment.
"""

from __future__ import annotations

from argparse import REMAINDER, ArgumentParser, Namespace
from typing import NoReturn

from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder

HELP = "list, show and replay webhooks"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line: every word is the room's own, also those that look like options."""
    parser.prefix_chars = ""
    parser.add_argument("words", nargs=REMAINDER, metavar="…", help="`bulkhead webhooks --help` lists them")


def run(context: Context, given: Namespace) -> NoReturn:
    """Become `proc_recorder.py --webhooks …`."""
    become_recorder(context, "--webhooks", *given.words)
