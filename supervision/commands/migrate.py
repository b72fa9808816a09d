"""`migrate`: bring the database's schema up to date. The recorder's room does it; this only runs its entry file with
the right environment."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import NoReturn

from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder

HELP = "apply pending schema migrations"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""


def run(context: Context, given: Namespace) -> NoReturn:
    """Become `proc_recorder.py --migrate`."""
    become_recorder(context, "--migrate")
