"""`chaos`: inject faults while messages flow, and judge by the provider's ledger. This only starts the program
`chaos`."""

from __future__ import annotations

import os
import sys
from argparse import REMAINDER, ArgumentParser, Namespace

from supervision.commands.context import Context

HELP = "inject faults while messages flow, and compare what arrived with what was promised"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line: every word is the program's own, also those that look like options."""
    parser.prefix_chars = ""
    parser.add_argument("words", nargs=REMAINDER, metavar="…", help="`bulkhead chaos --help` lists them")


def run(context: Context, given: Namespace) -> int:
    """Become `python -m chaos`, found beside our entry files whatever the working directory holds."""
    environ = {**context.environ, "PYTHONPATH": str(context.entries)}
    # the program beside ours
    # -P: the working directory is not searched, where a package of the same name may lie.
    os.execve(sys.executable, [sys.executable, "-P", "-m", "chaos", *given.words], environ)  # noqa: S606
