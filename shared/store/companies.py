"""Companies, the tenants: typed functions for `queries/companies.sql`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.states import COMPANY_TRANSITIONS, CompanyState, require_transition
from shared.store.pool import Row, Transaction, json, storable


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
