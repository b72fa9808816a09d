"""`sessions list|link|pair|restart|logout|wipe`: manage browser sessions, by the API's operations."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click

from shared.process.exit_codes import ExitCode
from shared.table import age
from supervision.commands import screen
from supervision.commands.command_exits import CommandExit, CommandRefused
from supervision.commands.companies import companies_named
from supervision.commands.context import Context
from supervision.commands.entry_process import Operations, operations
from supervision.commands.options import ALL_COMPANIES, as_json, company, phone_index, some_companies, within

_F = TypeVar("_F", bound=Callable[..., Any])

# Seconds between two requests for a session's state; WhatsApp replaces the code some times a minute.
_LOOK_EACH_S: Final = 1.0
_HOW: Final = "On the phone: WhatsApp, Linked devices, Link a device. The code changes by itself."
# Cursor home and clear the screen (ECMA-48), so that the newest code stands in the place of the one before.
_CLEAR: Final = "\033[H\033[J"
_HEAD: Final = ("index", "wanted", "state", "proved", "MB", "cpu", "detail")


@click.group("sessions", short_help="List, link, restart, log out and wipe browser sessions.")
def command() -> None:
    """Manage browser sessions of WhatsApp Web (docs/webdriver.md)."""


def _session(function: _F) -> _F:
    """Add what names a session."""
    return phone_index("`bulkhead sessions list` shows them.")(company()(function))


@command.command("list")
@some_companies()
@as_json()
@click.pass_obj
def _list(context: Context, company: str, as_json: bool) -> int:
    """List browser sessions."""
    rows: list[list[object]] = []
    with operations(context) as api:
        for name in companies_named(api, context, company):
            for one in api.call("GET", _place(context, name))["sessions"]:
                if as_json:
                    click.echo(json.dumps({"companyId": name} | one if company == ALL_COMPANIES else one))
                rows.append([name, *_row(one)])
    if as_json:
        return ExitCode.OK
    of_all = company == ALL_COMPANIES
    screen.show_table(("company", *_HEAD) if of_all else _HEAD, rows if of_all else [row[1:] for row in rows])
    return ExitCode.OK


@command.command("link")
@_session
@within(300.0, "Longest wait for a scan, in seconds.")
@click.pass_obj
def _link_command(context: Context, index: int, company: str, within: float) -> int:
    """Show the code to scan, until it is scanned."""
    with operations(context) as api:
        return _link(api, f"{_place(context, company)}/{index}", within)


@command.command("pair")
@_session
@click.option("--phone", metavar="NUMBER", required=True, help="Number of the phone that the code is typed into.")
@click.pass_obj
def _pair(context: Context, index: int, company: str, phone: str) -> int:
    """Show a code that is typed into the phone, in place of scanning."""
    with operations(context) as api:
        task = api.call("POST", f"{_place(context, company)}/{index}/pairing-code", {"phone": phone})
    if task["status"] != "done":
        raise CommandRefused("the session did not answer in time; see `bulkhead sessions list`")
    click.echo(
        f"Type {task['result']['code']} into the phone: Linked devices, Link a device, Link with phone number instead."
    )
    return ExitCode.OK


@command.command("restart")
@_session
@click.pass_obj
def _restart(context: Context, index: int, company: str) -> int:
    """Start a fresh browser on the same profile."""
    return _act(context, f"{_place(context, company)}/{index}/restart", "Restarted.")


@command.command("logout")
@_session
@click.pass_obj
def _logout(context: Context, index: int, company: str) -> int:
    """End the link at the phone and remove the profile."""
    return _act(context, f"{_place(context, company)}/{index}/logout", "It will be logged out.")


@command.command("wipe")
@_session
@click.pass_obj
def _wipe(context: Context, index: int, company: str) -> int:
    """Remove the profile without the phone's consent."""
    return _act(context, f"{_place(context, company)}/{index}/wipe", "Its profile is removed.")


def _place(context: Context, company: str) -> str:
    return f"/api/v2/sessions/{quote(company or context.known().company_id, safe='')}"


def _row(one: dict[str, Any]) -> list[object]:
    browser = one["browser"] or {}
    memory = browser.get("pssMb")
    return [
        one["phoneIndex"],
        one["desired"],
        one["state"],
        age(one["provedAt"]),
        None if memory is None else round(memory),
        browser.get("cpu"),
        one["detail"],
    ]


def _act(context: Context, path: str, sentence: str) -> int:
    with operations(context) as api:
        answer = api.call("POST", path)
    is_done = answer.get("status", "done") == "done"
    click.echo(sentence if is_done else "Asked for; the browser process has not done it yet.")
    return ExitCode.OK


def _link(api: Operations, place: str, within_s: float) -> int:
    """Set the desired state to linked, and show the newest code until it is scanned."""
    session = api.call("POST", place, {"desired": "linked"})
    by, drawn = time.monotonic() + within_s, ""
    while time.monotonic() < by:
        session = api.call("GET", place)
        if session["state"] in ("syncing", "ready"):
            click.echo(f"Linked: the session is {session['state']}.")
            return ExitCode.OK
        # Drawn only when it changed: a picture that flickers cannot be scanned.
        if session["qr"] and session["qr"] != drawn:
            status, picture = api.ask("GET", f"{place}/qr?format=txt")
            # Otherwise the code was replaced or scanned in between: the next round sees which.
            if status == http.client.OK:
                drawn = session["qr"]
                click.echo(f"{_CLEAR if sys.stdout.isatty() else ''}{picture}\n{_HOW}")
        time.sleep(_LOOK_EACH_S)
    raise CommandRefused(
        f"not linked within {within_s:.0f} s; the session is "
        f"{session['state']}{': ' + session['detail'] if session['detail'] else ''}",
        CommandExit.UNWELL,
    )
