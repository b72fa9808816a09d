"""`webhooks list|show|replay`: list and show webhooks of the journal, and replay raw events or files.

The recorder's room does it; this only runs its entry file with the right environment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from shared.process.exit_codes import ExitCode
from supervision.commands import screen
from supervision.commands.context import Context
from supervision.commands.entry_process import ask_recorder, recorder_rows
from supervision.commands.options import INSTANT, SECONDS, PointedArgument, as_json, count

_F = TypeVar("_F", bound=Callable[..., Any])


def _choice(function: _F) -> _F:
    """Add the options that choose events."""
    for option in (
        click.option("--failed", is_flag=True, help="Only those that could not be processed at all."),
        click.option("--named", is_flag=True, help="Only those that were not fully understood, failed ones included."),
        click.option("--words", default="", metavar="TEXT", help="Only those with these words in their outcome."),
        click.option("--since", type=INSTANT, default=None, help="Only those received since: 30m, 2h, or an instant."),
        click.option("--until", type=INSTANT, default=None, help="Only those received before."),
        click.option("--files", is_flag=True, help="Files of messages that could not be fetched, in place of events."),
    )[::-1]:
        function = option(function)
    return function


@click.group("webhooks", short_help="List, show and replay webhooks that came in.")
def command() -> None:
    """Webhooks that came in, as they are kept in the journal (docs/inbound.md). Without a word: list."""


@command.command("list")
@click.option("-n", "--limit", type=count(1), default=50, show_default=True, metavar="N", help="How many at most.")
@click.option(
    "--before", type=count(1), default=None, metavar="ID", help="Only those before this id, for the next page."
)
@click.option("--waiting", is_flag=True, help="Only those that are not processed yet.")
@_choice
@as_json()
@click.pass_obj
def _list(context: Context, /, as_json: bool, **given: Any) -> int:
    """List raw events, the newest first; with --files the files of messages that could not be fetched."""
    if as_json:
        ask_recorder(context, "--webhooks", action="list", **given)
    code, rows = recorder_rows(context, "--webhooks", action="list", **given)
    if code == ExitCode.OK and rows:
        screen.show_table(list(rows[0]), [list(row.values()) for row in rows])
    elif code == ExitCode.OK:
        click.echo("Every file was fetched." if given["files"] else "There are no such events.")
    return code


@command.command("show")
@click.argument("id", type=count(1), metavar="ID", cls=PointedArgument, hint="`bulkhead webhooks list` shows them.")
@as_json("As one line of JSON.")
@click.pass_obj
def _show(context: Context, /, **given: Any) -> NoReturn:
    """Show one raw event as it came."""
    ask_recorder(context, "--webhooks", action="show", **given)


@command.command("replay")
@click.argument("ids", type=count(1), nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="Needed when neither ids nor options choose.")
@click.option(
    "--wait",
    type=SECONDS,
    default=60.0,
    show_default=True,
    metavar="S",
    help="Give up after so many seconds without progress.",
)
@_choice
@as_json()
@click.pass_obj
def _replay(context: Context, /, **given: Any) -> NoReturn:
    """Process raw events again (with --files, fetch files of messages again): those named, or all that the options
    choose. What is already known does not change.

    Leaves with 1 when some are still not understood, or no process read them in time.
    """
    if not any(value for name, value in given.items() if name not in ("wait", "as_json")):
        raise click.UsageError("choose: ids, --failed, --named, --words, --since, --until, --files, or --all")
    ask_recorder(context, "--webhooks", action="replay", waiting=False, **given)
