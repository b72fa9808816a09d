"""`proc_recorder.py --move …`: moves a share of the numbers of a single-process server here, or back, one after the
other, and gives them back by itself when their messages fail.

A number changes sides in steps of which each is committed before the next one begins: it is marked as between the two,
the side that served it lets it go, the other one takes it. A death in the middle leaves it between, where its messages
wait; the same command again finishes the move.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Final

from recorder.command_context import asked, run_command
from recorder.move_policy import MovedFigures, MovedNumber, ReturnLimits, Side, reason_to_return, steps
from recorder.old_server_import import PAUSED
from shared.channels.registry import channel_named
from shared.clock import Monotonic, monotonic
from shared.process.exit_codes import ExitCode
from shared.settings import Settings
from shared.store import connections, moving, sessions
from shared.store.moving import MessagesLeft
from shared.store.old_server import OldTablesUnknown, mark_number, open_tables
from shared.store.pool import Transaction
from shared.store.store import Store

BETWEEN: Final = "moving: neither of the two serves it now; the same `bulkhead move` again finishes it"
"""Reason of the pause of a number on its way."""
_UNWELL: Final = 1
"""Exit code: numbers were given back, or one could not be moved."""
_LOOK_S: Final = 10.0
"""Seconds between two looks at the figures."""
_WINDOW_S: Final = 900.0
"""Seconds of which messages are counted: a failure of an hour ago is no reason today."""
_SENDS_S: Final = 150.0
"""Longest wait for a message in hand of a number that goes back: longer than the longest send."""
_PAUSE_S: Final = 0.2
"""Seconds between two looks at messages in hand."""


def move(words: Sequence[str]) -> int:
    """Move, watch, and return an exit code (`ExitCode`, or 1 when numbers were given back)."""
    return run_command("move", partial(_move, given=asked(words)))


def _move(store: Store, settings: Settings, *, given: SimpleNamespace) -> int:
    columns: dict[str, dict[str, str]] = {}
    for what, field, theirs in given.column:
        columns.setdefault(what, {})[field] = theirs
    url = str(settings.own("OLD_DATABASE_URL")) or settings.database_url
    old = OldSide(url, on=given.old_on, off=given.old_off, columns=columns, tables=dict(given.table))
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    mover = Mover(store, old, say=lambda line: sys.stdout.write(f"{line}\n"), stopping=stopping)
    try:
        numbers = mover.numbers(frozenset(given.types))
        come, go = steps(numbers, given.percent)
        if given.dry_run:
            for words, some in (("here", come), ("back", go)):
                sys.stdout.write("".join(f"{one.name}: {words}\n" for one in some))
            return ExitCode.OK
        mover.give_back(go, drain_s=given.drain)
        mover.take(come)
        limits = ReturnLimits(failed_share=given.failed_share / 100, oldest_s=given.oldest)
        return mover.watch(frozenset(given.types), limits, for_s=given.watch_s)
    except OldTablesUnknown as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.USAGE


class OldSide:
    """The single-process server's table of numbers.

    Args:
        on, off: its words for a number that it serves, and for one that it lets go.
    """

    def __init__(
        self,
        url: str,
        *,
        on: str,
        off: str,
        columns: Mapping[str, Mapping[str, str]],
        tables: Mapping[str, str],
    ) -> None:
        self._url, self._on, self._off, self._columns, self._tables = url, on, off, columns, tables

    def numbers(self) -> dict[tuple[str, int], bool]:
        """Return every number by (company, index), and whether the server serves it."""
        with open_tables(self._url, columns=self._columns, tables=self._tables) as tables:
            return {
                (str(row["company_id"]), int(row["phone_index"])): row.get("status") == self._on
                for row in tables.rows("numbers")
            }

    def let_go(self, number: MovedNumber) -> None:
        """Let the server serve a number no longer."""
        self._mark(number, self._off)

    def take(self, number: MovedNumber) -> None:
        """Let the server serve a number."""
        self._mark(number, self._on)

    def _mark(self, number: MovedNumber, status: str) -> None:
        mark_number(
            self._url,
            company_id=number.company_id,
            phone_index=number.phone_index,
            status=status,
            columns=self._columns,
            tables=self._tables,
        )


class Mover:
    """Moves numbers and watches them.

    Args:
        say: gets a line about each step. stopping: set when the operator has ended the command.
    """

    def __init__(
        self,
        store: Store,
        old: OldSide,
        *,
        say: Callable[[str], object],
        stopping: threading.Event,
        clock: Monotonic = monotonic,
    ) -> None:
        self._store, self._old, self._say, self._stopping, self._clock = store, old, say, stopping, clock

    def numbers(self, types: frozenset[str]) -> list[MovedNumber]:
        """Return the server's numbers that were imported here, without those that it has switched off itself; `types`:
        only these, none: all.
        """
        found = []
        for (company, index), is_on in self._old.numbers().items():
            one = self._store.run(connections.by_index, company, index)
            if one is None or (types and one.connection_type not in types):
                continue
            side = {PAUSED: Side.THERE, BETWEEN: Side.BETWEEN}.get(one.status_reason, Side.HERE)
            if side is not Side.THERE or is_on:
                is_session = channel_named(one.connection_type).session
                found.append(
                    MovedNumber(
                        company_id=company, phone_index=index, connection_id=one.id, is_session=is_session, side=side
                    )
                )
        return found

    def take(self, numbers: Sequence[MovedNumber]) -> None:
        """Serve numbers here, each after the server has let it go."""
        for number in numbers:
            self._store.run(_hold, number, BETWEEN)
            self._old.let_go(number)
            self._store.run(_resume, number)
            self._say(f"{number.name}: served here")

    def give_back(self, numbers: Sequence[MovedNumber], *, drain_s: float = 0.0) -> None:
        """Let the server serve numbers again, each after its message in hand has ended here.

        Args:
            drain_s: for so many seconds at most, a number that is served here goes on until nothing waits for it: what
                is accepted here and not sent stays unsent until the number is here again.
        """
        for number in numbers:
            if number.side is Side.HERE:
                self._wait(drain_s, lambda left: not left.due and not left.sending, number)
            self._store.run(_hold, number, BETWEEN)
            self._wait(_SENDS_S, lambda left: not left.sending, number)
            self._old.take(number)
            self._store.run(_hold, number, PAUSED)
            self._say(f"{number.name}: served by the single-process server again")
            if due := self._store.run(moving.left, number.connection_id).due:
                self._say(f"{number.name}: messages that wait here until the number is here again: {due}")

    def _wait(self, for_s: float, is_done: Callable[[MessagesLeft], bool], number: MovedNumber) -> None:
        """Wait for a state of a number's messages, for `for_s` seconds at most."""
        by = self._clock() + for_s
        while not is_done(self._store.run(moving.left, number.connection_id)) and self._clock() < by:
            self._stopping.wait(_PAUSE_S)

    def watch(self, types: frozenset[str], limits: ReturnLimits, *, for_s: float) -> int:
        """Look at the messages of all numbers that are here for `for_s` seconds, and give all of them back when a limit
        is passed: also those that came before, so that a watch that was interrupted goes on. Returns an exit code.

        Args:
            types: only numbers of these; none: all.
        """
        numbers = [one for one in self.numbers(types) if one.side is Side.HERE]
        by = self._clock() + for_s
        ids = [number.connection_id for number in numbers]
        # (instant, newest message then): the first one is where the window begins
        marks = deque([(self._clock(), self._store.run(moving.newest_message))])
        while ids and self._clock() < by and not self._stopping.is_set():
            found = self._store.run(moving.figures, ids, after=marks[0][1])
            if reason := reason_to_return(MovedFigures(**found), limits):
                self._say(f"given back: {reason}")
                self.give_back(numbers)
                return _UNWELL
            self._stopping.wait(min(_LOOK_S, max(0.0, by - self._clock())))
            marks.append((self._clock(), self._store.run(moving.newest_message)))
            while len(marks) > 1 and self._clock() - marks[1][0] > _WINDOW_S:
                marks.popleft()
        return ExitCode.OK


def _resume(transaction: Transaction, number: MovedNumber) -> None:
    connections.resume_from(transaction, number.connection_id, BETWEEN)
    if number.is_session:
        _want(transaction, number, "linked")


def _hold(transaction: Transaction, number: MovedNumber, reason: str) -> None:
    for ours in (PAUSED, BETWEEN):
        connections.resume_from(transaction, number.connection_id, ours)
    connections.pause(transaction, number.connection_id, reason)
    if number.is_session:
        _want(transaction, number, "paused")


def _want(transaction: Transaction, number: MovedNumber, desired: str) -> None:
    sessions.want(transaction, company_id=number.company_id, phone_index=number.phone_index, desired_state=desired)
