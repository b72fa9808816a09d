"""`dead-letters list|redrive`: messages that are not tried again without a human."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import click

from shared.process.exit_codes import ExitCode
from supervision.commands import screen
from supervision.commands.command_exits import CommandRefused
from supervision.commands.companies import all_companies, companies_named
from supervision.commands.context import Context
from supervision.commands.entry_process import Operations, operations
from supervision.commands.options import as_json, company, count

_F = TypeVar("_F", bound=Callable[..., Any])
_AT_ONCE: Final = 1000
"""Most messages of one redrive, as the API allows."""
_COLUMNS: Final = {
    "id": "id",
    "company_id": "companyId",
    "phone_index": "phoneIndex",
    "connection_type": "connectionType",
    "state": "status",
    "attempt": "attempt",
    "error_code": "code",
    "updated_at": "updatedAt",
}
"""Column, and field of a letter. Neither the chat nor the text: what is printed here ends up in tickets and in the
history of terminals."""


@click.group("dead-letters", short_help="List failed messages, and queue them again.")
def command() -> None:
    """Messages that are not tried again without a human (docs/runbook/DeadLettersMany.md)."""


def _chosen(function: _F) -> _F:
    """Add the options that choose letters."""
    for option in (
        click.option("--code", metavar="CODE", default="", help="Only those with this error code."),
        click.option("--phone-index", type=count(0), metavar="N", default=None, help="Only those of this connection."),
        click.option(
            "-n",
            "--limit",
            type=count(1, _AT_ONCE),
            default=100,
            show_default=True,
            metavar="N",
            help="How many at most: list the newest, redrive the oldest.",
        ),
        as_json(),
    ):
        function = option(function)
    return function


@command.command("list")
@company("Only of this company.  [default: all]")
@_chosen
@click.pass_obj
def _list(context: Context, company: str, code: str, phone_index: int | None, limit: int, as_json: bool) -> int:
    """List dead letters, the newest first, without chats and texts."""
    chosen = _query(code, phone_index)
    with operations(context) as api:
        names = companies_named(api, context, company) if company else [one["companyId"] for one in all_companies(api)]
        letters = [letter for name in names for letter in _letters(api, name, chosen, limit)]
    # Ids grow over all companies: the newest of all of them, not of each.
    shown = sorted(letters, key=lambda letter: -int(letter["id"]))[:limit]
    if as_json:
        for letter in shown:
            click.echo(json.dumps(_row(letter)))
    elif shown:
        screen.show_table(tuple(_COLUMNS), [list(_row(letter).values()) for letter in shown])
    else:
        click.echo("there are no dead letters")
    return ExitCode.OK


@command.command("redrive")
@click.option(
    "--company",
    metavar="ID",
    required=True,
    help="Of this company; needed, so that no other company's messages are sent by mistake.",
)
@click.option("--id", "id", type=count(1), metavar="N", default=0, help="Only this message.")
@_chosen
@click.pass_obj
def _redrive(
    context: Context, company: str, id: int, code: str, phone_index: int | None, limit: int, as_json: bool
) -> int:
    """Queue dead letters again, the oldest first."""
    with operations(context) as api:
        if id:
            _redrive_one(api, company, id)
            done = {"redriven": 1, "more": False}
        else:
            body = _query(code, phone_index) | {"limit": limit}
            done = api.call("POST", f"/api/v2/dead-letters/{quote(company, safe='')}/redrive", body)
    if as_json:
        click.echo(json.dumps({"redriven": done["redriven"], "more": done["more"]}))
    else:
        click.echo(f"queued again: {done['redriven']}{'; there may be more' if done['more'] else ''}")
    return ExitCode.OK


def _redrive_one(api: Operations, company: str, id: int) -> None:
    # An id that moves nothing is the operator's mistake; a filter that matches nothing is an answer.
    place = quote(company, safe="")
    page = api.call("GET", f"/api/v2/dead-letters/{place}?{urlencode({'cursor': id + 1})}")
    letter = next((one for one in page["letters"] if one["id"] == str(id)), None)
    if letter is None:
        raise CommandRefused(
            f"company {company} has no dead letter {id}; `bulkhead dead-letters list` shows them", ExitCode.USAGE
        )
    api.call("POST", f"/api/v2/messages/{place}/{quote(letter['chatId'], safe='')}/{id}/redrive")


def _query(code: str, phone_index: int | None) -> dict[str, Any]:
    return {name: value for name, value in (("code", code), ("phoneIndex", phone_index)) if value or value == 0}


def _letters(api: Operations, company: str, chosen: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
    """Yield the newest letters of one company."""
    left, cursor = most, None
    while left > 0:
        query = urlencode(chosen | ({"cursor": cursor} if cursor else {}))
        page = api.call("GET", f"/api/v2/dead-letters/{quote(company, safe='')}?{query}")
        for letter in page["letters"][:left]:
            yield letter | {"companyId": company}
        left, cursor = left - len(page["letters"]), page["next"]
        if cursor is None:
            return


def _row(letter: dict[str, Any]) -> dict[str, Any]:
    fields = letter | {"id": int(letter["id"]), "code": letter["error"]["code"]}
    return {column: fields[field] for column, field in _COLUMNS.items()}
