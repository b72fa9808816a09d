"""`connections list|add|update|test|subscribe|pause|resume|remove|reseal`: manage a company's connections.

Secrets are never arguments, which every user of the machine can read: `--secrets FILE` names a file with them (`-`:
standard input), either a JSON object like `{"accessToken": "…"}`, or only the one secret that the connection's type
requires.
"""

from __future__ import annotations

import getpass
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from shared.channels.registry import channel_named, connection_types
from shared.numbers import whole
from shared.process.exit_codes import ExitCode
from shared.table import age, lines
from supervision.commands.context import CommandExit, Context
from supervision.commands.entry_process import Operations, Unanswered, become_recorder, operations

HELP = "list, add, change, test, subscribe, pause, resume and remove connections; re-encrypt credentials"
# Characters read of a file with secrets: the largest credential has some thousand.
_SECRETS_MOST: Final = 65_536
_NEEDS_INDEX: Final = ("update", "test", "subscribe", "pause", "resume", "remove")


class _Wrong(Exception):
    """Raised when the command line cannot be carried out; the text says why."""


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "action",
        choices=("list", "add", *_NEEDS_INDEX, "reseal"),
        help="what to do; reseal: encrypt all credentials with the present SECRET_ENCRYPTION_KEY",
    )
    parser.add_argument(
        "index",
        metavar="PHONE_INDEX",
        type=whole(0),
        nargs="?",
        default=None,
        help="which connection; add: the first free one by default",
    )
    parser.add_argument("--company", metavar="ID", default="", help="of this company (COMPANY_ID)")
    parser.add_argument("--type", choices=connection_types(), default=None, help="channel (add)")
    parser.add_argument(
        "--account", metavar="ID", default=None, help="phone number id, Page id or Instagram account id (add, update)"
    )
    parser.add_argument("--waba", metavar="ID", default=None, help="WhatsApp Business Account (add, update)")
    parser.add_argument(
        "--secrets", metavar="FILE", default=None, help="file with the credentials, - for standard input (add, update)"
    )
    parser.add_argument(
        "--options", metavar="JSON", default=None, help='for example {"messagesPerSecond": 40} (add, update)'
    )
    parser.add_argument("--force", action="store_true", help="fail its waiting messages (remove)")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")


def run(context: Context, given: Namespace) -> int:
    """Do what was asked and return an exit code."""
    # Works on the database itself: the API's processes may not be able to read the secrets any more.
    if given.action == "reseal":
        become_recorder(context, "--reseal")
    settings = context.known()
    place = f"/api/v2/connections/{quote(given.company or settings.company_id, safe='')}"
    # argparse has no positional argument that only some values of another one require.
    if given.action in _NEEDS_INDEX and given.index is None:
        sys.stderr.write(f"{given.action} needs a PHONE_INDEX; `bulkhead connections list` shows them\n")
        return ExitCode.USAGE
    with operations(context) as api:
        try:
            return _do(api, place, given)
        except _Wrong as problem:
            sys.stderr.write(f"{problem}\n")
            return ExitCode.USAGE
        except Unanswered as problem:
            sys.stderr.write(f"{problem}\n")
            return problem.code


def _do(api: Operations, place: str, given: Namespace) -> int:
    if given.action == "list":
        return _list(api.call("GET", place)["connections"], as_json=given.json)
    if given.action == "add":
        if given.type is None:
            raise _Wrong(f"add needs --type, one of {', '.join(connection_types())}")
        index = {} if given.index is None else {"phoneIndex": given.index}
        shown = api.call("POST", place, {"connectionType": given.type, **index, **_changes(given, given.type)})
        return _say(shown, f"Made: connection {shown['phoneIndex']}, {shown['connectionType']}. {_reach(shown)}", given)
    one = f"{place}/{given.index}"
    if given.action == "update":
        # The type decides what a bare secret is called; only the API knows it.
        shown = api.call("PATCH", one, _changes(given, api.call("GET", one)["connectionType"]))
        return _say(shown, f"Changed; it is {_status(shown)}.", given)
    if given.action in _ASKED:
        path, show = _ASKED[given.action]
        return show(api.call("POST", f"{one}/{path}"), given)
    if given.action == "remove":
        shown = api.call("DELETE", f"{one}?force={'true' if given.force else 'false'}")
        return _say(shown, f"Removed; messages that failed with it: {shown['failedMessages']}.", given)
    shown = api.call("POST", f"{one}/{given.action}")
    return _say(shown, f"It is {_status(shown)}.", given)


def _reach(shown: dict[str, Any]) -> str:
    """Return where the messages of a new connection go: real credentials alone do not end the sandbox."""
    if shown.get("sandbox"):
        return "Its messages go to the sandbox and reach no person: SANDBOX=off for real ones."
    return "Its messages reach people."


def _list(found: list[dict[str, Any]], *, as_json: bool) -> int:
    if as_json:
        for one in found:
            print(json.dumps(one))
        return ExitCode.OK
    rows = []
    for one in found:
        number = one["facts"].get("number", {})
        reason = one["statusReason"] or one["warning"] or one["detail"]
        rows.append(
            [
                one["phoneIndex"],
                one["connectionType"],
                one["status"],
                one["state"],
                number.get("qualityRating"),
                number.get("messagingLimitTier"),
                age(one["checkedAt"]),
                reason,
            ]
        )
    print(*lines(("index", "type", "status", "state", "quality", "tier", "checked", "why"), rows), sep="\n")
    return ExitCode.OK


def _subscribe(task: dict[str, Any], given: Namespace) -> int:
    if task["status"] != "done":
        raise Unanswered("the process that serves the connection has not done it yet; see `bulkhead status`")
    return _say(task["result"], f"Webhooks of connection {given.index} come to us from now on.", given)


def _test(task: dict[str, Any], given: Namespace) -> int:
    result = task["result"]
    if task["status"] != "done":
        raise Unanswered("the process that serves the connection has not done it yet; see `bulkhead status`")
    if given.json:
        print(json.dumps(result))
    else:
        for fact in ("number", "page", "token", "webhooks"):
            for name, value in result.get(fact, {}).items():
                print(f"{fact:9} {name}: {value if value not in ('', None) else '-'}")
        for sentence in filter(None, (result["problem"], *result["warnings"])):
            print(f"!         {sentence}")
    return ExitCode.OK if result["healthy"] else CommandExit.UNWELL


def _say(shown: dict[str, Any], sentence: str, given: Namespace) -> int:
    print(json.dumps(shown) if given.json else sentence)
    return ExitCode.OK


def _status(shown: dict[str, Any]) -> str:
    return f"{shown['status']}: {shown['statusReason']}" if shown["statusReason"] else str(shown["status"])


_ASKED: Final[Mapping[str, tuple[str, Callable[[dict[str, Any], Namespace], int]]]] = {
    "test": ("test", _test),
    "subscribe": ("webhook", _subscribe),
}
"""Actions that the provider is asked to do: the operation's path, and what shows its task."""


def _changes(given: Namespace, connection_type: str) -> dict[str, Any]:
    """Return what the command line says about a connection, with the secrets that it points to."""
    named = {"accountId": given.account, "wabaId": given.waba}
    changes: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if given.options is not None:
        changes["options"] = _object(given.options, "--options")
    return changes | (_secrets(given.secrets, connection_type) if given.secrets is not None else {})


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
        raise _Wrong(f"--secrets: {source} cannot be read ({type(problem).__name__})") from None
    secret = secret.strip()
    if not secret:
        raise _Wrong("--secrets: there is nothing in it")
    if secret.startswith("{"):
        return _object(secret, "--secrets")
    if not (credentials := channel_named(connection_type).credentials):
        raise _Wrong(f"--secrets: a connection of type {connection_type} has none")
    # The first one listed is the one that a connection of this type requires.
    return {credentials[0]: secret}


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        # The parser's message may repeat a secret.
        raise _Wrong(f"{what} is not JSON") from None
    if not isinstance(found, dict):
        raise _Wrong(f"{what} is not a JSON object")
    return found
