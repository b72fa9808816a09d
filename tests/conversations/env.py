"""A company whose conversations are kept, and short ways to write in its chats from either side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

from shared.conversations import arrival, rows
from shared.conversations.states import ConversationState
from shared.delivery.accept import accept_batch
from shared.messages import InboundMessage
from shared.store import inbound
from shared.store.messages import Accepted
from shared.store.pool import Transaction
from tests.store.env import StoreEnv
from tests.support.database import query

CHAT = "15550100200"
_numbers = count(1)


class ConversationEnv:
    """One company, `acme`, and what is written in its chats."""

    def __init__(self, store: StoreEnv) -> None:
        self.own, self.store, self.url, self.connection = store, store.store, store.url, store.connection

    def set(self, company: str = "acme", **settings: Any) -> None:
        """Change the company's settings."""
        self.query(
            "UPDATE companies SET settings = settings || %(settings)s::jsonb WHERE id = %(id)s",
            settings=json.dumps(settings),
            id=company,
        )

    def query(self, statement: str, **parameters: Any) -> list[Mapping[str, Any]]:
        """Run any statement."""
        return query(self.url, statement, **parameters)

    def line(self, text: str = "hello", chat: str = CHAT, **fields: Any) -> InboundMessage:
        """Return what a customer wrote, or the company itself (`from_me`)."""
        is_ours = fields.get("from_me", False)
        defaults: dict[str, Any] = {
            "connection_id": self.connection,
            "provider_id": f"wamid.in{next(_numbers)}",
            "chat_id": chat,
            "sender": "" if is_ours else chat,
            "type": "text",
            "content": {"body": text},
            "at": datetime.now(UTC),
            "may_trigger": not is_ours,
        }
        return InboundMessage(**(defaults | fields))

    def arrive(self, *lines: InboundMessage) -> list[int]:
        """Let messages come in, as a channel's pipeline does; return the turns that were opened or joined."""
        return self.store.run(stored, lines)

    def receive(self, text: str = "hello", chat: str = CHAT, **fields: Any) -> list[int]:
        """Let one message come in."""
        return self.arrive(self.line(text, chat, **fields))

    def send(self, text: str = "hi", chat: str = CHAT, **fields: Any) -> Accepted:
        """Accept a message, as the API does."""
        (accepted,) = self.store.run(accept_batch, [self.own.message(chat, **{"content": {"body": text}, **fields})])
        return accepted

    def conversations(self) -> list[Mapping[str, Any]]:
        """Return all of them, oldest first."""
        return self.query("SELECT * FROM conversations ORDER BY id")

    def conversation(self) -> Mapping[str, Any]:
        """Return the only one."""
        (row,) = self.conversations()
        return row

    @property
    def state(self) -> str:
        """State of the only one."""
        return str(self.conversation()["state"])

    def turns(self) -> list[Mapping[str, Any]]:
        """Return all turns, oldest first."""
        return self.query("SELECT * FROM turns ORDER BY id")

    def events(self) -> list[tuple[str, str, str | None]]:
        """Return (type, state, code) of the events of conversations, in the order in which they are read."""
        found = self.query(
            "SELECT type, state, code FROM events WHERE subject IN ('conversation', 'human_handoff') ORDER BY xid, id"
        )
        return [(row["type"], row["state"], row["code"]) for row in found]

    def move(self, state: ConversationState | str, **columns: Any) -> None:
        """Bring the only conversation into a state, whatever it had."""
        order = rows.MoveOrder(
            id=self.conversation()["id"], before=set(ConversationState), after=ConversationState(state), reason="test"
        )
        self.store.run(rows.move, [order])
        for name, value in columns.items():
            self.query(f"UPDATE conversations SET {name} = %(value)s", value=value)

    def ago(self, column: str, **interval: float) -> None:
        """Let an instant of the only conversation lie so far back."""
        seconds = sum(value * {"minutes": 60.0, "hours": 3600.0}[unit] for unit, value in interval.items())
        self.query(f"UPDATE conversations SET {column} = now() - make_interval(secs => %(s)s)", s=seconds)


def stored(transaction: Transaction, lines: tuple[InboundMessage, ...]) -> list[int]:
    """Store messages and bring conversations up to date, in one transaction."""
    new = inbound.insert(transaction, [(line, None) for line in lines])
    return arrival.note(transaction, [row["arrived"] for row in new if row["arrived"]])
