"""Pauses that end by themselves; typed functions for `queries/pauses.sql`. Pauses without an end are in
`shared.store.connections`.
"""

from __future__ import annotations

from shared.store.pool import Row, Transaction


def pause_for(transaction: Transaction, connection_id: int, reason: str, for_s: float) -> str:
    """Hold a connection's queue for so many seconds. Returns the reason with the instant of its end as it is shown, ""
    when it was not active.
    """
    row = transaction.row("pause_connection_for", id=connection_id, reason=reason, for_s=for_s)
    return str(row["reason"]) if row else ""


def resume_due(transaction: Transaction, kind: str) -> list[Row]:
    """Let connections of a process kind send again whose pause has ended; one that was paused for another reason since
    then stays. Returns (id) of each.
    """
    return transaction.rows("resume_due_connections", kind=kind)
