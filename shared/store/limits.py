"""Limits of keys and companies: typed functions for `queries/limits.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shared.store.pool import Row, Transaction, json


class Spent(NamedTuple):
    """What a process took out of one bucket since it wrote last; `rate`: what comes in each second."""

    name: str
    capacity: float
    rate: float
    spent: float


def spend(transaction: Transaction, spent: Sequence[Spent]) -> dict[str, float]:
    """Take what was spent out of buckets and return what is left in each; below zero, more than there was."""
    rows = transaction.rows(
        "spend_tokens",
        names=[one.name for one in spent],
        capacities=[one.capacity for one in spent],
        rates=[one.rate for one in spent],
        spent=[one.spent for one in spent],
    )
    return {row["name"]: row["tokens"] for row in rows}


def set_of_key(transaction: Transaction, key_id: int, limits: Mapping[str, Any]) -> Row | None:
    """Set the limits of a key; None: there is no such key."""
    return transaction.row("set_key_limits", id=key_id, limits=json(dict(limits)))


def set_of_company(transaction: Transaction, company_id: str, limits: Mapping[str, Any]) -> Row | None:
    """Set the limits of a company; None: there is no such company."""
    return transaction.row("set_company_limits", id=company_id, limits=json(dict(limits)))
