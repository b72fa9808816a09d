"""`webhooks list|show|replay`: look into the journal of webhooks, and have raw events or files processed again.

The recorder's room does it; this only runs its entry file with the right environment.
"""

from __future__ import annotations

import os
import sys
from argparse import REMAINDER, ArgumentParser, Namespace

from shared.settings import ChildEnvironment
from supervision.commands.context import Context
from supervision.environment import child_environ

HELP = "look into the journal of webhooks, and process it again"
_ENTRY = "proc_recorder.py"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line: every word is the room's own, also those that look like options."""
    parser.prefix_chars = ""
    parser.add_argument("words", nargs=REMAINDER, metavar="…", help="`bulkhead webhooks --help` lists them")


def run(context: Context, given: Namespace) -> int:
    """Become `proc_recorder.py --webhooks …`."""
    environ = child_environ(context.told(), ChildEnvironment(process_name="recorder"), context.environ)
    command = [sys.executable, str(context.entries / _ENTRY), "--webhooks", *given.words]
    os.execve(sys.executable, command, environ)  # noqa: S606 - the entry file beside ours
