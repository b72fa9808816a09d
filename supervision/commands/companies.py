"""`companies list|add`: list and add tenants, through the API of the installation in this home."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import Any
from urllib.parse import quote

from shared.process.exit_codes import ExitCode
from shared.settings import Settings
from shared.table import lines
from supervision.commands.asking import Unanswered, call
from supervision.commands.context import Answer, Context

HELP = "list companies, add one"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("action", choices=("list", "add"), help="what to do")
    parser.add_argument("company", metavar="ID", nargs="?", default="", help="1 to 64 letters, digits, - and _ (add)")
    parser.add_argument("--name", default="", help="display name (add)")
    parser.add_argument(
        "--in-doubt-policy", choices=("auto", "resend", "hold"), default=None, help="overrides IN_DOUBT_POLICY (add)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line (list)")


def run(context: Context, given: Namespace) -> int:
    """Do what was asked and return an exit code."""
    settings = context.known()
    if given.action == "add" and not given.company:
        sys.stderr.write("add needs an ID\n")
        return ExitCode.USAGE
    try:
        if given.action == "add":
            policy = {"inDoubtPolicy": given.in_doubt_policy} if given.in_doubt_policy else {}
            call(settings, "POST", "/api/v2/companies", {"companyId": given.company, "name": given.name, **policy})
            print(f"Made. Its first connection: bulkhead connections add --company {given.company} --type …")
            return ExitCode.OK
        found = _all(settings)
    except Unanswered as problem:
        sys.stderr.write(f"{problem}\n")
        return Answer.UNWELL
    if given.json:
        for one in found:
            print(json.dumps(one))
    else:
        print(
            *lines(
                ("company", "name", "connections"),
                [[one["companyId"], one["name"], one["connections"]] for one in found],
            ),
            sep="\n",
        )
    return ExitCode.OK


def _all(settings: Settings) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: str | None = ""
    # The API returns pages; an operator's list is complete.
    while after is not None:
        page = call(settings, "GET", f"/api/v2/companies?after={quote(after, safe='')}")
        found += page["companies"]
        after = page["next"]
    return found
