"""The RQ job of this kind, for a stock `rq worker meta`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from meta.accounts.registry import AccountRegistry
from meta.graph import GraphClient
from meta.sending.channel import MetaChannel
from meta.sending.uploads import UploadCache
from shared.delivery.retry_policy import retry_policy
from shared.kinds import kind_named
from shared.media.storage import open_storage
from shared.process.metrics import Metrics
from shared.queues import stock_rq
from shared.secrets import Vault
from shared.settings import Settings
from shared.store.store import Store

KIND: Final = kind_named("meta")


def deliver(row_id: int) -> None:
    """Send the row; see `shared.queues.stock_rq.deliver`."""
    stock_rq.deliver(row_id, KIND, _open_channel, retry_policy)


@asynccontextmanager
async def _open_channel(
    store: Store, settings: Settings, metrics: Metrics, incarnation: str
) -> AsyncIterator[MetaChannel]:
    graph, storage = GraphClient(connections=1), open_storage(settings)
    uploads = UploadCache(store, storage, graph, metrics)
    try:
        accounts = AccountRegistry(store, Vault.from_settings(settings), settings, KIND, incarnation=incarnation)
        yield MetaChannel(store, accounts, graph, uploads, metrics, kind=KIND.name, window_s=settings.in_doubt_window_s)
    finally:
        await uploads.close()
        await graph.close()
        await storage.close()
