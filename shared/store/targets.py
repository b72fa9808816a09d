"""Messages that other messages are about: found by our id or the provider's, in both directions; typed functions for
`queries/targets.sql`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.content import DELETE, EDIT, LINES, OPERATIONS, TYPING
from shared.states import MessageState
from shared.store.pool import Transaction

ACTING: Final = sorted(OPERATIONS | {TYPING, EDIT, DELETE, "revoke"})
"""Types that are about another message or none: they cannot be quoted, reacted to, or deleted."""
_GONE_OUT: Final = frozenset({MessageState.SENT, MessageState.DELIVERED, MessageState.READ})
"""States in which the provider has the message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageTarget:
    """A message that an id names.

    Attributes:
        id: our own. direction: `in`, or `out` for what we or the company's own phone sent. state: of a message of ours,
            else `received`.
        chat_ids: every name of its chat. provider_id: empty until it was sent. is_foreign: it belongs to another world
            (the sandbox, or the real provider) than the one to which the connection sends now.
    """

    id: int
    direction: str
    connection_id: int
    phone_index: int
    connection_type: str
    process_name: str
    connection_status: str
    chat_id: str
    chat_ids: Sequence[str]
    type: str
    state: str
    provider_id: str
    was_sent: bool
    is_foreign: bool

    @property
    def is_there(self) -> bool:
        """Whether the provider knows the message, so that something can be done about it."""
        # Both: a message may be sent and its id not yet known, and one that failed keeps the id of its last attempt.
        is_known = bool(self.provider_id) and (self.state == "received" or self.state in _GONE_OUT)
        return is_known and not self.is_foreign

    @property
    def condition(self) -> str:
        """Return what the message is, for a refusal."""
        where = " and was not with the provider to which the connection sends now" if self.is_foreign else ""
        return f"The message is {self.state}{where}."


def find(transaction: Transaction, company_id: str, given: str, *, acting: bool = False) -> list[MessageTarget]:
    """Return the messages of a company that `given` names: our id, or the provider's, which may be known on several
    connections.

    Args:
        acting: whether those that are themselves about another message count too.
    """
    if "\0" in given:
        return []  # PostgreSQL refuses such a text, so no message can have it
    # 18 digits always fit into a `bigint`, and -1 is the id of no message. `isdecimal` alone accepts digits of other
    # scripts.
    own_id = int(given) if given.isdecimal() and given.isascii() and len(given) <= 18 else -1
    rows = transaction.rows(
        "find_targets", company_id=company_id, id=own_id, provider_id=given, acting=[] if acting else ACTING
    )
    return [MessageTarget(**row) for row in rows]


def newest_received(
    transaction: Transaction, *, company_id: str, connection_id: int, chat_id: str
) -> tuple[int, str] | None:
    """Return (our id, the provider's id) of the newest message that came into a chat, None when none did."""
    row = transaction.row(
        "newest_received", company_id=company_id, connection_id=connection_id, chat_id=chat_id, acting=[*ACTING, *LINES]
    )
    return (row["id"], row["provider_id"]) if row else None
