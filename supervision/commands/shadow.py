"""`shadow`: copy a single-process server's traffic to a shadow installation, and compare the answers. This only starts
the program `moving`."""

from __future__ import annotations

import os
import sys
from argparse import REMAINDER, ArgumentParser, Namespace

from supervision.commands.context import Context

HELP = "copy a single-process server's traffic to a shadow installation, and compare the answers (MIGRATION.md)"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line: every word is the program's own, also those that look like options."""
    parser.prefix_chars = ""
    parser.add_argument("words", nargs=REMAINDER, metavar="…", help="`bulkhead shadow --help` lists them")


def run(context: Context, given: Namespace) -> int:
    """Become `python -m moving`, found beside our entry files whatever the working directory holds."""
    environ = {**context.environ, "PYTHONPATH": str(context.entries)}
    # -P: the working directory is not searched, where a package of the same name may lie
    os.execve(sys.executable, [sys.executable, "-P", "-m", "moving", *given.words], environ)  # noqa: S606
