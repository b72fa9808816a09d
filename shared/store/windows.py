"""When a customer wrote last: what the windows of Messenger and Instagram are counted from. Typed functions for
`queries/windows.sql`.
"""

from __future__ import annotations

from datetime import datetime

from shared.store.pool import Transaction


def last_received_at(transaction: Transaction, *, company_id: str, connection_id: int, chat_id: str) -> datetime | None:
    """Return the provider's instant of the newest message that came into a chat, None when there is none."""
    at: datetime | None = transaction.one(
        "last_received_at", company_id=company_id, connection_id=connection_id, chat_id=chat_id
    )["at"]
    return at
