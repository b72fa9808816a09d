"""Fixtures over a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest

from shared.clock import utc_now
from shared.compose.acceptance import RowAcceptor
from shared.compose.composer import Acceptance, Composer, Draft
from shared.compose.files import Files
from shared.media.files import Storage, Stored
from shared.media.reach import Reach
from shared.messages import InboundMessage
from shared.process.metrics import Metrics
from shared.store import connections, inbound, messages
from shared.store.connections import Connection
from shared.store.messages import Accepted, NewMessage
from shared.store.store import Store
from tests.store.env import StoreEnv, query
from tests.support.servers import Servers


@pytest.fixture(scope="package")
def kept_database_url(servers: Servers) -> Iterator[str]:
    """Address of a migrated database that the tests of this folder use one after the other."""
    name, url = servers.new_database()
    yield url
    servers.drop_database(name)


class OneByOne:
    """An acceptor that commits each row by itself, as a kind with few messages may."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accept(self, message: NewMessage) -> Accepted:
        (accepted,) = await self._store.call(messages.accept, [message])
        return accepted


class NoStorage:
    """A storage for tests that send no files."""

    async def put(self, company_id: str, source: AsyncIterator[bytes], *, most: int) -> Stored:
        raise NotImplementedError


class ComposeEnv(StoreEnv):
    """A company with a connection, and a composer as any kind can make one: no HTTP, no API."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        acceptor: RowAcceptor = OneByOne(self.store)
        storage: Storage = NoStorage()  # type: ignore[assignment]  # nothing else of it is used
        files = Files(self.store, storage)
        self.composer = Composer(self.store, acceptor, files, Metrics(), reach=Reach.PUBLIC)

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


@pytest.fixture
def env(kept_database_url: str) -> Iterator[ComposeEnv]:
    """A company with one connection, and nothing else in the database."""
    query(kept_database_url, "DELETE FROM companies; DELETE FROM events")
    made = ComposeEnv(kept_database_url)
    yield made
    made.close()
