"""`companies list|show|add|suspend|resume|delete`: the tenants."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from shared.process.exit_codes import ExitCode
from shared.table import lines
from supervision.commands.context import Context
from supervision.commands.entry_process import Operations, Unanswered, operations

HELP = "list, show, add, suspend, resume and delete companies"

_LOOK_S: Final = 1.0
"""Seconds between two looks at how far a deletion is."""


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("action", choices=("list", *_ACTIONS), help="what to do")
    parser.add_argument("company", metavar="ID", nargs="?", default="", help="1 to 64 letters, digits, - and _")
    parser.add_argument("--name", default="", help="display name (add)")
    parser.add_argument(
        "--in-doubt-policy", choices=("auto", "resend", "hold"), default=None, help="overrides IN_DOUBT_POLICY (add)"
    )
    parser.add_argument("--confirm", default="", metavar="ID", help="the ID once more: there is no way back (delete)")
    parser.add_argument("--reason", default="", help="shown with the company (suspend)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(context: Context, given: Namespace) -> int:
    """Do what was asked and return an exit code."""
    if given.action != "list" and not given.company:
        sys.stderr.write(f"{given.action} needs an ID; `bulkhead companies list` shows them\n")
        return ExitCode.USAGE
    with operations(context) as api:
        try:
            if given.action == "list":
                _show_all(all_companies(api), as_json=given.json)
            else:
                _ACTIONS[given.action](api, given)
        except Unanswered as problem:
            sys.stderr.write(f"{problem}\n")
            return problem.code
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


def _show_all(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for one in found:
            print(json.dumps(one))
        return
    print(
        *lines(
            ("company", "name", "state", "connections"),
            [[one["companyId"], one["name"], one["state"], one["connections"]] for one in found],
        ),
        sep="\n",
    )


def _show(api: Operations, given: Namespace) -> None:
    found = api.call("GET", _path(given))
    print(json.dumps(found) if given.json else json.dumps(found, indent=2, ensure_ascii=False))


def _add(api: Operations, given: Namespace) -> None:
    policy = {"inDoubtPolicy": given.in_doubt_policy} if given.in_doubt_policy else {}
    made = api.call("POST", "/api/v2/companies", {"companyId": given.company, "name": given.name, **policy})
    _report(given, made, f"Made. Its first connection: bulkhead connections add --company {given.company} --type …")


def _suspend(api: Operations, given: Namespace) -> None:
    now = api.call("POST", f"{_path(given)}/suspend", {"reason": given.reason})
    _report(given, now, "Suspended: within a second its keys are refused and nothing is sent. What waits, stays.")


def _resume(api: Operations, given: Namespace) -> None:
    now = api.call("POST", f"{_path(given)}/resume")
    _report(given, now, "Resumed: what waits is sent, in its order.")


def _delete(api: Operations, given: Namespace) -> None:
    if given.confirm != given.company:
        raise Unanswered(
            f"Everything of {given.company} would be deleted, with no way back. To do so: bulkhead companies delete "
            f"{given.company} --confirm {given.company}",
            ExitCode.USAGE,
        )
    task = api.call("DELETE", f"{_path(given)}?confirm={quote(given.confirm, safe='')}")
    shown = ""
    while task["status"] in ("queued", "running"):
        progress = task["progress"] or {}
        rows, files = progress.get("deletedRows", 0), progress.get("deletedFiles", 0)
        line = f"{progress.get('stage', '')}: {rows} rows, {files} files"
        if line != shown:
            shown = line
            sys.stderr.write(f"{line}\n")
        # a deletion takes from seconds to hours; the command may be ended, and goes on where it is when it is repeated
        time.sleep(_LOOK_S)
        task = api.call("GET", f"/api/v2/tasks/{quote(given.company, safe='')}/{task['id']}")
    if task["status"] != "done":
        raise Unanswered(task["problem"]["detail"])
    result = task["result"]
    _report(given, task, f"Deleted: {result['deletedRows']} rows, {result['deletedFiles']} files.")


def _report(given: Namespace, answer: Mapping[str, Any], sentence: str) -> None:
    print(json.dumps(answer) if given.json else sentence)


def _path(given: Namespace) -> str:
    return f"/api/v2/companies/{quote(given.company, safe='')}"


_ACTIONS: Final[Mapping[str, Callable[[Operations, Namespace], None]]] = {
    "show": _show,
    "add": _add,
    "suspend": _suspend,
    "resume": _resume,
    "delete": _delete,
}
