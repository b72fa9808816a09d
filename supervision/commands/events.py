"""`events`: print supervision events, from the orchestrator's journal."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

import click

from shared.process.exit_codes import ExitCode
from shared.process.journal import JournalEntry, JournalReader, entries_in
from supervision.commands.context import Context
from supervision.commands.options import INSTANT, TARGET, as_json, count
from supervision.decisions.plan import KindUnknown

# Seconds between two reads of the journal while following it.
_LOOK_EACH_S = 0.5


@click.command("events", short_help="Show supervision events.")
@click.argument("target", metavar="[KIND[-N]]", type=TARGET, default="")
@click.option("-n", "--lines", type=count(1), default=50, show_default=True, metavar="N", help="How many at most.")
@click.option("--since", type=INSTANT, default=None, metavar="WHEN", help="Only since then: 30m, 2h, or an instant.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new ones, until Ctrl-C.")
@as_json()
@click.pass_obj
def command(context: Context, target: str, lines: int, since: datetime | None, follow: bool, as_json: bool) -> int:
    """Show the last supervision events, oldest first: of a kind, of one slot, or without a name of all."""
    settings = context.settings()
    home = settings.bulkhead_home
    last, shown = 0, deque[JournalEntry](maxlen=lines)
    known = {"orchestrator", *(row.name for row in settings.kinds)}
    is_used = (home / "run").is_dir()
    for entry in entries_in(home) if is_used else ():
        last = entry.seq
        # Also kinds that the registry no longer has: their events can still be read.
        known |= {entry.kind, entry.slot}
        if _is_about(entry, target) and (since is None or datetime.fromisoformat(entry.at) >= since):
            shown.append(entry)
    if target and target not in known:
        raise KindUnknown(f"no kind or slot {target!r}; kinds: {', '.join(row.name for row in settings.kinds)}")
    _print(shown, as_json=as_json)
    if not follow or not is_used:
        return ExitCode.OK
    # From where the journal ended: nothing is read twice, however long it is.
    reader = JournalReader(home, after=last)
    try:
        while True:
            _print((entry for entry in reader.read() if _is_about(entry, target)), as_json=as_json)
            time.sleep(_LOOK_EACH_S)
    except KeyboardInterrupt:
        return ExitCode.OK


def _print(entries: Iterable[JournalEntry], *, as_json: bool) -> None:
    for entry in entries:
        click.echo(json.dumps(asdict(entry)) if as_json else _line(entry))


def _is_about(entry: JournalEntry, target: str) -> bool:
    return not target or target in (entry.slot, entry.kind)


def _line(entry: JournalEntry) -> str:
    details = " ".join(
        f"{name}={value}" for name, value in entry.details.items() if value not in (None, "") and name != "log_tail"
    )
    return f"{entry.at}  {entry.slot or 'orchestrator':<12}  {entry.event:<20}  {details}".rstrip()
