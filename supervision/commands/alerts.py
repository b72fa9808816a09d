"""`alerts`, `alerts silence|silences|unsilence`: what is wrong by the table of alerts, and what is silenced."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote, urlencode

import click

from shared.process.exit_codes import ExitCode
from shared.table import age
from supervision.commands import screen
from supervision.commands.context import Context
from supervision.commands.entry_process import Operations, operations
from supervision.commands.options import DURATION, LABEL, PointedArgument, as_json

_ENDED: Final = 50
"""Alerts that ended, with --all."""
_SILENCE_HEAD: Final = ("ID", "ALERT", "LABELS", "UNTIL", "BY", "REASON")


@click.group("alerts", short_help="List alerts, silence some for a while.")
def command() -> None:
    """What is wrong by the table of alerts, and what is silenced (docs/alerts.md). Without a word: list."""


@command.command("list")
@click.option("--all", "with_ended", is_flag=True, help=f"The last {_ENDED} that ended too.")
@as_json()
@click.pass_obj
def _list(context: Context, with_ended: bool, as_json: bool) -> int:
    """List the alerts that are on."""
    with operations(context) as api:
        found = _on(api)
        if with_ended:
            found += api.call("GET", f"/api/v2/alerts?state=ended&limit={_ENDED}")["alerts"]
    if as_json:
        _as_json(found)
    elif found:
        screen.show_table(("STATE", "SEVERITY", "ALERT", "FIRED", "WHAT", "RUNBOOK"), [_row(one) for one in found])
    else:
        click.echo("No alert is on.")
    return ExitCode.OK


@command.command("silence")
@click.argument("name", metavar="[ALERT]", default="")
@click.option("--for", "for_s", type=DURATION, required=True, metavar="2h", help="How long: 30m, 2h, 1d.")
@click.option("--reason", required=True, help="Why, for the others.")
@click.option("--label", "labels", type=LABEL, multiple=True, metavar="NAME=VALUE", help="Only these: slot=meta-0.")
@as_json()
@click.pass_obj
def _silence(
    context: Context, name: str, for_s: int, reason: str, labels: tuple[tuple[str, str], ...], as_json: bool
) -> int:
    """Silence an alert for a while; without a name, every alert."""
    body = {"seconds": for_s, "reason": reason, "labels": dict(labels), **({"name": name} if name else {})}
    with operations(context) as api:
        _show_silences([api.call("POST", "/api/v2/alerts/silences", body)], as_json=as_json)
    return ExitCode.OK


@command.command("silences")
@as_json()
@click.pass_obj
def _silences(context: Context, as_json: bool) -> int:
    """List the silences that last."""
    with operations(context) as api:
        _show_silences(api.call("GET", "/api/v2/alerts/silences")["silences"], as_json=as_json)
    return ExitCode.OK


@command.command("unsilence")
@click.argument("id", metavar="ID", cls=PointedArgument, hint="`bulkhead alerts silences` shows them.")
@as_json()
@click.pass_obj
def _unsilence(context: Context, id: str, as_json: bool) -> int:
    """End a silence."""
    with operations(context) as api:
        ended = api.call("DELETE", f"/api/v2/alerts/silences/{quote(id, safe='')}")
    _show_silences([ended], as_json=as_json)
    return ExitCode.OK


def _on(api: Operations) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        query = {"state": "on", "limit": 200, **({"cursor": after} if after else {})}
        page = api.call("GET", f"/api/v2/alerts?{urlencode(query)}")
        found += page["alerts"]
        if page["next"] is None:
            return found
        after = page["next"]


def _row(one: dict[str, Any]) -> list[object]:
    return [
        "silenced" if one["silenced"] and one["state"] == "on" else one["state"],
        one["severity"],
        one["name"],
        age(one["firedAt"]),
        one["summary"],
        one["runbook"] or "",
    ]


def _show_silences(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        _as_json(found)
        return
    rows = [
        [
            one["id"],
            one["name"] or "(all)",
            ",".join(f"{name}={value}" for name, value in one["labels"].items()),
            one["until"],
            one["createdBy"],
            one["reason"],
        ]
        for one in found
    ]
    screen.show_table(_SILENCE_HEAD, rows)


def _as_json(found: list[dict[str, Any]]) -> None:
    for one in found:
        click.echo(json.dumps(one))
