"""Companies, the tenants: typed functions for `queries/companies.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from shared.states import COMPANY_TRANSITIONS, CompanyState, require_transition
from shared.store.pool import Row, Transaction, json
from shared.store.texts import storable

DELETION: Final = "delete_company"
"""Operation of the task of a deletion."""
_DELETION_S: Final = 30 * 86400.0
"""Seconds within which a deletion must make progress, or its task counts as expired. In all it may take any time."""


def ensure(transaction: Transaction, company_id: str, name: str = "") -> None:
    """Make a company unless it is there."""
    transaction.execute("ensure_company", id=company_id, name=name)


def exists(transaction: Transaction, company_id: str) -> bool:
    """Return whether a company is known, and not being deleted."""
    return transaction.row("company_exists", id=company_id) is not None


def add(transaction: Transaction, company_id: str, *, name: str = "", in_doubt_policy: str | None = None) -> Row | None:
    """Make a company and return it, None when there is one with this id, which stays as it is."""
    return transaction.row("add_company", id=company_id, name=storable(name), in_doubt_policy=in_doubt_policy)


def listed(transaction: Transaction, *, after: str = "", most: int, only: str | None = None) -> list[Row]:
    """Return companies with how many connections each has, by id, those after `after`; `only`: at most this one."""
    return transaction.rows("companies", after=after, most=most, only=only)


def find(transaction: Transaction, company_id: str) -> Row | None:
    """Return one company as `listed` does."""
    return next(iter(listed(transaction, most=1, only=company_id)), None)


def lock(transaction: Transaction, company_id: str) -> Row | None:
    """Return a company and keep others from changing it until the transaction ends."""
    return transaction.row("lock_company", id=company_id)


def change(
    transaction: Transaction,
    company_id: str,
    *,
    name: str,
    in_doubt_policy: str | None,
    settings: Mapping[str, Any],
) -> None:
    """Write what a client may change of a company, which is locked."""
    transaction.execute(
        "change_company", id=company_id, name=name, in_doubt_policy=in_doubt_policy, settings=json(dict(settings))
    )


def move(transaction: Transaction, company: Row, state: CompanyState, reason: str = "") -> None:
    """Put a company, which is locked, into another state. Raises `IllegalTransition`."""
    require_transition(COMPANY_TRANSITIONS, CompanyState(company["state"]), state)
    transaction.execute("move_company", id=company["id"], state=state.value, reason=reason)


def settings(transaction: Transaction, company_id: str) -> Row | None:
    """Return (state, settings, version) of a company, None when there is none."""
    return transaction.row("company_settings", id=company_id)


def was_deleted(transaction: Transaction, company_id: str) -> bool:
    """Return whether a company was deleted and not made again since, or is being deleted."""
    return transaction.row("was_deleted", id=company_id) is not None


def begin_deletion(transaction: Transaction, company: Row, *, by: Mapping[str, Any]) -> int:
    """Begin to delete a company and lock it: it sends nothing more, its keys and webhooks end, its sessions log out.
    Returns the task's id.

    Args:
        by: the key that asked for it, for the audit.
    """
    company_id, reason = company["id"], "the company is being deleted"
    move(transaction, company, CompanyState.DELETING)
    transaction.execute("end_hooks", company_id=company_id, reason=reason)
    transaction.execute("end_tasks", company_id=company_id, reason=reason)
    transaction.execute("unlink_sessions", company_id=company_id)
    row = transaction.one("add_deletion", company_id=company_id, by=json(dict(by)), expires_in_s=_DELETION_S)
    return int(row["id"])


def deletion_of(transaction: Transaction, company_id: str) -> int | None:
    """Return the task by which a company is being deleted, None when it is not."""
    row = transaction.row("deletion_of_company", company_id=company_id)
    return row["id"] if row else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Deletion:
    """A company that is being deleted.

    Attributes:
        id: its task. by: the key that asked for it. progress: as it was noted. age_s: seconds since it began.
    """

    id: int
    company_id: str
    by: Mapping[str, Any]
    progress: Mapping[str, Any]
    age_s: float


def open_deletions(transaction: Transaction, *, most: int) -> list[Deletion]:
    """Return companies that are being deleted, oldest first."""
    return [Deletion(**row) for row in transaction.rows("open_deletions", most=most)]


def note_deletion(transaction: Transaction, task_id: int, progress: Mapping[str, Any]) -> None:
    """Note how far a deletion is."""
    transaction.execute("note_deletion", id=task_id, progress=json(dict(progress)), expires_in_s=_DELETION_S)


class Unsettled(NamedTuple):
    """What is still under way at a company: sends in flight, and sessions that are linked."""

    sending: int
    sessions: int


def unsettled(transaction: Transaction, company_id: str, session_types: Sequence[str]) -> Unsettled:
    """Return what is still in progress in a company that is being deleted."""
    row = transaction.one("unsettled_of_company", company_id=company_id, session_types=list(session_types))
    return Unsettled(row["sending"], row["sessions"])


def remove_connections(transaction: Transaction, company_id: str) -> None:
    """End every connection of a company."""
    transaction.execute("remove_connections_of_company", company_id=company_id, reason="the company is being deleted")


def profiles(transaction: Transaction, company_id: str, session_types: Sequence[str]) -> int:
    """Return how many sessions of a company may still have a profile."""
    return int(
        transaction.one("profiles_of_company", company_id=company_id, session_types=list(session_types))["profiles"]
    )


def confirm_profiles_deleted(transaction: Transaction, kind: str, kept: Sequence[int], host: str = "") -> None:
    """Note that nothing is left of the profiles of removed sessions, but of those in `kept`; for companies that are
    being deleted.
    """
    transaction.execute("confirm_profiles_deleted", kind=kind, kept=list(kept), host=host)


class CompanyTable(NamedTuple):
    """A table with rows of companies; `condition`: on those of the company `$1`."""

    name: str
    condition: str


def tables(transaction: Transaction) -> list[CompanyTable]:
    """Return the tables with rows of companies, in the order in which their rows are deleted."""
    return [CompanyTable(row["name"], row["condition"]) for row in transaction.rows("company_tables")]


def delete_rows(
    transaction: Transaction, company_id: str, table: CompanyTable, *, first: int, blocks: int
) -> tuple[int, bool]:
    """Delete a company's rows in `blocks` blocks of a table. Returns how many there were, and whether there are blocks
    beyond.
    """
    row = transaction.one(
        "delete_company_rows",
        company_id=company_id,
        name=table.name,
        condition=table.condition,
        first=first,
        blocks=blocks,
    )
    return row["deleted"], row["more"]


def delete_buckets(transaction: Transaction, company_id: str) -> None:
    """Delete what is left of the limits of a company and its keys."""
    transaction.execute("delete_company_buckets", company_id=company_id)


def delete_journal(transaction: Transaction, company_id: str, *, after: int, most: int) -> int | None:
    """Delete raw events from which a company's messages were read. Returns where to go on, None when there are no
    more.
    """
    row = transaction.one("delete_company_journal", company_id=company_id, after=after, most=most)
    return row["last"] if row["looked"] == most else None


def delete(transaction: Transaction, company_id: str) -> bool:
    """Delete the row of a company. Returns False when it has files again, and stays."""
    if transaction.row("company_row_exists", id=company_id) is None:
        return True
    return transaction.row("delete_company", id=company_id) is not None


def end_deletion(transaction: Transaction, task_id: int, result: Mapping[str, Any]) -> bool:
    """Note that a deletion has ended. Returns False when its task has ended already."""
    return transaction.row("end_deletion", id=task_id, result=json(dict(result))) is not None
