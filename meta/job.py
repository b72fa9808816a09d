"""The RQ job of this kind, for a stock `rq worker meta`: slow, and as safe as ours, because the row's claim decides who
sends.

The worker needs the settings of this installation in its environment (`bulkhead env` prints them).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Final

from meta.accounts.registry import Accounts
from meta.graph import Graph
from meta.sending.channel import MetaChannel
from meta.sending.uploads import Uploads
from shared import logs
from shared.channels.worlds import worlds
from shared.clock import left, monotonic
from shared.delivery.retry_policy import retry_policy
from shared.errors import StoreUnavailable
from shared.kinds import kind_named
from shared.media.storage import open_storage
from shared.messages import OutboundMessage, Outcome, Retry
from shared.process.metrics import Metrics
from shared.queues.hints import JOB_TIMEOUT_S
from shared.secrets import Vault
from shared.settings import ChildEnvironment, Settings, load
from shared.store import messages
from shared.store.store import Store

log = logs.logger(__name__)

KIND: Final = kind_named("meta")
_SEND_MOST_S: Final = 20.0
"""A stock worker has no slot whose lock would prove its death: it must be done before the heartbeat table's rule calls
it silent.
"""
_SETTLE_S: Final = 10.0
_STORE_AWAY_S: Final = 0.25


def deliver(row_id: int) -> None:
    """Send the row, if it is due, first in its chat and not claimed; then what follows in the same chat while there is
    time.

    Raises:
        SettingsInvalid: the worker's environment is not this installation's.
        StoreUnavailable: PostgreSQL is away; the row is found again by the relay, or given back by the heartbeat
            table's rule.
    """
    asyncio.run(_Delivery(load()).run(row_id))


class _Delivery:
    """One job's life, under an incarnation of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._incarnation = f"rq.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
        self._by = monotonic() + JOB_TIMEOUT_S - _SETTLE_S
        self._send_s = min(settings.kind("meta").send_s, _SEND_MOST_S)

    async def run(self, row_id: int) -> None:
        settings, metrics = self._settings, Metrics()
        identity = ChildEnvironment(process_name=KIND.name, process_incarnation=self._incarnation)
        store = Store.open(settings, identity, limit=2)
        graph, storage = Graph(connections=1), open_storage(settings)
        uploads = Uploads(store, storage, graph, metrics)
        try:
            accounts = Accounts(store, Vault.from_settings(settings), settings, KIND, incarnation=self._incarnation)
            channel = MetaChannel(
                store, accounts, graph, uploads, metrics, kind=KIND.name, window_s=settings.in_doubt_window_s
            )
            message = await self._claim(store, ids=[row_id])
            while message is not None:
                await self._send(store, channel, message)
                # the next send must be able to end within the job's time
                has_time = left(self._by) > self._send_s
                message = (
                    await self._claim(store, chats=[(message.connection_id, message.chat_id)]) if has_time else None
                )
        finally:
            await uploads.close()
            await graph.close()
            await storage.close()
            store.close()

    async def _claim(
        self, store: Store, *, ids: Sequence[int] = (), chats: Sequence[tuple[int, str]] = ()
    ) -> OutboundMessage | None:
        claimed = await store.call(
            messages.claim,
            kind=KIND.name,
            incarnation=self._incarnation,
            ids=ids,
            chats=chats,
            most=1,
            worlds=worlds(self._settings),
            token_at_claim=MetaChannel.token_at_claim,
        )
        return claimed[0] if claimed else None

    async def _send(self, store: Store, channel: MetaChannel, message: OutboundMessage) -> None:
        logs.correlation_id.set(f"m-{message.id}")
        outcome: Outcome
        try:
            outcome = await channel.send(message, _recorded, monotonic() + self._send_s)
        except StoreUnavailable as error:
            outcome = Retry(code="store_unavailable", detail=str(error), counts=False)
        settlement = messages.settlement(
            message,
            outcome,
            attempts=self._settings.send_attempts,
            wait_s=retry_policy(self._settings.kind("meta").retry_base_s).wait_s(message.attempts_used),
        )
        by = monotonic() + _SETTLE_S
        while True:
            try:
                written = await store.call(messages.settle, incarnation=self._incarnation, settlements=[settlement])
                break
            except StoreUnavailable:
                if left(by) <= 0:
                    raise
                await asyncio.sleep(_STORE_AWAY_S)
        log.info(
            "stock_worker_delivered", message_id=message.id, state=str(settlement.state), written=message.id in written
        )


async def _recorded(_token: str) -> None:
    """Do nothing: the token was written with the claim, and without an in-flight journal every unanswered send of a
    dead worker is in doubt.
    """
