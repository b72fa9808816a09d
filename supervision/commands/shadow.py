"""`shadow`: copy a single-process server's traffic to a shadow installation, and compare the answers. This only starts
the program `moving`."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import click

from supervision.commands.context import Context
from supervision.commands.entry_process import become_program
from supervision.commands.options import Checked

_PORT_MOST: Final = 65535


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ArgumentTypeError(f"{text!r} is not an address like http://127.0.0.1:3000")
    return text


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal()) or not 0 <= int(port) <= _PORT_MOST:
        raise ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return host or "127.0.0.1", int(port)


_ORIGIN: Final = Checked("URL", _origin)
_FILE: Final = click.Path(path_type=Path)


@click.command("shadow", short_help="Copy a single-process server's traffic to a shadow, compare.")
@click.option("--old", type=_ORIGIN, required=True, help="The single-process server.")
@click.option("--new", type=_ORIGIN, required=True, help="The shadow installation's API.")
@click.option("--key-file", type=_FILE, required=True, metavar="FILE", help="File with the shadow's API key.")
@click.option(
    "--listen",
    type=Checked("ADDRESS:PORT", _place),
    default="127.0.0.1:3900",
    show_default=True,
    help="Where clients of the old server are passed to.",
)
@click.option("--report", type=_FILE, default=None, metavar="FILE", help="One JSON object a line for each difference.")
@click.pass_obj
def command(context: Context, /, **given: Any) -> NoReturn:
    """Pass requests to a single-process server, copy them to a shadow installation of Bulkhead that sends to its
    sandbox alone, and report where the answers differ (MIGRATION.md).

    Leaves with 1 when answers differed.
    """
    become_program(context, "moving", **given)
