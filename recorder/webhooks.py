"""`proc_recorder.py --webhooks list|show|replay …`: lists and shows webhooks of the journal, and replays raw events or
files.
"""

from __future__ import annotations

import json
import re
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from recorder.command_context import run_command
from shared.clock import monotonic
from shared.numbers import seconds, whole
from shared.process.exit_codes import ExitCode
from shared.store import inbound_journal, inbound_media
from shared.store.inbound_journal import Choice
from shared.store.pool import Row, Transaction
from shared.store.store import Store

KIND: Final = "meta"
"""Whose journal: the kind that reads its journal again whenever a row is marked."""
UNWELL: Final = 1
"""Exit code: done, but some of it is still not understood, or no process read it in time."""
_AT_ONCE: Final = 200
"""Raw events that are marked at once: a few batches of the pipeline, so that live webhooks behind them wait for a
moment only.
"""
_MOST: Final = 1_000_000
"""Most files that one command lets be fetched again: a bound for the statement, above what any journal holds."""
_LOOK_S: Final = 0.1
"""Seconds between looks at how far the processing is."""
_BAR: Final = 30
"""Characters of the progress bar."""
_COLUMNS: Final = ("id", "source", "received_at", "processed_at", "attempts", "size", "outcome")
_FILE_COLUMNS: Final = ("message_id", "company_id", "connection_id", "state", "attempts", "updated_at", "reason")
_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
"""A time before now: a whole number and a unit."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Seconds of each unit."""


def webhooks(argv: Sequence[str]) -> int:
    """Do what the command line says, and return an exit code (`ExitCode`, or `UNWELL`)."""
    given = _parser().parse_args(argv)
    return run_command("webhooks", lambda store, _: int(given.act(store, given)))


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n")


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="bulkhead webhooks",
        description="List and show webhooks of the journal, and replay raw events or files.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|replay")
    listing = actions.add_parser("list", help="raw events, newest first")
    listing.set_defaults(act=_list)
    listing.add_argument("-n", "--limit", type=whole(1), default=50, metavar="N", help="how many at most (%(default)s)")
    listing.add_argument(
        "--before",
        type=whole(1),
        metavar="ID",
        help="only those before this id (with --files: of the message), for the next page",
    )
    listing.add_argument("--waiting", action="store_true", help="only those that are not processed yet")
    showing = actions.add_parser("show", help="one raw event as it came")
    showing.set_defaults(act=_show)
    showing.add_argument("id", type=whole(1), metavar="ID")
    again = actions.add_parser("replay", help="process raw events again; what is already known does not change")
    again.set_defaults(act=_replay, waiting=False)
    again.add_argument(
        "ids",
        type=whole(1),
        nargs="*",
        metavar="ID",
        help="these (with --files: messages); none: all that the options choose",
    )
    again.add_argument("--all", action="store_true", help="needed when neither ids nor options choose")
    again.add_argument(
        "--wait",
        type=seconds,
        default=60.0,
        metavar="S",
        help="give up after so long without progress (%(default)g s)",
    )
    for one in (listing, again):
        one.add_argument("--failed", action="store_true", help="only those that could not be processed at all")
        one.add_argument(
            "--named", action="store_true", help="only those that were not fully understood, failed ones included"
        )
        one.add_argument("--words", default="", metavar="TEXT", help="only those with these words in their outcome")
        one.add_argument(
            "--since",
            type=_instant,
            metavar="WHEN",
            help="only those received since: an ISO instant, or 30m, 2h, 1d ago",
        )
        one.add_argument("--until", type=_instant, metavar="WHEN", help="only those received before")
        one.add_argument(
            "--files", action="store_true", help="files of messages that could not be fetched, in place of raw events"
        )
    for one in (listing, showing, again):
        one.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def _instant(text: str) -> datetime:
    try:
        if ago := _AGO.fullmatch(text):
            return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
        instant = datetime.fromisoformat(text)
        # Without a zone it is UTC, like every time that is shown.
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError:
        raise ValueError from None  # before year 1 or after 9999: a wrong argument too, but argparse knows only this


def _choice(given: Namespace, ids: Sequence[int] = ()) -> Choice:
    return Choice(
        ids=tuple(ids),
        since=given.since,
        until=given.until,
        named=given.named,
        failed=given.failed,
        waiting=given.waiting,
        words=given.words,
    )


def _list(store: Store, given: Namespace) -> int:
    if given.files:
        files = store.run(inbound_media.not_fetched, KIND, below=given.before, most=given.limit)
        return _print(given, files, _FILE_COLUMNS, "every file was fetched")
    rows = store.run(inbound_journal.rows, KIND, _choice(given), below=given.before, most=given.limit)
    return _print(given, rows, _COLUMNS, "there are no such events")


def _print(given: Namespace, rows: Sequence[Row], columns: Sequence[str], none: str) -> int:
    if given.json:
        sys.stdout.write("".join(json.dumps({name: _shown(row[name]) for name in columns}) + "\n" for row in rows))
    elif rows:
        cells = [list(columns), *([str(_shown(row[name]) or "-") for name in columns] for row in rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
        sys.stdout.write(
            "".join(
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
                for row in cells
            )
        )
    else:
        sys.stdout.write(f"{none}\n")
    if len(rows) == given.limit:
        # beside the output, which programs read
        sys.stderr.write(f"there may be more: --before {rows[-1][columns[0]]}\n")
    return ExitCode.OK


def _show(store: Store, given: Namespace) -> int:
    row = store.run(inbound_journal.row, given.id)
    if row is None:
        sys.stderr.write(f"there is no event {given.id}\n")
        return ExitCode.USAGE
    # A body is kept as it came, and need not be text: escapes show what UTF-8 does not.
    body = row["body"].decode("utf-8", "backslashreplace")
    facts = {name: _shown(value) for name, value in row.items() if name != "body"}
    if given.json:
        sys.stdout.write(json.dumps(facts | {"body": body}) + "\n")
        return ExitCode.OK
    sys.stdout.write("".join(f"{name:<14} {'-' if value in (None, '') else value}\n" for name, value in facts.items()))
    try:
        body = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    # Not JSON, or nested too deeply for its parser: printed as it came, since that may be the problem looked for.
    except (ValueError, RecursionError):
        sys.stdout.write("its body as it came:\n")
    sys.stdout.write(f"\n{body}\n")
    return ExitCode.OK


def _replay(store: Store, given: Namespace) -> int:
    chosen = (
        given.ids
        or given.failed
        or given.named
        or given.words
        or given.since
        or given.until
        or given.files
        or given.all
    )
    if not chosen:
        sys.stderr.write("choose: ids, --failed, --named, --words, --since, --until, --files, or --all\n")
        return ExitCode.USAGE
    if given.files:
        return _Run(given, "files").over(
            store, store.run(inbound_media.fetch_again, KIND, ids=given.ids or None, most=_MOST), _nothing, _files_done
        )
    ids = _all_ids(store, given)
    if (
        given.ids
        # An id that the other options leave out is no mistake; one that does not exist is.
        and len(ids) < len(set(given.ids))
        and not (given.failed or given.named or given.words or given.since or given.until)
    ):
        sys.stderr.write(f"there is no event {', '.join(str(one) for one in sorted(set(given.ids) - set(ids)))}\n")
        return ExitCode.USAGE
    return _Run(given, "events").over(store, ids, inbound_journal.replay, _events_done)


def _all_ids(store: Store, given: Namespace) -> list[int]:
    """Return what is chosen, oldest first; pages of it are read apart, so that no transaction is long."""
    found: list[int] = []
    choice = _choice(given, given.ids)
    # From the newest down, since that is the statement's order; returned the other way round.
    while page := store.run(inbound_journal.rows, KIND, choice, below=found[-1] if found else None, most=1000):
        found += [row["id"] for row in page]
    return found[::-1]


def _nothing(transaction: Transaction, ids: Sequence[int]) -> list[int]:
    """Mark nothing: files are marked when they are chosen."""
    return list(ids)


def _events_done(transaction: Transaction, ids: Sequence[int]) -> dict[int, str]:
    """Return how events went, those alone that were processed: empty when they were understood."""
    return {row["id"]: row["outcome"] for row in inbound_journal.outcomes(transaction, ids) if row["is_processed"]}


def _files_done(transaction: Transaction, ids: Sequence[int]) -> dict[int, str]:
    """Return how files went, those alone that were tried: empty when they are stored."""
    rows = inbound_media.media_of(transaction, ids)
    return {
        one: "" if row["state"] == "stored" else row["reason"]
        for one, row in rows.items()
        # A pending file without a reason has not been tried since it was marked; with one, its next try is set already.
        if row["state"] != "pending" or row["reason"]
    }


class _Run:
    """Has things done again, a few hundred at a time, and shows how far it is."""

    def __init__(self, given: Namespace, what: str) -> None:
        self._given, self._what = given, what
        # No bar in a log file or a pipe.
        self._shows = sys.stderr.isatty()

    def over(self, store: Store, ids: Sequence[int], mark: Any, done: Any) -> int:
        """Return the exit code."""
        ended: dict[int, str] = {}
        stuck = False
        for first in range(0, len(ids), _AT_ONCE):
            part = ids[first : first + _AT_ONCE]
            store.run(mark, part)
            by = monotonic() + self._given.wait
            # No notification comes from the other process, so its rows are looked at again and again.
            while True:
                now = store.run(done, part)
                if len(now) > sum(one in ended for one in part):
                    # The wait starts anew with each progress: it bounds a standstill, not the whole run.
                    by = monotonic() + self._given.wait
                ended |= now
                self._bar(len(ended), len(ids))
                stuck = len(now) < len(part) and monotonic() >= by
                if stuck or len(now) == len(part):
                    break
                time.sleep(_LOOK_S)
            if stuck:
                break
        return self._report(ended, len(ids), stuck=stuck)

    def _bar(self, count: int, total: int) -> None:
        if self._shows:
            full = _BAR * count // max(1, total)
            sys.stderr.write(f"\r[{'#' * full}{'.' * (_BAR - full)}] {count} of {total} {self._what}")
            sys.stderr.flush()

    def _report(self, ended: dict[int, str], total: int, *, stuck: bool) -> int:
        if self._shows and total:
            sys.stderr.write("\n")
        left = Counter(outcome for outcome in ended.values() if outcome)
        well = len(ended) - sum(left.values())
        if self._given.json:
            sys.stdout.write(
                json.dumps(
                    {"chosen": total, "well": well, "not_well": sum(left.values()), "not_done": total - len(ended)}
                )
                + "\n"
            )
        else:
            sys.stdout.write(
                f"{self._what} chosen: {total}; well: {well}; not well: {sum(left.values())}; not done: "
                f"{total - len(ended)}\n"
            )
            for outcome, count in left.most_common(10):
                sys.stdout.write(f"  {count} x {outcome}\n")
            if stuck:
                sys.stdout.write(
                    f"nothing was done for {self._given.wait:g} s: does a meta process run? What is marked is read "
                    f"when one does\n"
                )
        return UNWELL if left or stuck else ExitCode.OK


def _shown(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
