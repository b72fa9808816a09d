"""`hooks list|add|show|pause|resume|remove|test|replay|deliveries`: who is called when something happens."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

import click

from shared.process.exit_codes import ExitCode
from shared.table import age
from shared.timestamps import iso
from supervision.commands import screen
from supervision.commands.companies import companies_named
from supervision.commands.context import Context
from supervision.commands.entry_process import operations
from supervision.commands.options import (
    ALL_COMPANIES,
    INSTANT,
    PointedArgument,
    as_json,
    company,
    count,
    some_companies,
)

_HEAD: Final = ("id", "url", "state", "types", "waiting", "dead", "failing", "why")
_PAGE_MOST: Final = 200
"""Attempts of one page of the API."""
_ID: Final = click.argument("id", metavar="ID", cls=PointedArgument, hint="`bulkhead hooks list` shows them.")


@click.group("hooks", short_help="List, add, test and replay outgoing webhooks.")
def command() -> None:
    """Outgoing webhooks: who is called when something happens (docs/hooks.md)."""


@command.command("list")
@some_companies()
@as_json()
@click.pass_obj
def _list(context: Context, company: str, as_json: bool) -> int:
    """List webhooks, with what waits for them."""
    rows: list[list[object]] = []
    with operations(context) as api:
        for name in companies_named(api, context, company):
            for one in api.call("GET", _place(context, name))["hooks"]:
                if as_json:
                    click.echo(json.dumps({"companyId": name} | one if company == ALL_COMPANIES else one))
                rows.append([name, *_row(one)])
    if as_json:
        return ExitCode.OK
    of_all = company == ALL_COMPANIES
    screen.show_table(("company", *_HEAD) if of_all else _HEAD, rows if of_all else [row[1:] for row in rows])
    return ExitCode.OK


@command.command("show")
@_ID
@company()
@click.pass_obj
def _show(context: Context, id: str, company: str) -> int:
    """Show one webhook, as JSON."""
    with operations(context) as api:
        click.echo(json.dumps(api.call("GET", _one(context, company, id)), indent=2, ensure_ascii=False))
    return ExitCode.OK


@command.command("add")
@click.argument("url")
@company()
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only these events, for example message.*.")
@click.option("--index", "indexes", type=count(0), multiple=True, metavar="N", help="Only of these connections.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header that each delivery has.")
@as_json()
@click.pass_obj
def _add(
    context: Context,
    url: str,
    company: str,
    types: tuple[str, ...],
    indexes: tuple[int, ...],
    headers: tuple[str, ...],
    as_json: bool,
) -> int:
    """Have URL called; its secret alone is printed on standard output, this once."""
    pairs = [header.partition("=") for header in headers]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise click.UsageError(f"--header {wrong[0]!r} is no NAME=VALUE")
    body = {
        "url": url,
        "types": list(types),
        "phoneIndexes": list(indexes),
        "headers": {name: value for name, _, value in pairs},
    }
    with operations(context) as api:
        made = api.call("POST", _place(context, company), body)
    if as_json:
        click.echo(json.dumps(made))
    else:
        # alone on standard output, for `SECRET=$(bulkhead hooks add …)`
        click.echo(made["secret"])
        screen.warn(f"Webhook {made['id']}. Its secret is shown this once; keep it now.")
        screen.warn(f"To see it work: bulkhead hooks test {made['id']}, then bulkhead hooks deliveries {made['id']}")
    return ExitCode.OK


@command.command("pause")
@_ID
@company()
@click.pass_obj
def _pause(context: Context, id: str, company: str) -> int:
    """Let a webhook's events wait."""
    return _switch(context, company, id, "paused")


@command.command("resume")
@_ID
@company()
@click.pass_obj
def _resume(context: Context, id: str, company: str) -> int:
    """Deliver a webhook's events again, also after it was disabled."""
    return _switch(context, company, id, "active")


@command.command("remove")
@_ID
@company()
@click.pass_obj
def _remove(context: Context, id: str, company: str) -> int:
    """Remove a webhook."""
    with operations(context) as api:
        removed = api.call("DELETE", _one(context, company, id))
    click.echo(f"Removed: {removed['url']}.")
    return ExitCode.OK


@command.command("test")
@_ID
@company()
@click.pass_obj
def _test(context: Context, id: str, company: str) -> int:
    """Deliver a test event."""
    with operations(context) as api:
        sent = api.call("POST", f"{_one(context, company, id)}/test")
    click.echo(f"Event {sent['eventId']} is being delivered; see `bulkhead hooks deliveries {id}`.")
    return ExitCode.OK


@command.command("replay")
@_ID
@company()
@click.option("--since", type=INSTANT, default=None, metavar="WHEN", help="Everything since then: 30m, 2h, …")
@click.option("--event", "events", multiple=True, metavar="ID", help="These events.")
@click.option("--dead", is_flag=True, help="What was given up.")
@click.pass_obj
def _replay(
    context: Context, id: str, company: str, since: datetime | None, events: tuple[str, ...], dead: bool
) -> int:
    """Deliver events once more: one of --since, --event and --dead."""
    given: dict[str, Any] = {
        "since": since and iso(since),
        "eventIds": list(events),
        "deadLetters": dead,
    }
    body = {name: value for name, value in given.items() if value}
    if len(body) != 1:
        raise click.UsageError("give one of --since, --event and --dead")
    with operations(context) as api:
        done = api.call("POST", f"{_one(context, company, id)}/replay", body)
    click.echo("Its events since then are delivered again." if since else f"Delivered again: {done['events']} events.")
    return ExitCode.OK


@command.command("deliveries")
@_ID
@company()
@click.option("--outcome", type=click.Choice(("taken", "failed", "dead")), default=None, help="Only these.")
@click.option("-n", "--limit", type=count(1, _PAGE_MOST), default=50, show_default=True, metavar="N", help="At most.")
@as_json()
@click.pass_obj
def _deliveries(context: Context, id: str, company: str, outcome: str | None, limit: int, as_json: bool) -> int:
    """List attempts of deliveries, the newest first."""
    query = urlencode({"limit": limit, **({"outcome": outcome} if outcome else {})})
    with operations(context) as api:
        found = api.call("GET", f"{_one(context, company, id)}/deliveries?{query}")["deliveries"]
    if as_json:
        for one in found:
            click.echo(json.dumps(one))
    elif found:
        columns = tuple(found[0])
        screen.show_table(columns, [list(one.values()) for one in found])
    else:
        click.echo("No such deliveries.")
    return ExitCode.OK


def _place(context: Context, company: str) -> str:
    return f"/api/v2/hooks/{quote(company or context.known().company_id, safe='')}"


def _one(context: Context, company: str, id: str) -> str:
    return f"{_place(context, company)}/{quote(id, safe='')}"


def _switch(context: Context, company: str, id: str, state: str) -> int:
    with operations(context) as api:
        now = api.call("PATCH", _one(context, company, id), {"state": state})
    click.echo(f"It is {now['state']}.")
    return ExitCode.OK


def _row(one: dict[str, Any]) -> list[object]:
    return [
        one["id"],
        one["url"],
        one["state"],
        ",".join(one["types"]) or "(all)",
        one["waiting"],
        one["deadLetters"],
        age(one["failingSince"]),
        one["stateReason"],
    ]
