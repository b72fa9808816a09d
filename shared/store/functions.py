"""Functions and appointments of companies' assistants: typed functions for `queries/functions.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.store.pool import Row, Transaction, json


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionDefinition:
    """A function. `parameters`: objects with name, type, description, required, choices. `secret`: name of one."""

    description: str
    parameters: Sequence[Mapping[str, Any]]
    url: str
    has_effects: bool
    secret: str | None


def listed(transaction: Transaction, company_id: str) -> list[Row]:
    """Return a company's functions by name."""
    return transaction.rows("functions_of_company", company_id=company_id)


def put(
    transaction: Transaction, company_id: str, name: str, definition: FunctionDefinition, *, most: int
) -> Row | None:
    """Define a function, or replace it. Returns None when the company has `most` others."""
    return transaction.row(
        "put_function",
        company_id=company_id,
        name=name,
        description=definition.description,
        parameters=json(list(definition.parameters)),
        url=definition.url,
        has_effects=definition.has_effects,
        secret=definition.secret,
        most=most,
    )


def remove(transaction: Transaction, company_id: str, name: str) -> Row | None:
    """Remove a function. Returns it as it was, None when there was none."""
    return transaction.row("remove_function", company_id=company_id, name=name)


def services(transaction: Transaction, company_id: str) -> list[Row]:
    """Return a company's services: (id, name, created_at, free_slots)."""
    return transaction.rows("services_of_company", company_id=company_id)


def add_service(transaction: Transaction, company_id: str, name: str, *, most: int) -> Row | None:
    """Add a service, or return the one of this name. Returns None when the company has `most` others."""
    return transaction.row("add_service", company_id=company_id, name=name, most=most)


def add_slots(
    transaction: Transaction, company_id: str, service_id: int, slots: Sequence[tuple[datetime, datetime]]
) -> list[Row] | None:
    """Add slots of a service; one that begins with another of it is left out. Returns (id, starts_at, ends_at) of the
    new ones, None when the company has no such service.
    """
    if transaction.row("service_by_id", company_id=company_id, id=service_id) is None:
        return None
    return transaction.rows(
        "add_slots",
        company_id=company_id,
        service_id=service_id,
        starts=[start for start, _ in slots],
        ends=[end for _, end in slots],
    )


def spending(transaction: Transaction, company_id: str, *, most: int) -> list[Row]:
    """Return what the assistant has cost by month, the last first: (month, spent_micros, reserved_micros, calls,
    tokens_in, tokens_out).
    """
    return transaction.rows("spending_of_company", company_id=company_id, most=most)


def bookings(transaction: Transaction, company_id: str, *, after: int, most: int) -> list[Row]:
    """Return bookings by number, those beyond `after`."""
    return transaction.rows("bookings_of_company", company_id=company_id, after=after, most=most)
