"""`events`: print supervision events, from the orchestrator's journal."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict

from shared.numbers import whole
from shared.process.exit_codes import ExitCode
from shared.process.journal import JournalEntry, JournalReader, entries_in
from supervision.commands.context import Context
from supervision.decisions.plan import KindUnknown

HELP = "show supervision events"
# Seconds between two reads of the journal while following it.
_LOOK_EACH_S = 0.5


def arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("target", metavar="KIND[-N]", nargs="?", default="", help="only of this kind or slot")
    parser.add_argument("-n", "--lines", type=whole(1), default=50, metavar="N", help="how many (%(default)s)")
    parser.add_argument("-f", "--follow", action="store_true", help="keep printing new ones")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(context: Context, given: Namespace) -> int:
    """Print the last events, oldest first."""
    settings = context.settings()
    home = settings.bulkhead_home
    last, shown = 0, deque[JournalEntry](maxlen=given.lines)
    known = {"orchestrator", *(row.name for row in settings.kinds)}
    is_used = (home / "run").is_dir()
    for entry in entries_in(home) if is_used else ():
        last = entry.seq
        # Also kinds that the registry no longer has: their events can still be read.
        known |= {entry.kind, entry.slot}
        if _is_about(entry, given.target):
            shown.append(entry)
    if given.target and given.target not in known:
        raise KindUnknown(f"no kind or slot {given.target!r}; kinds: {', '.join(row.name for row in settings.kinds)}")
    _print(shown, as_json=given.json)
    if not given.follow or not is_used:
        return ExitCode.OK
    # From where the journal ended: nothing is read twice, however long it is.
    reader = JournalReader(home, after=last)
    while True:
        _print((entry for entry in reader.read() if _is_about(entry, given.target)), as_json=given.json)
        time.sleep(_LOOK_EACH_S)


def _print(entries: Iterable[JournalEntry], *, as_json: bool) -> None:
    for entry in entries:
        print(json.dumps(asdict(entry)) if as_json else _line(entry), flush=True)


def _is_about(entry: JournalEntry, target: str) -> bool:
    return not target or target in (entry.slot, entry.kind)


def _line(entry: JournalEntry) -> str:
    details = " ".join(
        f"{name}={value}" for name, value in entry.details.items() if value not in (None, "") and name != "log_tail"
    )
    return f"{entry.at}  {entry.slot or 'orchestrator':<12}  {entry.event:<20}  {details}".rstrip()
