"""A provider that is a table: what is sent is a row there."""

from __future__ import annotations

from shared.delivery.channel import RecordToken
from shared.messages import OutboundMessage, Outcome, Sent
from shared.store.messages import Doubt
from shared.store.pool import Transaction
from shared.store.store import Store


def keep(transaction: Transaction, message: OutboundMessage) -> str:
    """Write what is sent, by a statement of this room, and return the provider's id for it."""
    row = transaction.one(
        "example_keep", company_id=message.company_id, token=message.token, body=message.content["body"]
    )
    return f"example.{row['id']}"


class ExampleChannel:
    """See `shared.delivery.channel.Channel`."""

    token_at_claim = True

    def __init__(self, store: Store) -> None:
        self._store = store

    async def send(self, message: OutboundMessage, record_token: RecordToken, by: float) -> Outcome:
        """Send one message."""
        await record_token(message.token)
        return Sent(provider_id=await self._store.call(keep, message))

    async def look_up(self, doubt: Doubt) -> Outcome | None:
        """Return nothing: there is no proof to be had here."""
        return None
