"""`migrate`: bring the database's schema up to date. The recorder's room does it; this only runs its entry file with the right environment."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace

from shared.settings import ChildEnvironment
from supervision.commands.context import Context
from supervision.environment import child_environ

HELP = "bring the database's schema up to date"
_ENTRY = "proc_recorder.py"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""


def run(context: Context, given: Namespace) -> int:
    """Become `proc_recorder.py --migrate`."""
    environ = child_environ(context.told(), ChildEnvironment(process_name="recorder"), context.environ)
    os.execve(sys.executable, [sys.executable, str(context.entries / _ENTRY), "--migrate"], environ)  # noqa: S606 - the entry file beside ours
