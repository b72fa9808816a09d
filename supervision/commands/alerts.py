"""`alerts`, `alerts silence|silences|unsilence`: what is wrong by the table of alerts, and what is silenced."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any, Final
from urllib.parse import quote, urlencode

from shared.process.exit_codes import ExitCode
from shared.table import age, lines
from supervision.commands.context import Context
from supervision.commands.entry_process import Operations, Unanswered, operations

HELP = "list alerts, silence some for a while"

_ENDED: Final = 50
"""Alerts that ended, with --all."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """Return the seconds of a duration such as `90s`, `2h` or `1d`. Raises `ArgumentTypeError`."""
    found = re.fullmatch(r"([0-9]{1,7})([smhd])", text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no duration; write 30m, 2h or 1d")
    return int(found[1]) * _UNITS[found[2]]


def label(text: str) -> tuple[str, str]:
    """Return name and value of `name=value`. Raises `ArgumentTypeError`."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ArgumentTypeError(f"{text!r} is no label; write slot=meta-0")
    return name, value


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "action", nargs="?", default="list", choices=("list", "silence", "silences", "unsilence"), help="what to do"
    )
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="of the alert (silence); ID (unsilence)")
    parser.add_argument("--all", action="store_true", help=f"the last {_ENDED} that ended too (list)")
    parser.add_argument("--label", type=label, action="append", default=[], help="only these, slot=meta-0 (silence)")
    parser.add_argument("--for", dest="for_s", type=seconds, default=None, metavar="2h", help="how long (silence)")
    parser.add_argument("--reason", default="", help="why, for the others (silence)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(context: Context, given: Namespace) -> int:
    """Do what was asked and return an exit code."""
    if given.action == "silence" and not (given.for_s and given.reason):
        sys.stderr.write("silence needs --for and --reason; without NAME it silences every alert\n")
        return ExitCode.USAGE
    if given.action == "unsilence" and not given.name:
        sys.stderr.write("unsilence needs an ID; `bulkhead alerts silences` shows them\n")
        return ExitCode.USAGE
    with operations(context) as api:
        try:
            found = _ACTIONS[given.action](api, given)
        except Unanswered as problem:
            sys.stderr.write(f"{problem}\n")
            return problem.code
    if given.json:
        for one in found:
            print(json.dumps(one))
    elif given.action == "list":
        print(*_alerts(found), sep="\n")
    else:
        rows = [[one["id"], one["name"] or "(all)", _labels(one), one["until"], one["createdBy"], one["reason"]]
                for one in found]  # fmt: skip
        print(*lines(("ID", "ALERT", "LABELS", "UNTIL", "BY", "REASON"), rows), sep="\n")
    return ExitCode.OK


def _alerts(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return ["No alert is on."]
    rows = [
        [
            "silenced" if one["silenced"] and one["state"] == "on" else one["state"],
            one["severity"],
            one["name"],
            age(one["firedAt"]),
            one["summary"],
            one["runbook"] or "",
        ]
        for one in found
    ]
    return lines(("STATE", "SEVERITY", "ALERT", "FIRED", "WHAT", "RUNBOOK"), rows)


def _labels(one: dict[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in one["labels"].items())


def _list(api: Operations, given: Namespace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        query = {"state": "on", "limit": 200, **({"cursor": after} if after else {})}
        page = api.call("GET", f"/api/v2/alerts?{urlencode(query)}")
        found += page["alerts"]
        if page["next"] is None:
            break
        after = page["next"]
    ended = api.call("GET", f"/api/v2/alerts?state=ended&limit={_ENDED}")["alerts"] if given.all else []
    return [*found, *ended]


def _silence(api: Operations, given: Namespace) -> list[dict[str, Any]]:
    body = {
        "seconds": given.for_s,
        "reason": given.reason,
        "labels": dict(given.label),
        **({"name": given.name} if given.name else {}),
    }
    return [api.call("POST", "/api/v2/alerts/silences", body)]


def _silences(api: Operations, _: Namespace) -> list[dict[str, Any]]:
    silences: list[dict[str, Any]] = api.call("GET", "/api/v2/alerts/silences")["silences"]
    return silences


def _unsilence(api: Operations, given: Namespace) -> list[dict[str, Any]]:
    return [api.call("DELETE", f"/api/v2/alerts/silences/{quote(given.name, safe='')}")]


_ACTIONS: Final = {"list": _list, "silence": _silence, "silences": _silences, "unsilence": _unsilence}
