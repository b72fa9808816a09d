"""The channel in this process: a real store, and a sandbox behind a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from meta.accounts.registry import AccountRegistry
from meta.graph import GraphClient
from meta.inbound.processor import WebhookProcessor
from meta.sending.channel import MetaChannel
from meta.sending.uploads import UploadCache
from shared.clock import monotonic
from shared.errors import Fenced
from shared.kinds import kind_named
from shared.media.storage import open_storage
from shared.messages import OutboundMessage, Outcome
from shared.process.metrics import Metrics
from shared.secrets import Vault
from shared.settings import ChildEnvironment, Settings
from shared.store import media
from shared.store.messages import Doubt
from shared.store.store import Store
from tests.meta.seed import DIRECT, ROWS, seed
from tests.store.env import token_of
from tests.support.waiting import within

KIND: Final = kind_named("meta")
TYPES: Final = {index: connection_type for index, connection_type, _account, _credentials in ROWS}
_T = TypeVar("_T")


def run(scenario: Coroutine[Any, Any, _T]) -> _T:
    """Run one scenario; an error that is not handled on the loop fails it."""

    async def watched() -> _T:
        loop, unhandled = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        result = await within(scenario, 60)
        assert not unhandled, unhandled
        return result

    return asyncio.run(watched())


class ChannelEnv:
    """Everything that a channel needs.

    Attributes:
        ids: connection ids by phone index. tokens: what was said to be written from now on. fenced: whether rows belong
            to another incarnation.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.tokens, self.fenced = settings, list[str](), False
        self.store = Store.open(settings, ChildEnvironment(process_name="meta", process_incarnation="test"), limit=8)
        self.vault = Vault.from_settings(settings)
        self.ids: Mapping[int, int] = self.store.run(seed, self.vault)
        self.metrics = Metrics()
        self.accounts = AccountRegistry(self.store, self.vault, settings, KIND, incarnation="test")
        self.graph = GraphClient(connections=50)
        self.storage = open_storage(settings)
        self.uploads = UploadCache(self.store, self.storage, self.graph, self.metrics)
        self.channel = MetaChannel(
            self.store,
            self.accounts,
            self.graph,
            self.uploads,
            self.metrics,
            kind=KIND.name,
            window_s=settings.in_doubt_window_s,
        )
        self.processor = WebhookProcessor(self.store, self.accounts, self.metrics, kind=KIND.name)

    def message(
        self, row_id: int = 1, *, phone_index: int = DIRECT, chat: str = "15550100200", **fields: Any
    ) -> OutboundMessage:
        """Return a claimed row."""
        values: dict[str, Any] = {
            "id": row_id,
            "company_id": "demo",
            "connection_id": self.ids[phone_index],
            "connection_type": TYPES[phone_index],
            "chat_id": chat,
            "type": "text",
            "content": {"body": "Hello"},
            "attempt": 1,
            "token": f"bulkhead:{row_id}:1",
            "incarnation": "test",
        }
        return OutboundMessage(**values | fields)

    def token(self, row_id: int, attempt: int = 1) -> str:
        """Return the token of one attempt of a row of the database."""
        return token_of(self.settings.database_url, row_id, attempt)

    async def send(self, message: OutboundMessage | None = None, *, within_s: float = 2.0) -> Outcome:
        """Send one message."""
        return await self.channel.send(message or self.message(), self._record, monotonic() + within_s)

    async def keep(self, content: bytes, mimetype: str, filename: str = "") -> dict[str, Any]:
        """Put a file into storage as the API does. Returns what stands for it in a message's content."""

        async def pieces() -> AsyncIterator[bytes]:
            yield content

        stored = await self.storage.put("demo", pieces(), most=200_000_000)
        self.store.run(media.remember, "demo", stored.sha256, size=stored.size, mimetype=mimetype, filename=filename)
        return {"sha256": stored.sha256, "size": stored.size, "mimetype": mimetype} | (
            {"filename": filename} if filename else {}
        )

    async def _record(self, token: str, link: str = "") -> None:
        if self.fenced:
            raise Fenced("not ours")
        self.tokens.append(token)

    def doubt(self, message: OutboundMessage, doubt_s: float, claimed_ago_s: float, *, held: bool = False) -> Doubt:
        """Return a row in doubt."""
        claimed_at = datetime.now(UTC) - timedelta(seconds=claimed_ago_s)
        return Doubt(
            message=message, age_s=claimed_ago_s, doubt_s=doubt_s, claimed_at=claimed_at, policy=None, held=held
        )


@asynccontextmanager
async def channel_env(settings: Settings) -> AsyncIterator[ChannelEnv]:
    """Open and close a channel_env in the running loop."""
    made = ChannelEnv(settings)
    try:
        yield made
    finally:
        await made.uploads.close()
        await made.graph.close()
        made.store.close()


MakeSettings = Callable[..., Settings]
