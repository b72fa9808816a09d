"""`connections list|add|update|test|subscribe|pause|resume|remove|reseal`: manage a company's connections.

Secrets are never arguments, which every user of the machine can read: `--secrets FILE` names a file with them (`-`:
standard input), either a JSON object like `{"accessToken": "…"}`, or only the one secret that the connection's type
requires.
"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click

from shared.channels.registry import channel_named, connection_types
from shared.process.exit_codes import ExitCode
from shared.table import age
from supervision.commands import screen
from supervision.commands.command_exits import CommandExit, CommandRefused
from supervision.commands.companies import companies_named
from supervision.commands.context import Context
from supervision.commands.entry_process import become_recorder, operations
from supervision.commands.options import ALL_COMPANIES, as_json, company, count, phone_index, some_companies

_F = TypeVar("_F", bound=Callable[..., Any])

# Characters read of a file with secrets: the largest credential has some thousand.
_SECRETS_MOST: Final = 65_536
_HEAD: Final = ("index", "type", "status", "state", "quality", "tier", "checked", "why")


@click.group("connections", short_help="List, add, change, test, subscribe, pause, resume and remove connections.")
def command() -> None:
    """Manage a company's numbers, Pages and sessions (docs/connections.md).

    Secrets are never arguments, which every user of the machine can read: `--secrets FILE` names a file with them (`-`:
    standard input), either a JSON object like `{"accessToken": "…"}`, or only the one secret that the connection's type
    requires.
    """


def _properties(function: _F) -> _F:
    """Add the options that describe a connection."""
    for option in (
        click.option("--account", metavar="ID", default=None, help="Phone number id, Page id or Instagram account id."),
        click.option("--waba", metavar="ID", default=None, help="WhatsApp Business Account."),
        click.option(
            "--secrets", metavar="FILE", default=None, help="File with the credentials, - for standard input."
        ),
        click.option("--options", metavar="JSON", default=None, help='For example {"messagesPerSecond": 40}.'),
    ):
        function = option(function)
    return function


@command.command("list")
@some_companies()
@as_json()
@click.pass_obj
def _list(context: Context, company: str, as_json: bool) -> int:
    """List connections."""
    rows: list[list[object]] = []
    with operations(context) as api:
        for name in companies_named(api, context, company):
            for one in api.call("GET", _place(context, name))["connections"]:
                if as_json:
                    click.echo(json.dumps({"companyId": name} | one if company == ALL_COMPANIES else one))
                rows.append([name, *_row(one)])
    if as_json:
        return ExitCode.OK
    of_all = company == ALL_COMPANIES
    screen.show_table(("company", *_HEAD) if of_all else _HEAD, rows if of_all else [row[1:] for row in rows])
    return ExitCode.OK


@command.command("add")
@click.argument("index", metavar="[PHONE_INDEX]", type=count(0), required=False)
@company()
@click.option("--type", "type", type=click.Choice(connection_types()), required=True, help="Channel.")
@_properties
@as_json()
@click.pass_obj
def _add(context: Context, /, index: int | None, company: str, type: str, as_json: bool, **given: str | None) -> int:
    """Make a connection; without an index, it gets the first free one."""
    placed = {} if index is None else {"phoneIndex": index}
    changes = _changes(type, **given)
    with operations(context) as api:
        shown = api.call("POST", _place(context, company), {"connectionType": type, **placed, **changes})
    return _say(shown, f"Made: connection {shown['phoneIndex']}, {shown['connectionType']}. {_reach(shown)}", as_json)


@command.command("update")
@phone_index()
@company()
@_properties
@as_json()
@click.pass_obj
def _update(context: Context, /, index: int, company: str, as_json: bool, **given: str | None) -> int:
    """Change credentials, account or options."""
    one = f"{_place(context, company)}/{index}"
    with operations(context) as api:
        # The type decides what a bare secret is called; only the API knows it.
        shown = api.call("PATCH", one, _changes(api.call("GET", one)["connectionType"], **given))
    return _say(shown, f"Changed; it is {_status(shown)}.", as_json)


@command.command("test")
@phone_index()
@company()
@as_json()
@click.pass_obj
def _test(context: Context, index: int, company: str, as_json: bool) -> int:
    """Check number, token and webhooks at the provider now; 1: something is wrong."""
    with operations(context) as api:
        task = api.call("POST", f"{_place(context, company)}/{index}/test")
    if task["status"] != "done":
        raise CommandRefused("the process that serves the connection has not done it yet; see `bulkhead status`")
    result = task["result"]
    if as_json:
        click.echo(json.dumps(result))
    else:
        for fact in ("number", "page", "token", "webhooks"):
            for name, value in result.get(fact, {}).items():
                click.echo(f"{fact:9} {name}: {value if value not in ('', None) else '-'}")
        for sentence in filter(None, (result["problem"], *result["warnings"])):
            click.echo(f"!         {sentence}")
    return ExitCode.OK if result["healthy"] else CommandExit.UNWELL


@command.command("subscribe")
@phone_index()
@company()
@as_json()
@click.pass_obj
def _subscribe(context: Context, index: int, company: str, as_json: bool) -> int:
    """Let the provider's webhooks of a connection come to us."""
    with operations(context) as api:
        task = api.call("POST", f"{_place(context, company)}/{index}/webhook")
    if task["status"] != "done":
        raise CommandRefused("the process that serves the connection has not done it yet; see `bulkhead status`")
    return _say(task["result"], f"Webhooks of connection {index} come to us from now on.", as_json)


@command.command("pause")
@phone_index()
@company()
@as_json()
@click.pass_obj
def _pause(context: Context, index: int, company: str, as_json: bool) -> int:
    """Hold a connection's messages; they are accepted and wait."""
    return _switch(context, f"{_place(context, company)}/{index}/pause", as_json)


@command.command("resume")
@phone_index()
@company()
@as_json()
@click.pass_obj
def _resume(context: Context, index: int, company: str, as_json: bool) -> int:
    """Let a connection's messages leave again."""
    return _switch(context, f"{_place(context, company)}/{index}/resume", as_json)


@command.command("remove")
@phone_index()
@company()
@click.option("--force", is_flag=True, help="Fail its waiting messages.")
@as_json()
@click.pass_obj
def _remove(context: Context, index: int, company: str, force: bool, as_json: bool) -> int:
    """Remove a connection."""
    with operations(context) as api:
        shown = api.call("DELETE", f"{_place(context, company)}/{index}?force={'true' if force else 'false'}")
    return _say(shown, f"Removed; messages that failed with it: {shown['failedMessages']}.", as_json)


@command.command("reseal")
@click.pass_obj
def _reseal(context: Context) -> None:
    """Encrypt all credentials with the present SECRET_ENCRYPTION_KEY; the same as `bulkhead reseal`."""
    # Works on the database itself: the API's processes may not be able to read the secrets any more.
    become_recorder(context, "--reseal")


def _place(context: Context, company: str) -> str:
    return f"/api/v2/connections/{quote(company or context.known().company_id, safe='')}"


def _reach(shown: dict[str, Any]) -> str:
    """Return where the messages of a new connection go: real credentials alone do not end the sandbox."""
    if shown.get("sandbox"):
        return "Its messages go to the sandbox and reach no person: SANDBOX=off for real ones."
    return "Its messages reach people."


def _switch(context: Context, path: str, as_json: bool) -> int:
    with operations(context) as api:
        shown = api.call("POST", path)
    return _say(shown, f"It is {_status(shown)}.", as_json)


def _row(one: dict[str, Any]) -> list[object]:
    number = one["facts"].get("number", {})
    return [
        one["phoneIndex"],
        one["connectionType"],
        one["status"],
        one["state"],
        number.get("qualityRating"),
        number.get("messagingLimitTier"),
        age(one["checkedAt"]),
        one["statusReason"] or one["warning"] or one["detail"],
    ]


def _say(shown: dict[str, Any], sentence: str, as_json: bool) -> int:
    click.echo(json.dumps(shown) if as_json else sentence)
    return ExitCode.OK


def _status(shown: dict[str, Any]) -> str:
    return f"{shown['status']}: {shown['statusReason']}" if shown["statusReason"] else str(shown["status"])


def _changes(
    connection_type: str,
    *,
    account: str | None,
    waba: str | None,
    secrets: str | None,
    options: str | None,
) -> dict[str, Any]:
    """Return what the command line says about a connection, with the secrets that it points to."""
    named = {"accountId": account, "wabaId": waba}
    changes: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if options is not None:
        changes["options"] = _object(options, "--options")
    return changes | (_secrets(secrets, connection_type) if secrets is not None else {})


def _secrets(source: str, connection_type: str) -> dict[str, Any]:
    try:
        if source == "-":
            # At a terminal without echo, so that the secret does not stay on the screen.
            secret = getpass.getpass("Secret: ") if sys.stdin.isatty() else sys.stdin.read(_SECRETS_MOST)
        else:
            with Path(source).open(encoding="utf-8") as file:
                secret = file.read(_SECRETS_MOST)
    # Only the class of the error: its text could quote the file's content.
    except (OSError, UnicodeDecodeError) as problem:
        raise click.UsageError(f"--secrets: {source} cannot be read ({type(problem).__name__})") from None
    secret = secret.strip()
    if not secret:
        raise click.UsageError("--secrets: there is nothing in it")
    if secret.startswith("{"):
        return _object(secret, "--secrets")
    if not (credentials := channel_named(connection_type).credentials):
        raise click.UsageError(f"--secrets: a connection of type {connection_type} has none")
    # The first one listed is the one that a connection of this type requires.
    return {credentials[0]: secret}


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        # The parser's message may repeat a secret.
        raise click.UsageError(f"{what} is not JSON") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{what} is not a JSON object")
    return found
