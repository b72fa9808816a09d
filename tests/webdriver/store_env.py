"""What the API and the recorder would do, for tests of the whole process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.inbound.pipeline import JournalPipeline
from shared.media.local import LocalStorage
from shared.process.metrics import Metrics
from shared.settings import ChildEnvironment, Settings
from shared.store import companies, connections, messages
from shared.store.messages import NewMessage
from shared.store.pool import Row, Transaction
from shared.store.store import Store
from tests.support.database import connected
from webdriver.session import inbound_events


class StoreEnv:
    """Makes a connection, accepts messages, looks at rows, gives a dead one's rows back."""

    def __init__(self, settings: Settings) -> None:
        self.database_url = settings.database_url
        self.store = Store.open(settings, ChildEnvironment(process_name="test"), limit=2)
        self.connection_id = self.store.run(self._connect)

    @staticmethod
    def _connect(transaction: Transaction) -> int:
        companies.ensure(transaction, "demo")
        return connections.ensure(transaction, company_id="demo", phone_index=1, connection_type="wwebjs")

    def accept(self, chats: list[str], body: str) -> list[int]:
        """Accept one text for each chat."""
        return self.accept_rows(
            [(chat, "text", {"body": f"{body} {number}", "quoted": None}) for number, chat in enumerate(chats)]
        )

    def accept_rows(self, rows: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[int]:
        """Accept rows of (chat, type, content)."""
        new = [
            NewMessage(
                company_id="demo",
                connection_id=self.connection_id,
                process_name="webdriver",
                chat_id=chat,
                type=type_,
                content=content,
            )
            for chat, type_, content in rows
        ]
        return [accepted.id for accepted in self.store.run(messages.accept, new)]

    def row(self, message_id: int) -> Row:
        """Return a message's row."""
        found = self.store.run(messages.by_id, "demo", message_id)
        assert found is not None
        return found

    def observed(self) -> Row:
        """Return what is seen of the connection."""
        return self.store.run(connections.of_company, "demo")[0]

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return what a statement finds."""
        with connected(self.database_url) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def pipeline(self) -> JournalPipeline[int]:
        """Return what processes the journal of page events."""
        return JournalPipeline(
            self.store, Metrics(), kind="webdriver", handle=inbound_events.handle, committed=lambda _: None
        )

    def keep(self, home: Path, content: bytes) -> str:
        """Put a file into the storage of the process that lives in `home`; return its digest."""

        async def pieces() -> AsyncIterator[bytes]:
            yield content

        stored = asyncio.run(LocalStorage(home / "media").put("demo", pieces(), most=len(content)))
        assert stored.sha256 == hashlib.sha256(content).hexdigest()
        return stored.sha256
