"""`sessions list|link|pair|restart|logout|wipe`: manage browser sessions, through the API of the installation in this
home.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from argparse import ArgumentParser, Namespace
from typing import Final
from urllib.parse import quote

from shared.numbers import seconds, whole
from shared.process.exit_codes import ExitCode
from shared.table import age, lines
from supervision.commands.context import CommandExit, Context
from supervision.commands.entry_process import Operations, Unanswered, operations

HELP = "list, link, restart, log out and wipe browser sessions"
# Seconds between two requests for a session's state; WhatsApp replaces the code some times a minute.
_LOOK_EACH_S: Final = 1.0
_ACTIONS: Final = {"restart": "Restarted.", "logout": "It will be logged out.", "wipe": "Its profile is removed."}
_HOW: Final = "On the phone: WhatsApp, Linked devices, Link a device. The code changes by itself."
# Cursor home and clear the screen (ECMA-48), so that the newest code stands in the place of the one before.
_CLEAR: Final = "\033[H\033[J"


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "action",
        choices=("list", "link", "pair", *_ACTIONS),
        help="what to do; link shows the code until it is scanned",
    )
    parser.add_argument(
        "index", metavar="PHONE_INDEX", type=whole(0), nargs="?", default=None, help="which session; not for list"
    )
    parser.add_argument("--company", metavar="ID", default="", help="of this company (COMPANY_ID)")
    parser.add_argument(
        "--phone", metavar="NUMBER", default="", help="number of the phone that the code is typed into (pair)"
    )
    parser.add_argument(
        "--within", metavar="SECONDS", type=seconds, default=300.0, help="longest wait for a scan (%(default).0f)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line (list)")


def run(context: Context, given: Namespace) -> int:
    """Do what was asked and return an exit code."""
    settings = context.known()
    company = given.company or settings.company_id
    if given.action != "list" and given.index is None:
        sys.stderr.write(f"{given.action} needs a PHONE_INDEX; `bulkhead sessions list` shows them\n")
        return ExitCode.USAGE
    if given.action == "pair" and not given.phone:
        sys.stderr.write("pair needs --phone\n")
        return ExitCode.USAGE
    place = f"/api/v2/sessions/{quote(company, safe='')}"
    with operations(context) as api:
        try:
            if given.action == "list":
                return _list(api, place, as_json=given.json)
            return _do(api, f"{place}/{given.index}", given)
        except Unanswered as problem:
            sys.stderr.write(f"{problem}\n")
            return problem.code


def _list(api: Operations, place: str, *, as_json: bool) -> int:
    sessions = api.call("GET", place)["sessions"]
    if as_json:
        for one in sessions:
            print(json.dumps(one))
        return ExitCode.OK
    rows = []
    for one in sessions:
        browser = one["browser"] or {}
        memory = browser.get("pssMb")
        rows.append(
            [
                one["phoneIndex"],
                one["desired"],
                one["state"],
                age(one["provedAt"]),
                None if memory is None else round(memory),
                browser.get("cpu"),
                one["detail"],
            ]
        )
    print(*lines(("index", "wanted", "state", "proved", "MB", "cpu", "detail"), rows), sep="\n")
    return ExitCode.OK


def _do(api: Operations, place: str, given: Namespace) -> int:
    if given.action == "link":
        return _link(api, place, given.within)
    if given.action == "pair":
        task = api.call("POST", f"{place}/pairing-code", {"phone": given.phone})
        if task["status"] != "done":
            raise Unanswered("the session did not answer in time; see `bulkhead sessions list`")
        print(
            f"Type {task['result']['code']} into the phone: Linked devices, Link a device, Link "
            "with phone number instead."
        )
        return ExitCode.OK
    answer = api.call("POST", f"{place}/{given.action}")
    print(
        _ACTIONS[given.action]
        if answer.get("status", "done") == "done"
        else "Asked for; the browser process has not done it yet."
    )
    return ExitCode.OK


def _link(api: Operations, place: str, within_s: float) -> int:
    """Set the desired state to linked, and show the newest code until it is scanned."""
    session = api.call("POST", place, {"desired": "linked"})
    by, drawn = time.monotonic() + within_s, ""
    while time.monotonic() < by:
        session = api.call("GET", place)
        if session["state"] in ("syncing", "ready"):
            print(f"Linked: the session is {session['state']}.")
            return ExitCode.OK
        # Drawn only when it changed: a picture that flickers cannot be scanned.
        if session["qr"] and session["qr"] != drawn:
            status, picture = api.ask("GET", f"{place}/qr?format=txt")
            # Otherwise the code was replaced or scanned in between: the next round sees which.
            if status == http.client.OK:
                drawn = session["qr"]
                print(f"{_CLEAR if sys.stdout.isatty() else ''}{picture}\n{_HOW}", flush=True)
        time.sleep(_LOOK_EACH_S)
    sys.stderr.write(
        f"not linked within {within_s:.0f} s; the session is "
        f"{session['state']}{': ' + session['detail'] if session['detail'] else ''}\n"
    )
    return CommandExit.UNWELL
