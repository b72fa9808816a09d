"""`proc_recorder.py --webhooks list|show|replay …`: lists and shows webhooks of the journal, and replays raw events or
files.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Final

from recorder.command_context import asked, run_command
from recorder.progress import ProgressLine
from shared.clock import monotonic
from shared.process.exit_codes import ExitCode
from shared.store import inbound_journal, inbound_media
from shared.store.inbound_journal import Choice
from shared.store.pool import Transaction
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
_COLUMNS: Final = ("id", "source", "received_at", "processed_at", "attempts", "size", "outcome")
_FILE_COLUMNS: Final = ("message_id", "company_id", "connection_id", "state", "attempts", "updated_at", "reason")


def webhooks(words: Sequence[str]) -> int:
    """Do what the command line says, and return an exit code (`ExitCode`, or `UNWELL`)."""
    given = asked(words)
    act = {"list": _list, "show": _show, "replay": _replay}[given.action]
    return run_command("webhooks", lambda store, _: act(store, given))


def _choice(given: SimpleNamespace, ids: Sequence[int] = ()) -> Choice:
    return Choice(
        ids=tuple(ids),
        since=_instant(given.since),
        until=_instant(given.until),
        named=given.named,
        failed=given.failed,
        waiting=given.waiting,
        words=given.words,
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _list(store: Store, given: SimpleNamespace) -> int:
    columns, rows = (
        (_FILE_COLUMNS, store.run(inbound_media.not_fetched, KIND, below=given.before, most=given.limit))
        if given.files
        else (_COLUMNS, store.run(inbound_journal.rows, KIND, _choice(given), below=given.before, most=given.limit))
    )
    # the command line makes a table of them
    sys.stdout.write("".join(json.dumps({name: _shown(row[name]) for name in columns}) + "\n" for row in rows))
    if len(rows) == given.limit:
        # beside the output, which programs read
        sys.stderr.write(f"there may be more: --before {rows[-1][columns[0]]}\n")
    return ExitCode.OK


def _show(store: Store, given: SimpleNamespace) -> int:
    row = store.run(inbound_journal.row, given.id)
    if row is None:
        sys.stderr.write(f"there is no event {given.id}\n")
        return ExitCode.USAGE
    # A body is kept as it came, and need not be text: escapes show what UTF-8 does not.
    body = row["body"].decode("utf-8", "backslashreplace")
    facts = {name: _shown(value) for name, value in row.items() if name != "body"}
    if given.as_json:
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


def _replay(store: Store, given: SimpleNamespace) -> int:
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


def _all_ids(store: Store, given: SimpleNamespace) -> list[int]:
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

    def __init__(self, given: SimpleNamespace, what: str) -> None:
        self._given, self._what = given, what

    def over(self, store: Store, ids: Sequence[int], mark: Any, done: Any) -> int:
        """Return the exit code."""
        ended: dict[int, str] = {}
        stuck = False
        progress = ProgressLine(self._what, len(ids))
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
                progress.show(len(ended))
                stuck = len(now) < len(part) and monotonic() >= by
                if stuck or len(now) == len(part):
                    break
                time.sleep(_LOOK_S)
            if stuck:
                break
        progress.end()
        return self._report(ended, len(ids), stuck=stuck)

    def _report(self, ended: dict[int, str], total: int, *, stuck: bool) -> int:
        left = Counter(outcome for outcome in ended.values() if outcome)
        well = len(ended) - sum(left.values())
        if self._given.as_json:
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
