"""`hooks list|add|show|change|rotate|pause|…`: who is called when something happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import wraps
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
_INSTALLATION: Final = click.option(
    "--installation", is_flag=True, help="Of the installation: its alerts, and starts and ends of processes."
)
_TYPES: Final = click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="Only these events, for example message.*."
)
_ID: Final = click.argument("id", metavar="ID", cls=PointedArgument, hint="`bulkhead hooks list` shows them.")


def _owned(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say whose webhooks they are; the command gets their `place` in the API."""

    @company()
    @_INSTALLATION
    @click.pass_obj
    @wraps(command)
    def chosen(context: Context, /, company: str, installation: bool, **given: Any) -> int:
        return command(context, place=_place(context, company, installation=installation), **given)

    return chosen


@click.group("hooks", short_help="List, add, test and replay outgoing webhooks.")
def command() -> None:
    """Outgoing webhooks: who is called when something happens (docs/hooks.md)."""


@command.command("list")
@some_companies()
@_INSTALLATION
@as_json()
@click.pass_obj
def _list(context: Context, company: str, installation: bool, as_json: bool) -> int:
    """List webhooks, with what waits for them."""
    rows: list[list[object]] = []
    with operations(context) as api:
        if installation:
            found = api.call("GET", _place(context, company, installation=True))["hooks"]
            if as_json:
                click.echo("\n".join(map(json.dumps, found)), nl=bool(found))
            else:
                screen.show_table(_HEAD, [_row(one) for one in found])
            return ExitCode.OK
        for name in companies_named(api, context, company):
            for one in api.call("GET", _place(context, name, installation=False))["hooks"]:
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
@_owned
def _show(context: Context, place: str, id: str) -> int:
    """Show one webhook, as JSON."""
    with operations(context) as api:
        click.echo(json.dumps(api.call("GET", _one(place, id)), indent=2, ensure_ascii=False))
    return ExitCode.OK


@command.command("add")
@click.argument("url")
@_TYPES
@click.option("--index", "indexes", type=count(0), multiple=True, metavar="N", help="Only of these connections.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header that each delivery has.")
@as_json()
@_owned
def _add(
    context: Context,
    place: str,
    url: str,
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
        "headers": {name: value for name, _, value in pairs},
        **({"phoneIndexes": list(indexes)} if indexes else {}),
    }
    with operations(context) as api:
        made = api.call("POST", place, body)
    _handed_over(made, as_json)
    if not as_json:
        named = f"{made['id']}{' --installation' if place == _OF_INSTALLATION else ''}"
        screen.warn(f"To see it work: bulkhead hooks test {named}, then bulkhead hooks deliveries {named}")
    return ExitCode.OK


@command.command("change")
@_ID
@click.option("--url", default=None, metavar="URL", help="Where events are posted to.")
@_TYPES
@_owned
def _change(context: Context, place: str, id: str, url: str | None, types: tuple[str, ...]) -> int:
    """Change the address or the types of a webhook."""
    body = {name: value for name, value in (("url", url), ("types", list(types))) if value}
    if not body:
        raise click.UsageError("give --url or --type")
    with operations(context) as api:
        now = api.call("PATCH", _one(place, id), body)
    click.echo(f"It posts {', '.join(now['types']) or 'all events'} to {now['url']}.")
    return ExitCode.OK


@command.command("rotate")
@_ID
@as_json()
@_owned
def _rotate(context: Context, place: str, id: str, as_json: bool) -> int:
    """Give a webhook a new secret, printed this once; for a day the one before also signs."""
    with operations(context) as api:
        made = api.call("POST", f"{_one(place, id)}/rotate")
    return _handed_over(made, as_json)


@command.command("pause")
@_ID
@_owned
def _pause(context: Context, place: str, id: str) -> int:
    """Let a webhook's events wait."""
    return _switch(context, place, id, "paused")


@command.command("resume")
@_ID
@_owned
def _resume(context: Context, place: str, id: str) -> int:
    """Deliver a webhook's events again, also after it was disabled."""
    return _switch(context, place, id, "active")


@command.command("remove")
@_ID
@_owned
def _remove(context: Context, place: str, id: str) -> int:
    """Remove a webhook."""
    with operations(context) as api:
        removed = api.call("DELETE", _one(place, id))
    click.echo(f"Removed: {removed['url']}.")
    return ExitCode.OK


@command.command("test")
@_ID
@_owned
def _test(context: Context, place: str, id: str) -> int:
    """Deliver a test event."""
    with operations(context) as api:
        sent = api.call("POST", f"{_one(place, id)}/test")
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
        done = api.call("POST", f"{_one(_place(context, company, installation=False), id)}/replay", body)
    click.echo("Its events since then are delivered again." if since else f"Delivered again: {done['events']} events.")
    return ExitCode.OK


@command.command("deliveries")
@_ID
@click.option("--outcome", type=click.Choice(("taken", "failed", "dead")), default=None, help="Only these.")
@click.option("-n", "--limit", type=count(1, _PAGE_MOST), default=50, show_default=True, metavar="N", help="At most.")
@as_json()
@_owned
def _deliveries(context: Context, place: str, id: str, outcome: str | None, limit: int, as_json: bool) -> int:
    """List attempts of deliveries, the newest first."""
    query = urlencode({"limit": limit, **({"outcome": outcome} if outcome else {})})
    with operations(context) as api:
        found = api.call("GET", f"{_one(place, id)}/deliveries?{query}")["deliveries"]
    if as_json:
        for one in found:
            click.echo(json.dumps(one))
    elif found:
        columns = tuple(found[0])
        screen.show_table(columns, [list(one.values()) for one in found])
    else:
        click.echo("No such deliveries.")
    return ExitCode.OK


_OF_INSTALLATION: Final = "/api/v2/installation/hooks"


def _place(context: Context, company: str, *, installation: bool) -> str:
    """Return where the API has the webhooks of a company, or of the installation."""
    if installation and company:
        raise click.UsageError("give --company or --installation, not both")
    if installation:
        return _OF_INSTALLATION
    return f"/api/v2/hooks/{quote(company or context.known().company_id, safe='')}"


def _one(place: str, id: str) -> str:
    return f"{place}/{quote(id, safe='')}"


def _handed_over(made: dict[str, Any], as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(made))
    else:
        # alone on standard output, for `SECRET=$(bulkhead hooks add …)`
        click.echo(made["secret"])
        screen.warn(f"Webhook {made['id']}. Its secret is shown this once; keep it now.")
    return ExitCode.OK


def _switch(context: Context, place: str, id: str, state: str) -> int:
    with operations(context) as api:
        now = api.call("PATCH", _one(place, id), {"state": state})
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
