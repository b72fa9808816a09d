"""The audit: typed functions for `queries/audit.sql`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.store.pool import Row, Transaction, json


def write(transaction: Transaction, *, name: str, company_id: str | None, facts: Mapping[str, Any]) -> None:
    """Write the event `audit.<name>`."""
    transaction.execute("write_audit", type=f"audit.{name}", company_id=company_id, data=json(facts))


def read(transaction: Transaction, *, company_id: str | None, after: tuple[int, int], most: int) -> list[Row]:
    """Return acts after a position (xid, id): of one company, or (None) all."""
    return transaction.rows("read_audit", company_id=company_id, xid=after[0], id=after[1], most=most)


def read_back(transaction: Transaction, *, company_id: str | None, after: tuple[int, int], most: int) -> list[Row]:
    """Return acts before a position, newest first: of one company, or (None) all."""
    return transaction.rows("read_audit_back", company_id=company_id, xid=after[0], id=after[1], most=most)
