"""Tasks: how the API asks another process to do something that is no message. Typed functions for `queries/tasks.sql`.

A task is a row like a message is: added by the API, taken by one incarnation of the kind that can do it, finished by
that one alone. What it must not show in the table (tokens, PINs) is sealed, and gone when it ends.
"""

from __future__ import annotations

import hashlib
import json as text_json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from shared.errors import BulkheadError, StoreUnavailable
from shared.logs import scrub
from shared.secrets import Sealed, Vault
from shared.store.pool import Row, Transaction
from shared.store.pool import json as stored_json
from shared.store.texts import all_storable, storable

MOST_ATTEMPTS: Final = 3
"""Incarnations that may begin a repeatable task. Then it fails, so that a task that kills its process does not do so
for ever. One death may be a coincidence, and so may two.
"""

FAILURES: Final[Mapping[str, str]] = {
    "invalid": "what was asked cannot be done as it was asked",
    "conflict": "it conflicts with the current state",
    "refused": "the provider refused it",
    "unreachable": "the provider did not answer",
    "unclear": "the provider may or may not have done it",
    "interrupted": "the process that ran it ended",
    "expired": "not finished in time",
    "internal": "an internal error",
}
"""The codes of failed tasks, with their meanings."""


class TaskFailed(BulkheadError):
    """Raised by a handler whose task cannot be done.

    Attributes:
        code: row of `FAILURES`. detail: one sentence; never a secret, a text or a phone number. facts: kept as the
            task's result.
    """

    def __init__(self, code: str, detail: str, **facts: Any) -> None:
        # API clients rely on the codes: a new one belongs into the table, with its meaning, first.
        if code not in FAILURES:
            raise ValueError(f"{code} is no way in which a task fails")
        self.code, self.detail, self.facts = code, detail, facts
        super().__init__(f"{code}: {detail}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task in hand.

    Attributes:
        arguments: what was asked, by operation. sealed: more of that, see `open_secrets`. attempt: 1 in the first life.
            left_s: seconds until it expires, when it was taken.
    """

    id: int
    company_id: str
    connection_id: int | None
    process_name: str
    operation: str
    arguments: Mapping[str, Any]
    sealed: str = field(repr=False)
    attempt: int
    created_at: datetime
    left_s: float


# Associated data of the seal: a sealed text that is copied to another company's or operation's task does not open.
def _context(company_id: str, operation: str) -> str:
    return f"tasks/{company_id}/{operation}"


def seal_secrets(vault: Vault, company_id: str, operation: str, secrets: Mapping[str, Any]) -> str:
    """Return `secrets` (anything JSON can hold) as `add` takes them; they open only for a task of this company and
    operation.
    """
    return vault.seal(text_json.dumps(dict(secrets)), context=_context(company_id, operation)).to_text()


def open_secrets(vault: Vault, task: Task) -> Mapping[str, Any]:
    """Return what `seal_secrets` sealed; empty when nothing was. Raises `SecretUnreadable`."""
    if not task.sealed:
        return {}
    opened: Mapping[str, Any] = text_json.loads(
        vault.open(Sealed.from_text(task.sealed), context=_context(task.company_id, task.operation))
    )
    return opened


def add(
    transaction: Transaction,
    *,
    company_id: str,
    operation: str,
    expires_in_s: float,
    connection_id: int | None = None,
    kind: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    sealed: str = "",
    repeatable: bool = False,
) -> int:
    """Ask for something and return the task's id.

    Args:
        operation: name of a handler. expires_in_s: time after which it is not begun, and its handler is stopped.
            connection_id: what it concerns. kind: process kind that does it; None: the one that serves the connection.
                sealed: see `seal_secrets`. repeatable: doing it twice is as good as doing it once, so that it
            is begun again after a death.
    """
    row = transaction.one(
        "add_task",
        company_id=company_id,
        connection_id=connection_id,
        kind=kind,
        operation=operation,
        arguments=stored_json(dict(arguments or {})),
        sealed=sealed,
        repeatable=repeatable,
        expires_in_s=expires_in_s,
    )
    return int(row["id"])


_ONCE_TRIES: Final = 3
"""How often a task with a key is looked up: it may fail between two statements, and then a new one is made."""


def add_once(
    transaction: Transaction,
    *,
    company_id: str,
    kind: str,
    operation: str,
    arguments: Mapping[str, Any],
    once: Sequence[str],
    about: Sequence[str],
    expires_in_s: float,
) -> Row:
    """Ask for something that the company may have asked for before; the same is one task until it fails.

    Args:
        once: what names it among those of this operation. about: whom it is about: see `before`. Others as for `add`.

    Returns:
        (id, is_same) of the task; is_same: it has these arguments.
    """
    key, kept = _digest(once), stored_json(dict(arguments))
    for _ in range(_ONCE_TRIES):
        row = transaction.row(
            "add_task_once",
            company_id=company_id,
            kind=kind,
            operation=operation,
            arguments=kept,
            once=key,
            about=_digest(about),
            expires_in_s=expires_in_s,
        ) or transaction.row("task_of_key", company_id=company_id, operation=operation, once=key, arguments=kept)
        if row is not None:
            return row
    raise StoreUnavailable("a task with this key is made and fails again and again", outage="busy")


def before(transaction: Transaction, task: Task, *, most: int) -> list[Row]:
    """Return the newest tasks about the same person as `task`, oldest first: (id, state, arguments, result)."""
    rows = transaction.rows("tasks_before", company_id=task.company_id, operation=task.operation, id=task.id, most=most)
    return rows[::-1]


def _digest(words: Sequence[str]) -> str:
    # as a list: ("a", "bc") is another key than ("ab", "c")
    return hashlib.sha256(text_json.dumps(list(words)).encode()).hexdigest()


def take(
    transaction: Transaction, *, kind: str, incarnation: str, operations: Sequence[str], most: int, after: str = ""
) -> list[Task]:
    """Make `incarnation` the owner of tasks that wait, of companies in turn.

    Args:
        most: places that are free. One company gets a further one only while it holds fewer than stay free: of tasks
            that one company has, at most half as many are taken. after: the company whose turn was last
            (`last_company`).
    """
    rows = transaction.rows(
        "take_tasks", kind=kind, incarnation=incarnation, operations=list(operations), most=most, after=after
    )
    # RETURNING promises no order
    return sorted((Task(**row) for row in rows), key=lambda task: task.id)


def last_company(taken: Sequence[Task], after: str) -> str:
    """Return the company whose turn was last among tasks that were taken with this `after`; the next one's turn comes
    first the next time. The installation counts as a company.
    """
    return max((task.company_id or "" for task in taken), key=lambda one: (one <= after, one), default=after)


def finish(transaction: Transaction, *, task_id: int, incarnation: str, result: Mapping[str, Any]) -> bool:
    """Write that a task is done. Returns False when `incarnation` does not own it (any more)."""
    return _end(transaction, task_id, incarnation, "done", result=result)


def fail(
    transaction: Transaction,
    *,
    task_id: int,
    incarnation: str,
    code: str,
    problem: str,
    facts: Mapping[str, Any] | None = None,
) -> bool:
    """Write why a task could not be done (`FAILURES`). Returns False when `incarnation` does not own it (any more)."""
    return _end(transaction, task_id, incarnation, "failed", result=facts or None, code=code, problem=problem)


def _end(
    transaction: Transaction,
    task_id: int,
    incarnation: str,
    state: str,
    *,
    result: Mapping[str, Any] | None,
    code: str = "",
    problem: str = "",
) -> bool:
    row = transaction.row(
        "finish_task",
        id=task_id,
        incarnation=incarnation,
        state=state,
        result=None if result is None else stored_json(all_storable(result)),
        code=code,
        # the text may be a provider's: with a phone number in it, or a character that PostgreSQL cannot hold
        problem=storable(scrub(problem)),
    )
    return row is not None


def by_id(transaction: Transaction, *, company_id: str, task_id: int, installations: bool = False) -> Row | None:
    """Return the current state of a company's task, None when it has none with this id.

    Args:
        installations: also a task of the installation about the company.
    """
    return transaction.row("task_by_id", company_id=company_id, id=task_id, installations=installations)


def reclaim(transaction: Transaction, *, dead: str) -> list[Row]:
    """Reclaim the tasks of the incarnation `dead`; the caller has proof of its death. Returns (id, state) of what
    moved.
    """
    return transaction.rows("reclaim_tasks", dead=dead, slot="", living="", most_attempts=MOST_ATTEMPTS)


def reclaim_earlier_lives(transaction: Transaction, *, slot: str, living: str) -> list[Row]:
    """Reclaim the tasks of earlier incarnations of `slot`; the caller holds the slot as `living`, so they are dead."""
    return transaction.rows("reclaim_tasks", dead="", slot=slot, living=living, most_attempts=MOST_ATTEMPTS)


def expire(transaction: Transaction, *, kind: str) -> int:
    """Fail what no process of `kind` finished in time. Returns how many there were."""
    return len(transaction.rows("expire_tasks", kind=kind))


def forget(transaction: Transaction, *, older_s: float) -> int:
    """Remove tasks that ended longer ago than `older_s`. Returns how many there were."""
    return transaction.execute("forget_tasks", older_s=older_s)
