"""What commands show: on a terminal in colours and folded to its width, elsewhere as plain aligned text.

The library of terminals is loaded only where there is a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from shared.table import cell, lines

_RECORDS_BELOW: Final = 60
"""Columns below which a table of several columns is shown as records, one field a line."""


def show_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: with a terminal's width and colours, or as plain aligned text."""
    if not sys.stdout.isatty():
        click.echo("\n".join(lines(head, rows)))
        return
    # by name: without a terminal it is not loaded
    view = import_module("supervision.commands.terminal_view")
    console = view.terminal()
    # a pair of columns always fits
    if console.width < _RECORDS_BELOW and len(head) > len(("name", "value")):
        click.echo("\n".join(records(head, rows)))
    else:
        console.print(view.table(head, rows))


def records(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return rows as records for a narrow terminal: one field a line, an empty line between two; what is empty is left
    out."""
    width = max(len(name) for name in head)
    found: list[str] = []
    for row in rows:
        shown = zip(head, map(cell, row), strict=True)
        found += [*(f"{name:<{width}}  {value}" for name, value in shown if value != "-"), ""]
    return found[:-1]


def warn(sentence: str) -> None:
    """Print a sentence on standard error."""
    click.echo(sentence, err=True)
