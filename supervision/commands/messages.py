"""`messages search|show`: find messages of a company, and see the whole history of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

import click

from shared.process.exit_codes import ExitCode
from shared.timestamps import iso
from supervision.commands import screen
from supervision.commands.companies import companies_named
from supervision.commands.context import Context
from supervision.commands.entry_process import Operations, operations
from supervision.commands.options import INSTANT, PointedArgument, as_json, company, count, some_companies

_COLUMNS: Final = ("id", "at", "direction", "chatId", "phoneIndex", "type", "status", "errorCode")
_PAGE_MOST: Final = 200
"""Messages of one page of the API."""


@click.group("messages", short_help="Search messages, and show one with its history.")
def command() -> None:
    """Messages that were sent and received. Texts are shown only with --json or by `show`."""


@command.command("search")
@click.argument("words", nargs=-1)
@some_companies()
@click.option("--chat", default="", metavar="ID", help="Only of this chat, by any of its ids.")
@click.option("--index", type=count(0), default=None, metavar="N", help="Only of this connection.")
@click.option("--direction", type=click.Choice(("in", "out")), default=None, help="Only received or sent ones.")
@click.option("--type", "type", default="", metavar="TYPE", help="Only this type, for example image.")
@click.option(
    "--state", "status", default="", metavar="STATE", help="Only in this state: queued, failed, in_doubt, received, …"
)
@click.option("--since", type=INSTANT, default=None, metavar="WHEN", help="Only since then: 30m, 2h, or an instant.")
@click.option("--until", type=INSTANT, default=None, metavar="WHEN", help="Only before then.")
@click.option("-n", "--limit", type=count(1, 10_000), default=50, show_default=True, metavar="N", help="At most.")
@as_json()
@click.pass_obj
def _search(
    context: Context,
    words: tuple[str, ...],
    company: str,
    chat: str,
    index: int | None,
    direction: str | None,
    type: str,
    status: str,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> int:
    """List messages, the newest first: all, or those with any of some words."""
    given = {
        "q": " ".join(words),
        "chatId": chat,
        "phoneIndex": index,
        "direction": direction,
        "type": type,
        "status": status,
        "since": since and iso(since),
        "until": until and iso(until),
    }
    query = {name: value for name, value in given.items() if value not in (None, "")}
    with operations(context) as api:
        names = companies_named(api, context, company)
        found = [one for name in names for one in _found(api, name, query, limit)]
    # of several companies the newest of all
    shown = sorted(found, key=lambda one: (one["at"], int(one["id"])), reverse=True)[:limit]
    columns = ("companyId", *_COLUMNS) if len(names) > 1 else _COLUMNS
    if as_json:
        for one in shown:
            click.echo(json.dumps(one))
    elif shown:
        screen.show_table(columns, [[one[column] for column in columns] for one in shown])
    else:
        click.echo("No such messages.")
    return ExitCode.OK


@command.command("show")
@click.argument("chat", metavar="CHAT", cls=PointedArgument, hint="`bulkhead messages search` shows chats and ids.")
@click.argument("id", metavar="ID", cls=PointedArgument, hint="`bulkhead messages search` shows chats and ids.")
@company()
@as_json("As one line of JSON.")
@click.pass_obj
def _show(context: Context, chat: str, id: str, company: str, as_json: bool) -> int:
    """Show a message with its history. ID is ours or the provider's."""
    place = "/".join(quote(part, safe="") for part in (company or context.known().company_id, chat, id))
    with operations(context) as api:
        found = api.call("GET", f"/api/v2/messages/{place}")
    if as_json:
        click.echo(json.dumps(found))
        return ExitCode.OK
    history = found.pop("history")
    # a field without a value says nothing
    facts = {name: value for name, value in found.items() if value not in (None, "", [], {})}
    screen.show_table(
        ("FIELD", "VALUE"),
        [(name, value if isinstance(value, str | int) else json.dumps(value)) for name, value in facts.items()],
    )
    if history:
        click.echo()
        columns = ("at", "state", "attempt", "code", "detail", "incarnation")
        screen.show_table(columns, [[step.get(column) for column in columns] for step in history])
    return ExitCode.OK


def _found(api: Operations, company: str, query: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
    """Yield the newest messages of one company."""
    left, cursor = most, None
    while left > 0:
        asked = {**query, "limit": min(left, _PAGE_MOST), **({"cursor": cursor} if cursor else {})}
        page = api.call("GET", f"/api/v2/messages/{quote(company, safe='')}?{urlencode(asked)}")
        for one in page["messages"]:
            yield {"companyId": company} | one
        left, cursor = left - len(page["messages"]), page["next"]
        if cursor is None:
            return
