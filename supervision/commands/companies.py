"""`companies list|show|add|suspend|resume|delete`: the tenants."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import click

from shared.process.exit_codes import ExitCode
from supervision.commands import screen
from supervision.commands.command_exits import CommandRefused
from supervision.commands.context import Context
from supervision.commands.entry_process import Operations, operations
from supervision.commands.options import ALL_COMPANIES, PointedArgument, as_json

_LOOK_S: Final = 1.0
"""Seconds between two looks at how far a deletion is."""
_ID: Final = click.argument(
    "company", metavar="ID", cls=PointedArgument, hint="`bulkhead companies list` shows those that there are."
)


@click.group("companies", short_help="List, show, add, suspend, resume and delete companies.")
def command() -> None:
    """The tenants (docs/companies.md)."""


@command.command("list")
@as_json()
@click.pass_obj
def _list(context: Context, as_json: bool) -> int:
    """List all companies."""
    with operations(context) as api:
        found = all_companies(api)
    if as_json:
        for one in found:
            click.echo(json.dumps(one))
        return ExitCode.OK
    screen.show_table(
        ("company", "name", "state", "connections"),
        [[one["companyId"], one["name"], one["state"], one["connections"]] for one in found],
    )
    return ExitCode.OK


@command.command("show")
@_ID
@as_json("As one line.")
@click.pass_obj
def _show(context: Context, company: str, as_json: bool) -> int:
    """Show one company, as JSON."""
    with operations(context) as api:
        found = api.call("GET", _path(company))
    click.echo(json.dumps(found) if as_json else json.dumps(found, indent=2, ensure_ascii=False))
    return ExitCode.OK


@command.command("add")
@_ID
@click.option("--name", default="", help="Display name.")
@click.option(
    "--in-doubt-policy", type=click.Choice(("auto", "resend", "hold")), default=None, help="Overrides IN_DOUBT_POLICY."
)
@as_json()
@click.pass_obj
def _add(context: Context, company: str, name: str, in_doubt_policy: str | None, as_json: bool) -> int:
    """Make a company: 1 to 64 letters, digits, - and _."""
    policy = {"inDoubtPolicy": in_doubt_policy} if in_doubt_policy else {}
    with operations(context) as api:
        made = api.call("POST", "/api/v2/companies", {"companyId": company, "name": name, **policy})
    return _report(made, f"Made. Its first connection: bulkhead connections add --company {company} --type …", as_json)


@command.command("suspend")
@_ID
@click.option("--reason", default="", help="Shown with the company.")
@as_json()
@click.pass_obj
def _suspend(context: Context, company: str, reason: str, as_json: bool) -> int:
    """Refuse a company's keys and send nothing for it, until it is resumed."""
    with operations(context) as api:
        now = api.call("POST", f"{_path(company)}/suspend", {"reason": reason})
    return _report(
        now, "Suspended: within a second its keys are refused and nothing is sent. What waits, stays.", as_json
    )


@command.command("resume")
@_ID
@as_json()
@click.pass_obj
def _resume(context: Context, company: str, as_json: bool) -> int:
    """End a suspension."""
    with operations(context) as api:
        now = api.call("POST", f"{_path(company)}/resume")
    return _report(now, "Resumed: what waits is sent, in its order.", as_json)


@command.command("delete")
@_ID
@click.option("--confirm", default="", metavar="ID", help="The ID once more: there is no way back.")
@as_json()
@click.pass_obj
def _delete(context: Context, company: str, confirm: str, as_json: bool) -> int:
    """Delete a company with everything of it. Ctrl-C ends the command; the deletion goes on."""
    if confirm != company:
        raise CommandRefused(
            f"Everything of {company} would be deleted, with no way back. To do so: bulkhead companies delete "
            f"{company} --confirm {company}",
            ExitCode.USAGE,
        )
    with operations(context) as api:
        task = api.call("DELETE", f"{_path(company)}?confirm={quote(confirm, safe='')}")
        shown = ""
        while task["status"] in ("queued", "running"):
            progress = task["progress"] or {}
            rows, files = progress.get("deletedRows", 0), progress.get("deletedFiles", 0)
            line = f"{progress.get('stage', '')}: {rows} rows, {files} files"
            if line != shown:
                shown = line
                screen.warn(line)
            # a deletion takes from seconds to hours; the command may be ended, and goes on where it is when it is
            # repeated
            time.sleep(_LOOK_S)
            task = api.call("GET", f"/api/v2/tasks/{quote(company, safe='')}/{task['id']}")
    if task["status"] != "done":
        raise CommandRefused(task["problem"]["detail"])
    result = task["result"]
    return _report(task, f"Deleted: {result['deletedRows']} rows, {result['deletedFiles']} files.", as_json)


def all_companies(api: Operations) -> list[dict[str, Any]]:
    """Return every company."""
    found: list[dict[str, Any]] = []
    after: str | None = ""
    # The API returns pages; an operator's list is complete.
    while after is not None:
        page = api.call("GET", f"/api/v2/companies?after={quote(after, safe='')}")
        found += page["companies"]
        after = page["next"]
    return found


def companies_named(api: Operations, context: Context, company: str) -> list[str]:
    """Return the companies that a command lists: of `--company`, every one for `all`, that of the settings for
    nothing.
    """
    if company == ALL_COMPANIES:
        return [str(one["companyId"]) for one in all_companies(api)]
    return [company or context.known().company_id]


def _report(answer: Mapping[str, Any], sentence: str, as_json: bool) -> int:
    click.echo(json.dumps(answer) if as_json else sentence)
    return ExitCode.OK


def _path(company: str) -> str:
    return f"/api/v2/companies/{quote(company, safe='')}"
