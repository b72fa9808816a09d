"""`top`: processes, queues, sessions, troubles and events, live; restarts and drains what is chosen, after a
question."""

from __future__ import annotations

import json
import os
import select
import sys
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import click

from shared.errors import BulkheadError
from shared.process.control_client import NoOrchestrator, OrchestratorRefused
from shared.process.exit_codes import ExitCode
from shared.process.journal import JournalEntry, JournalReader, entries_in
from supervision.commands import screen
from supervision.commands import terminal_view as view
from supervision.commands.command_exits import CommandExit
from supervision.commands.context import Context
from supervision.commands.entry_process import operations
from supervision.commands.status import ask, slot_rows
from supervision.commands.top_model import (
    EVENTS_SHOWN,
    Observed,
    TopChoice,
    event_lines,
    foot,
    headline,
    pressed,
    process_table,
    queue_table,
    shares,
    troubles_of,
    window,
)

_LOOK_EACH_S: Final = 1.0
"""Seconds between two looks at the orchestrator."""
_DATABASE_EACH_S: Final = 2.0
"""Seconds between two looks at the database."""
_KEY_BYTES: Final = 16
_ARROWS: Final = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}
"""What terminals send for arrow keys (ECMA-48, and xterm's application mode)."""


@click.command("top", short_help="Watch processes, queues, sessions and events live.")
@click.option("--once", is_flag=True, help="Print it once, without keys; so it is without a terminal.")
@click.pass_obj
def command(context: Context, once: bool) -> int:
    """Watch processes, queues, sessions, troubles and events live; restart and drain with a key, after a question.

    Without a running Bulkhead it shows what still lives, and leaves with 3.
    """
    home = context.settings().bulkhead_home
    status, lives = ask(home)
    if not status["slots"] and not lives:
        click.echo(f"Nothing runs over {home}.")
        return CommandExit.NOT_RUNNING
    events = deque[JournalEntry](entries_in(home), maxlen=EVENTS_SHOWN)
    database = DatabaseFeed(context)
    with database.running():
        if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            database.first(_DATABASE_EACH_S * 5)
            _print_once(database.add_to(Observed(status=status, lives=lives, events=tuple(events))))
            return ExitCode.OK if lives else CommandExit.NOT_RUNNING
        return _watch(context, database, events)


class DatabaseFeed:
    """What only the database knows, read again and again in a thread, so that a slow server never holds up the screen.

    Args:
        context: whose database.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._health: dict[str, Any] | None = None
        self._queue: list[dict[str, Any]] | None = None
        self._missing = "the database is being asked"
        self._stop, self._was_read = threading.Event(), threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Read until the block ends."""
        thread = threading.Thread(target=self._read_on, name="top-database", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(_DATABASE_EACH_S)

    def first(self, within_s: float) -> None:
        """Wait for the first answer."""
        self._was_read.wait(within_s)

    def add_to(self, seen: Observed) -> Observed:
        """Return what was seen with the database's part."""
        return replace(seen, health=self._health, queue=self._queue, missing=self._missing)

    def _read_on(self) -> None:
        while not self._stop.is_set():
            try:
                with operations(self._context, quiet=True) as api:
                    while not self._stop.wait(0 if self._missing else _DATABASE_EACH_S):
                        # also while the database is away, with 503
                        _, health = api.ask("GET", "/health/all")
                        self._health = json.loads(health)
                        self._queue = api.call("GET", "/api/v2/queues")["queues"]
                        self._missing = ""
                        self._was_read.set()
            # shown in its place: the processes are watched on
            except BulkheadError as problem:
                self._queue = None
                self._missing = str(problem).splitlines()[0]
            except SystemExit as left:
                self._health = self._queue = None
                self._missing = f"the database cannot be asked (exit code {left.code}; see `bulkhead doctor`)"
            self._was_read.set()
            self._stop.wait(_DATABASE_EACH_S)


def _print_once(seen: Observed) -> None:
    click.echo(headline(seen))
    for sentence, mend in troubles_of(seen):
        click.echo(f"{sentence} {mend}")
    screen.show_table(*process_table(slot_rows(dict(seen.status))))
    head, rows = queue_table(seen)
    if rows:
        click.echo()
        screen.show_table(head, rows)
    click.echo()
    for line in event_lines(seen):
        click.echo(line)


def _watch(context: Context, database: DatabaseFeed, events: deque[JournalEntry]) -> int:
    home = context.settings().bulkhead_home
    reader = JournalReader(home, after=events[-1].seq if events else 0)
    choice, looked_at = TopChoice(), 0.0
    seen = Observed(status={"slots": {}}, lives=False)
    live = view.live_screen()
    try:
        with _keys(), live:
            while not choice.is_over:
                if time.monotonic() - looked_at >= _LOOK_EACH_S:
                    looked_at = time.monotonic()
                    status, lives = ask(home)
                    events.extend(reader.read())
                    seen = database.add_to(Observed(status=status, lives=lives, events=tuple(events)))
                live.update(_page(seen, choice, view.lines_of(live)), refresh=True)
                for key in _pressed_within(_LOOK_EACH_S / 2):
                    choice, request = pressed(choice, key, seen.slots)
                    if request is not None:
                        choice = replace(choice, said=_done(context, request.command, request.target))
                        looked_at = 0.0
    except KeyboardInterrupt:
        return ExitCode.OK
    return ExitCode.OK


def _done(context: Context, command: str, target: str) -> str:
    """Do what was confirmed and return what is said about it; its progress is seen in the table."""
    try:
        slots = context.ask({"command": command, "target": target})["slots"]
    except (NoOrchestrator, OrchestratorRefused) as problem:
        return str(problem)
    return f"{command} of {', '.join(slots)} was requested"


def _page(seen: Observed, choice: TopChoice, lines: int) -> view.Drawing:
    """Return the screen.

    Args:
        lines: that it has; no more are drawn, so that the foot with its question is never out of sight.
    """
    rows = slot_rows(dict(seen.status))
    head, waiting = queue_table(seen)
    troubles, events = troubles_of(seen), event_lines(seen)
    share = shares(lines, troubles=len(troubles), slots=len(rows), queues=len(waiting), events=len(events))
    chosen = min(choice.row, len(rows) - 1)
    shown = window(chosen, share.slots, len(rows))
    columns, cells = process_table([rows[number] for number in shown])
    left_off = len(rows) - len(shown)
    return view.page(
        [
            view.line(headline(seen), "bold"),
            *(
                part
                for sentence, mend in troubles[: share.troubles]
                for part in (
                    view.line(sentence, "red" if sentence.startswith("down") else "yellow"),
                    view.line(f"  {mend}"),
                )
            ),
            view.line(""),
            view.table(columns, cells, chosen=chosen - shown.start, is_folded=False),
            *([view.line(f"… {left_off} more: ↑ ↓", "dim")] if left_off else []),
            view.line(""),
            *(
                [view.table(head, waiting[: share.queues], is_folded=False)]
                if share.queues
                else [
                    view.line(
                        f"{len(waiting)} queues wait." if waiting else "" if seen.queue is None else "Nothing waits."
                    )
                ]
            ),
            view.line(""),
            *map(view.line, events[len(events) - share.events :]),
            view.line(foot(choice), "reverse" if choice.asked else "dim"),
        ]
    )


@contextmanager
def _keys() -> Iterator[None]:
    """Have single keys of the terminal, without their echo, until the block ends."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _pressed_within(wait_s: float) -> list[str]:
    """Return the keys that are pressed within some seconds."""
    ready, _, _ = select.select([sys.stdin], [], [], wait_s)
    if not ready:
        return []
    # past the buffer of the text stream, in which select would not see what is left
    raw = os.read(sys.stdin.fileno(), _KEY_BYTES)
    if not raw:
        raise KeyboardInterrupt
    if raw in _ARROWS:
        return [_ARROWS[raw]]
    return [] if raw.startswith(b"\x1b") else list(raw.decode(errors="replace"))
