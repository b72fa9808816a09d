"""The environment's last known values for connections: typed functions for `queries/seeds.sql`."""

from __future__ import annotations

from dataclasses import dataclass

from shared.store.pool import Transaction


@dataclass(frozen=True, slots=True)
class Seed:
    """Digests of the environment's values, and of the connection as it was left then."""

    digest: str
    written: str


def find(transaction: Transaction, company_id: str, phone_index: int) -> Seed | None:
    """Return the seed of a connection, locked; None when there was none yet."""
    row = transaction.row("environment_seed", company_id=company_id, phone_index=phone_index)
    return Seed(**row) if row else None


def was_removed(transaction: Transaction, company_id: str, phone_index: int) -> bool:
    """Return whether an operator removed a connection with this index."""
    row = transaction.one("connection_was_removed", company_id=company_id, phone_index=phone_index)
    return bool(row["was_removed"])


def record(transaction: Transaction, company_id: str, phone_index: int, seed: Seed) -> None:
    """Record the environment's values."""
    transaction.execute(
        "record_environment_seed",
        company_id=company_id,
        phone_index=phone_index,
        digest=seed.digest,
        written=seed.written,
    )
