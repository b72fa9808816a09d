"""`keys list|add|rotate|revoke`: keys of API clients."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote, urlencode

import click

from shared.process.exit_codes import ExitCode
from supervision.commands import screen
from supervision.commands.context import Context
from supervision.commands.entry_process import Operations, operations
from supervision.commands.options import ALL_COMPANIES, PointedArgument, as_json, company, count

# the API checks them; named here for the help alone
_SCOPES: Final = "send,read,manage,operate,monitor"
_HEAD: Final = ("id", "name", "company", "prefix", "scopes", "last used", "state")
_ID: Final = click.argument("id", metavar="ID", cls=PointedArgument, hint="`bulkhead keys list` shows them.")


@click.group("keys", short_help="List, make, rotate and revoke API keys.")
def command() -> None:
    """Keys of API clients, for all companies or one (docs/keys.md)."""


@command.command("list")
@company("Only of this company.  [default: all]")
@as_json()
@click.pass_obj
def _list(context: Context, company: str, as_json: bool) -> int:
    """List keys, without the keys themselves."""
    with operations(context) as api:
        found = _all(api, "" if company == ALL_COMPANIES else company)
    if as_json:
        for one in found:
            click.echo(json.dumps(one))
    else:
        screen.show_table(_HEAD, [_row(one) for one in found])
    return ExitCode.OK


@command.command("add")
@company("The only company that it reaches.  [default: all]")
@click.option("--name", required=True, help="Who uses it, for people.")
@click.option("--scopes", required=True, metavar="SCOPES", help=f"Comma-separated, of {_SCOPES}.")
@click.option("--expires", default="", metavar="INSTANT", help="ISO 8601 with a time zone.")
@as_json()
@click.pass_obj
def _add(context: Context, company: str, name: str, scopes: str, expires: str, as_json: bool) -> int:
    """Make a key; it alone is printed on standard output, this once."""
    body = {
        "name": name,
        "companyId": company or None,
        "scopes": [scope.strip() for scope in scopes.split(",")],
        **({"expiresAt": expires} if expires else {}),
    }
    with operations(context) as api:
        return _handed_over(api.call("POST", "/api/v2/keys", body), as_json)


@command.command("rotate")
@_ID
@click.option("--overlap", type=count(0), default=None, metavar="SECONDS", help="How long the old text is taken.")
@as_json()
@click.pass_obj
def _rotate(context: Context, id: str, overlap: int | None, as_json: bool) -> int:
    """Give a key another text; the new one is printed, this once."""
    body = {} if overlap is None else {"overlapSeconds": overlap}
    with operations(context) as api:
        return _handed_over(api.call("POST", f"/api/v2/keys/{quote(id, safe='')}/rotate", body), as_json)


@command.command("revoke")
@_ID
@as_json()
@click.pass_obj
def _revoke(context: Context, id: str, as_json: bool) -> int:
    """End a key for good."""
    with operations(context) as api:
        ended = api.call("DELETE", f"/api/v2/keys/{quote(id, safe='')}")
    click.echo(json.dumps(ended) if as_json else "Revoked: within a second no process takes it any more.")
    return ExitCode.OK


def _handed_over(made: dict[str, Any], as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(made))
    else:
        # the key alone on standard output, for `KEY=$(bulkhead keys add …)`
        click.echo(made["key"])
        screen.warn(f"Key {made['id']}. It is shown this once; keep it now.")
    return ExitCode.OK


def _all(api: Operations, company: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: str | None = "0"
    # The API returns pages; an operator's list is complete.
    while after is not None:
        query = urlencode({"after": after, **({"companyId": company} if company else {})})
        page = api.call("GET", f"/api/v2/keys?{query}")
        found += page["keys"]
        after = page["next"]
    return found


def _row(one: dict[str, Any]) -> list[str]:
    state = "revoked" if one["revokedAt"] else f"until {one['expiresAt']}" if one["expiresAt"] else "active"
    return [
        one["id"],
        one["name"],
        one["companyId"] or "(all)",
        one["prefix"],
        ",".join(one["scopes"]),
        one["lastUsedAt"] or "never",
        state,
    ]
