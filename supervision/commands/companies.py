"""`companies list|add`: list and add tenants."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import Any
from urllib.parse import quote

from shared.process.exit_codes import ExitCode
from shared.table import lines
from supervision.commands.context import Context
from supervision.commands.entry_process import Operations, Unanswered, operations

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
    if given.action == "add" and not given.company:
        sys.stderr.write("add needs an ID\n")
        return ExitCode.USAGE
    with operations(context) as api:
        try:
            if given.action == "add":
                policy = {"inDoubtPolicy": given.in_doubt_policy} if given.in_doubt_policy else {}
                api.call("POST", "/api/v2/companies", {"companyId": given.company, "name": given.name, **policy})
                print(f"Made. Its first connection: bulkhead connections add --company {given.company} --type …")
                return ExitCode.OK
            found = all_companies(api)
        except Unanswered as problem:
            sys.stderr.write(f"{problem}\n")
            return problem.code
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
