"""`keys list|add|rotate|revoke`: keys of API clients."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import Any, Final
from urllib.parse import quote, urlencode

from shared.numbers import whole
from shared.process.exit_codes import ExitCode
from shared.table import lines
from supervision.commands.context import Context
from supervision.commands.entry_process import Operations, Unanswered, operations

HELP = "list, make, rotate and revoke API keys"

# the API checks them; named here for the help alone
_SCOPES: Final = "send,read,manage,operate"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("action", choices=("list", "add", "rotate", "revoke"), help="what to do")
    parser.add_argument("id", metavar="ID", nargs="?", default="", help="of the key (rotate, revoke)")
    parser.add_argument("--company", default="", help="the only company that it reaches; left out: all (add, list)")
    parser.add_argument("--name", default="", help="who uses it, for people (add)")
    parser.add_argument("--scopes", default="", metavar="SCOPES", help=f"comma-separated, of {_SCOPES} (add)")
    parser.add_argument("--expires", default="", metavar="INSTANT", help="ISO 8601 with a time zone (add)")
    parser.add_argument(
        "--overlap", type=whole(0), default=None, metavar="SECONDS", help="how long the old text is taken (rotate)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(context: Context, given: Namespace) -> int:
    """Do what was asked and return an exit code."""
    if given.action == "add" and not (given.name and given.scopes):
        sys.stderr.write("add needs --name and --scopes\n")
        return ExitCode.USAGE
    if given.action in ("rotate", "revoke") and not given.id:
        sys.stderr.write(f"{given.action} needs an ID; `bulkhead keys list` shows them\n")
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
        print(
            *lines(("id", "name", "company", "prefix", "scopes", "last used", "state"), [_row(one) for one in found]),
            sep="\n",
        )
    elif given.action == "revoke":
        print("Revoked: within a second no process takes it any more.")
    else:
        # the key alone on standard output, for `KEY=$(bulkhead keys add …)`
        print(found[0]["key"])
        sys.stderr.write(f"Key {found[0]['id']}. It is shown this once; keep it now.\n")
    return ExitCode.OK


def _list(api: Operations, given: Namespace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: str | None = "0"
    # The API returns pages; an operator's list is complete.
    while after is not None:
        query = urlencode({"after": after, **({"companyId": given.company} if given.company else {})})
        page = api.call("GET", f"/api/v2/keys?{query}")
        found += page["keys"]
        after = page["next"]
    return found


def _add(api: Operations, given: Namespace) -> list[dict[str, Any]]:
    body = {
        "name": given.name,
        "companyId": given.company or None,
        "scopes": [scope.strip() for scope in given.scopes.split(",")],
        **({"expiresAt": given.expires} if given.expires else {}),
    }
    return [api.call("POST", "/api/v2/keys", body)]


def _rotate(api: Operations, given: Namespace) -> list[dict[str, Any]]:
    body = {} if given.overlap is None else {"overlapSeconds": given.overlap}
    return [api.call("POST", f"/api/v2/keys/{quote(given.id, safe='')}/rotate", body)]


def _revoke(api: Operations, given: Namespace) -> list[dict[str, Any]]:
    return [api.call("DELETE", f"/api/v2/keys/{quote(given.id, safe='')}")]


_ACTIONS: Final = {"list": _list, "add": _add, "rotate": _rotate, "revoke": _revoke}


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
