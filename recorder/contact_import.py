"""Imports contacts of a file, a hundred in one transaction, which also notes how far the import is: a death at any
point repeats what was not committed, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from shared.compose.contact_entries import Line, LineProblem, count_entries, next_lines, read_entries
from shared.contact_files import FileUnreadable
from shared.fail_points import hit
from shared.process.periodic import until_available
from shared.process.service import Child
from shared.store import contacts
from shared.store.contacts import Taken
from shared.store.pool import Row, Transaction
from shared.store.pool import json as stored_json
from shared.store.tasks import Task, TaskFailed

_ERRORS: Final = 100
"""Errors that a result lists."""
_READ_AT_ONCE: Final = 2
"""Files of which a part is read at the same time: each takes a thread, and most of a core."""


class ContactImport:
    """Carries out imports."""

    def __init__(self, child: Child) -> None:
        self._store, self._incarnation = child.store, child.identity.process_incarnation
        self._places = asyncio.Semaphore(_READ_AT_ONCE)

    async def take_in(self, task: Task) -> Mapping[str, Any]:
        """Handle the task `IMPORT`: return how many contacts were created, updated, unchanged and failed, and the first
        errors by line.
        """
        row = await until_available("contact_import", lambda: self._store.call(_file, task.id))
        if row is None:
            raise TaskFailed("conflict", "the company is being deleted")
        counts: Mapping[str, Any] = {**dict.fromkeys((*Taken, "failed"), 0), "errors": [], **row["counts"]}
        content, form, position = bytes(row["content"]), row["format"], row["position"]
        # one copy for as long as the import takes
        del row
        # an earlier life was done, and died before it could say so
        if position and not content:
            return counts
        try:
            # before anything is written: a file that cannot be read to its end changes nothing
            async with self._places:
                total = await asyncio.to_thread(count_entries, content, form)
        except FileUnreadable as error:
            raise TaskFailed("invalid", str(error)) from None
        entries = islice(read_entries(content, form), position, None)
        while position < total:
            # in a thread: what is in a file decides how long its next lines take
            async with self._places:
                part = await asyncio.to_thread(next_lines, entries)
            counts = await self._write(task, position, total, part, counts)
            position += len(part)
            hit("import.noted")
        await until_available("contact_import", lambda: self._store.call(_empty, task.id))
        return counts

    async def prune(self) -> None:
        """Forget files of imports that have ended, in whichever way."""
        await self._store.call(_prune)

    async def _write(
        self, task: Task, position: int, total: int, part: Sequence[Line | LineProblem], counts: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        committed = position + len(part)

        def write(transaction: Transaction) -> Mapping[str, Any] | None:
            mine = {"task_id": task.id, "incarnation": self._incarnation}
            if transaction.row("lock_contact_import", position=position, **mine) is None:
                # the answer to a commit was lost, or the import is another process's by now
                done = _file(transaction, task.id)
                if done is None or not transaction.row("lock_contact_import", position=committed, **mine):
                    return None
                return {**counts, **done["counts"]}
            new = _counted(counts, part, contacts.take_in(transaction, task.company_id, _people(part)))
            progress = {"done": committed, "total": total} | {name: new[name] for name in (*Taken, "failed")}
            transaction.execute(
                "advance_contact_import",
                task_id=task.id,
                position=committed,
                counts=stored_json(dict(new)),
                progress=stored_json(progress),
            )
            hit("import.taken")
            return new

        written = await until_available("contact_import", lambda: self._store.call(write))
        if written is None:
            raise TaskFailed("interrupted", "it is carried out by another process, or the company is being deleted")
        return written


def _people(part: Sequence[Line | LineProblem]) -> list[contacts.Imported]:
    return [one.person for one in part if isinstance(one, Line)]


def _counted(
    counts: Mapping[str, Any], part: Sequence[Line | LineProblem], outcomes: Sequence[Taken | contacts.ChangeRefused]
) -> Mapping[str, Any]:
    """Return the figures with a part of the file added."""
    new = {**counts, "errors": list(counts["errors"])}
    following = iter(outcomes)
    for one in part:
        outcome = one if isinstance(one, LineProblem) else next(following)
        if isinstance(outcome, Taken):
            new[outcome] += 1
            continue
        new["failed"] += 1
        if len(new["errors"]) < _ERRORS:
            about = outcome.column if isinstance(outcome, LineProblem) else "customFields"
            reason = outcome.reason if isinstance(outcome, LineProblem) else str(outcome)
            new["errors"].append({"line": one.line, "field": about or None, "reason": reason})
    return new


def _file(transaction: Transaction, task_id: int) -> Row | None:
    return transaction.row("contact_import", task_id=task_id)


def _empty(transaction: Transaction, task_id: int) -> None:
    transaction.execute("empty_contact_import", task_id=task_id)


def _prune(transaction: Transaction) -> None:
    transaction.execute("prune_contact_imports")
