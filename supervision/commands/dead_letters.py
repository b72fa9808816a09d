"""`dead-letters list|redrive`: messages that are not retried without an operator; done by a process of the recorder's
entry file.
"""

from __future__ import annotations

from argparse import REMAINDER, ArgumentParser, Namespace
from typing import NoReturn

from supervision.commands.context import Context
from supervision.commands.recorder_process import become_recorder

HELP = "list failed messages, and queue them again"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line: every word is the recorder's, also those that look like options."""
    parser.prefix_chars = ""
    parser.add_argument("words", nargs=REMAINDER, metavar="…", help="`bulkhead dead-letters --help` lists them")


def run(context: Context, given: Namespace) -> NoReturn:
    """Become `proc_recorder.py --dead-letters …`."""
    become_recorder(context, "--dead-letters", *given.words)
