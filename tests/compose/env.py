"""What the tests of composing run against: a company with a connection, and a composer as any kind can make one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.clock import utc_now
from shared.compose.acceptance import RowAcceptor
from shared.compose.composer import Acceptance, Composer, Draft
from shared.compose.files import Files
from shared.media.local import LocalStorage
from shared.media.reach import Reach
from shared.messages import InboundMessage
from shared.process.metrics import Metrics
from shared.store import connections, inbound, messages
from shared.store.connections import Connection
from shared.store.messages import Accepted, NewMessage
from shared.store.store import Store
from tests.store.env import StoreEnv


class OneByOne:
    """An acceptor that commits each row by itself, as a kind with few messages may."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accept(self, message: NewMessage) -> Accepted:
        (accepted,) = await self._store.call(messages.accept, [message])
        return accepted


class ComposeEnv(StoreEnv):
    """A company with a connection, and a composer as any kind can make one: no HTTP, no API.

    Args:
        media: directory of the company's files.
    """

    def __init__(self, url: str, media: Path) -> None:
        super().__init__(url)
        acceptor: RowAcceptor = OneByOne(self.store)
        self.files = Files(self.store, LocalStorage(media))
        self.composer = Composer(self.store, acceptor, self.files, Metrics(), reach=Reach.PUBLIC)

    def connection_of(self, phone_index: int = 0) -> Connection:
        found = self.store.run(connections.by_index, "acme", phone_index)
        assert found is not None
        return found

    def compose(
        self, type_: str, chat: str, fields: Mapping[str, Any], key: str | None = None, phone_index: int = 0
    ) -> Acceptance:
        """Accept a draft."""
        draft = Draft(type=type_, connection=self.connection_of(phone_index), chat_id=chat, fields=fields)
        return asyncio.run(self.composer.accept(draft, key))

    def received(
        self,
        chat: str,
        provider_id: str,
        type_: str = "text",
        at: datetime | None = None,
        connection: int | None = None,
    ) -> int:
        """Store a message that came in and return its id."""
        message = InboundMessage(
            connection_id=connection or self.connection,
            provider_id=provider_id,
            chat_id=chat,
            sender=chat,
            type=type_,
            content={"body": "hello"},
            at=at or utc_now(),
        )
        (row,) = self.store.run(inbound.insert, [(message, None)])
        return int(row["id"])

    def content(self, message_id: int) -> Mapping[str, Any]:
        made: Mapping[str, Any] = self.row(message_id)["content"]
        return made
