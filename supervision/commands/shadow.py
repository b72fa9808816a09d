"""`shadow`: copy a single-process server's traffic to a shadow installation, and compare the answers. This only starts
the program `moving`."""

from __future__ import annotations

import os
import sys

import click

from supervision.commands.context import Context
from supervision.commands.options import passed_on


@click.command("shadow", short_help="Copy a single-process server's traffic to a shadow, compare.", **passed_on())
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="…")
@click.pass_obj
def command(context: Context, words: tuple[str, ...]) -> int:
    """Copy a single-process server's traffic to a shadow installation, and compare the answers (MIGRATION.md)."""
    # found beside our entry files whatever the working directory holds
    environ = {**context.environ, "PYTHONPATH": str(context.entries)}
    # -P: the working directory is not searched, where a package of the same name may lie
    os.execve(sys.executable, [sys.executable, "-P", "-m", "moving", *words], environ)  # noqa: S606
