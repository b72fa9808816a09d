"""`events`: what the orchestrator saw, from its journal."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from collections import deque
from dataclasses import asdict

from shared.process.exit_codes import ExitCode
from shared.process.journal import JournalEntry, entries_in
from supervision.commands.context import Context

HELP = "show what the orchestrator saw"
_LOOK_EACH_S = 0.5


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("target", metavar="KIND[-N]", nargs="?", default="", help="only of this kind or slot")
    parser.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="how many (%(default)s)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new ones")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(context: Context, given: Namespace) -> int:
    """Print the last events, oldest first."""
    home = context.settings().bulkhead_home
    last = 0
    shown = deque((entry for entry in entries_in(home) if _is_about(entry, given.target)), maxlen=max(1, given.lines))
    while True:
        for entry in shown:
            print(json.dumps(asdict(entry)) if given.json else _line(entry), flush=True)
            last = entry.seq
        if not given.follow:
            return ExitCode.OK
        time.sleep(_LOOK_EACH_S)
        shown = deque(entry for entry in entries_in(home) if entry.seq > last and _is_about(entry, given.target))


def _is_about(entry: JournalEntry, target: str) -> bool:
    return not target or target in (entry.slot, entry.kind)


def _line(entry: JournalEntry) -> str:
    details = " ".join(
        f"{name}={value}" for name, value in entry.details.items() if value not in (None, "") and name != "log_tail"
    )
    return f"{entry.at}  {entry.slot or 'orchestrator':<12}  {entry.event:<20}  {details}".rstrip()
