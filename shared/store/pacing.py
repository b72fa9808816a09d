"""Limits of numbers in PostgreSQL, where every process of a kind sees the same: one typed function for each statement
of `queries/pacing.sql`.

The tokens themselves are taken by the claim (`shared.store.messages.claim_within_limits`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from shared.channels.pacing import PacingLimits
from shared.store.pool import Transaction, json

# The columns of `pacing` have the names of these fields.
_LIMITS = tuple(field.name for field in fields(PacingLimits))


@dataclass(frozen=True, kw_only=True, slots=True)
class PacedNumber:
    """One connection, what its limits follow from, and the limits that stand there now (None: none were written
    yet).
    """

    id: int
    connection_type: str
    options: Mapping[str, Any]
    limits: PacingLimits | None


def of_kind(transaction: Transaction, kind: str) -> list[PacedNumber]:
    """Return the connections that a process kind serves."""
    return [
        PacedNumber(
            id=row["id"],
            connection_type=row["connection_type"],
            options=row["options"],
            limits=None if row["every_s"] is None else PacingLimits(**{name: row[name] for name in _LIMITS}),
        )
        for row in transaction.rows("numbers_to_pace", kind=kind)
    ]


def set_limits(transaction: Transaction, limits: Mapping[int, PacingLimits]) -> None:
    """Write limits by connection id; what was spent under earlier ones stays spent."""
    if limits:
        transaction.execute(
            "set_limits", rows=json([{"connection_id": number, **asdict(one)} for number, one in limits.items()])
        )


def forget_pairs(transaction: Transaction, *, most: int) -> int:
    """Remove limits of pairs that have no effect any more, `most` at a time. Returns how many were removed."""
    return transaction.execute("forget_pairs", most=most)
