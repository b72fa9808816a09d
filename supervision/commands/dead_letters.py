"""`dead-letters list|redrive`: messages that are not tried again without a human."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

from shared.numbers import whole
from shared.process.exit_codes import ExitCode
from shared.table import lines
from supervision.commands.companies import all_companies
from supervision.commands.context import Context
from supervision.commands.entry_process import Operations, Unanswered, operations

HELP = "list failed messages, and queue them again"
_AT_ONCE: Final = 1000
"""Most messages of one redrive, as the API allows."""
_COLUMNS: Final = {
    "id": "id",
    "company_id": "companyId",
    "phone_index": "phoneIndex",
    "connection_type": "connectionType",
    "state": "status",
    "attempt": "attempt",
    "error_code": "code",
    "updated_at": "updatedAt",
}
"""Column, and field of a letter. Neither the chat nor the text: what is printed here ends up in tickets and in the
history of terminals."""


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("action", choices=("list", "redrive"), help="what to do")
    parser.add_argument("--company", metavar="ID", default="", help="only of this company; needed for redrive")
    parser.add_argument("--id", type=whole(1), metavar="N", default=0, help="only this message (redrive)")
    parser.add_argument("--code", metavar="CODE", default="", help="only those with this error code")
    parser.add_argument("--phone-index", type=whole(0), metavar="N", default=None, help="only those of this connection")
    parser.add_argument(
        "-n",
        "--limit",
        type=whole(1, _AT_ONCE),
        default=100,
        metavar="N",
        help="how many at most: list the newest, redrive the oldest (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(context: Context, given: Namespace) -> int:
    """Do what was asked and return an exit code."""
    if given.action == "redrive" and not given.company:
        sys.stderr.write("redrive needs --company, so that no other company's messages are sent by mistake\n")
        return ExitCode.USAGE
    with operations(context) as api:
        try:
            return _list(api, given) if given.action == "list" else _redrive(api, given)
        except Unanswered as problem:
            sys.stderr.write(f"{problem}\n")
            return problem.code


def _list(api: Operations, given: Namespace) -> int:
    companies = [given.company] if given.company else [one["companyId"] for one in all_companies(api)]
    letters = [letter for company in companies for letter in _letters(api, company, given)]
    # Ids grow over all companies: the newest of all of them, not of each.
    shown = sorted(letters, key=lambda letter: -int(letter["id"]))[: given.limit]
    if given.json:
        sys.stdout.write("".join(json.dumps(_row(letter)) + "\n" for letter in shown))
    elif shown:
        print(*lines(tuple(_COLUMNS), [list(_row(letter).values()) for letter in shown]), sep="\n")
    else:
        sys.stdout.write("there are no dead letters\n")
    return ExitCode.OK


def _letters(api: Operations, company: str, given: Namespace) -> Iterator[dict[str, Any]]:
    """Yield the newest letters of one company."""
    chosen = {
        name: value for name, value in (("code", given.code), ("phoneIndex", given.phone_index)) if value or value == 0
    }
    left, cursor = given.limit, None
    while left > 0:
        query = urlencode(chosen | ({"cursor": cursor} if cursor else {}))
        page = api.call("GET", f"/api/v2/dead-letters/{quote(company, safe='')}?{query}")
        for letter in page["letters"][:left]:
            yield letter | {"companyId": company}
        left, cursor = left - len(page["letters"]), page["next"]
        if cursor is None:
            return


def _row(letter: dict[str, Any]) -> dict[str, Any]:
    fields = letter | {"id": int(letter["id"]), "code": letter["error"]["code"]}
    return {column: fields[field] for column, field in _COLUMNS.items()}


def _redrive(api: Operations, given: Namespace) -> int:
    company = quote(given.company, safe="")
    if given.id:
        # An id that moves nothing is the operator's mistake; a filter that matches nothing is an answer.
        page = api.call("GET", f"/api/v2/dead-letters/{company}?{urlencode({'cursor': given.id + 1})}")
        letter = next((one for one in page["letters"] if one["id"] == str(given.id)), None)
        if letter is None:
            raise Unanswered(f"company {given.company} has no dead letter {given.id}", ExitCode.USAGE)
        chat = quote(letter["chatId"], safe="")
        api.call("POST", f"/api/v2/messages/{company}/{chat}/{given.id}/redrive")
        done = {"redriven": 1, "more": False}
    else:
        chosen = {"code": given.code or None, "phoneIndex": given.phone_index, "limit": given.limit}
        body = {name: value for name, value in chosen.items() if value is not None}
        done = api.call("POST", f"/api/v2/dead-letters/{company}/redrive", body)
    if given.json:
        print(json.dumps({"redriven": done["redriven"], "more": done["more"]}))
    else:
        print(f"queued again: {done['redriven']}{'; there may be more' if done['more'] else ''}")
    return ExitCode.OK
