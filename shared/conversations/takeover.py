"""A human's message that a client sends gives its conversation to the human, in the transaction that accepts it."""

from __future__ import annotations

from collections.abc import Iterable

from shared.conversations import rows
from shared.conversations.rows import HumanReply
from shared.conversations.states import NO_REPLY
from shared.store.messages import Accepted, NewMessage
from shared.store.pool import Transaction


def on_accepted(transaction: Transaction, accepted: Iterable[tuple[NewMessage, Accepted]]) -> None:
    """Give conversations to the humans who replied in them. Costs no query where no company keeps any."""
    rows.take_over(
        transaction,
        [
            HumanReply(
                company_id=message.company_id,
                connection_id=message.connection_id,
                chat_id=message.chat_id,
                reason="api",
            )
            for message, one in accepted
            if one.conversing and is_reply(message)
        ],
    )


def is_reply(message: NewMessage) -> bool:
    """Whether a message is a human's reply: not the assistant's, no notification, and sent now."""
    return message.author is None and message.type not in NO_REPLY and message.scheduled_for is None
