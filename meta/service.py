"""The room of kind meta: the channel and the consumer that delivers through it, the webhooks, and the processor that
reads them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from starlette.types import ASGIApp

from meta.accounts.calls import CALL_S
from meta.accounts.proofs import AccountProofs
from meta.accounts.registry import AccountRegistry
from meta.accounts.tasks import handlers
from meta.graph import GraphClient
from meta.inbound.journal import WebhookJournal
from meta.inbound.media_fetcher import MediaFetcher
from meta.inbound.processor import WebhookProcessor
from meta.inbound.webhooks import Webhooks
from meta.sending.channel import MetaChannel
from meta.sending.pauses import resume_when_due
from meta.sending.uploads import UploadCache
from meta.severity import classify
from shared.clock import left
from shared.delivery import webhook_outages
from shared.delivery.consumer import Consumer
from shared.errors import StoreUnavailable
from shared.inbound.pipeline import BEAT_LIMIT_S
from shared.logs import logger
from shared.media.storage import open_storage
from shared.process.service import Child, Service, Severity
from shared.process.tasks import TaskRunner
from shared.secrets import Vault

log = logger(__name__)

_ACCOUNTS_BEAT_S: Final = 20.0
"""Seconds. The loops sleep 3 to 5 s at a time; the rest is for a database call up to its own deadline."""
_PROOFS_BEAT_S: Final = 5 * CALL_S + 20.0
"""Longest time between two beats of the loop that proves connections, in seconds: one look at a connection makes up to
five calls to the provider, and 20 s are for the database.
"""


async def open_service(child: Child) -> Service:
    """Make the room. Raises `SettingsInvalid` when the key for stored credentials is missing or wrong."""
    return MetaService(child, Vault.from_settings(child.settings))


class MetaService:
    """See `shared.process.service.Service`."""

    app: ASGIApp | None

    def __init__(self, child: Child, vault: Vault) -> None:
        self._child, settings, kind = child, child.settings, child.kind
        self._accounts = AccountRegistry(
            child.store, vault, settings, kind, incarnation=child.identity.process_incarnation
        )
        self._graph = GraphClient(connections=settings.kind("meta").in_flight)
        self._storage = open_storage(settings)
        self._uploads = UploadCache(child.store, self._storage, self._graph, child.metrics)
        self._channel = MetaChannel(
            child.store,
            self._accounts,
            self._graph,
            self._uploads,
            child.metrics,
            kind=kind.name,
            window_s=settings.in_doubt_window_s,
        )
        # one record for all: the consumer notes the polls that PostgreSQL answered, the journal the webhooks it refused
        outages = webhook_outages.of_kind(settings, kind.name)
        self._consumer = Consumer(
            child,
            self._channel,
            in_flight=settings.kind("meta").in_flight,
            send_s=settings.kind("meta").send_s,
            retry_base_s=settings.kind("meta").retry_base_s,
            webhook_outages=outages,
        )
        self._fetcher = MediaFetcher(child, self._accounts, self._graph, self._storage)
        # a wake-up saves the interval of polling; a lost one costs that interval only, since each loop polls too
        self._processor = WebhookProcessor(
            child.store,
            self._accounts,
            child.metrics,
            kind=kind.name,
            files_came=self._fetcher.wake,
            tracer=child.tracer,
        )
        self._journal = WebhookJournal(child.store, kind.name, self._processor.wake, outages.record_outage)
        done_here, self._account_health = handlers(
            child.store, self._accounts, self._graph, vault=vault, settings=settings, kind=kind.name
        )
        self._tasks = TaskRunner(child, done_here)
        self._processing: asyncio.Task[None] | None = None
        webhooks = Webhooks(
            self._accounts,
            self._journal,
            child.metrics,
            app_secret=settings.meta_app_secret,
            verify_token=settings.meta_verify_token,
            allows_sha1=settings.meta_sha1_signatures == "on",
        )
        self.app = webhooks.app()
        child.metrics.gauge("meta_connections_usable", "Connections that can send now.", read=self._accounts.usable)

    async def start(self) -> None:
        """Let ingress, reading and deliveries begin; none of them waits for the database."""
        # a warning and no failure to start: an installation with 360dialog numbers only needs no app
        if not self._child.settings.meta_app_secret:
            log.warning("webhook_secret_missing", reason="META_APP_SECRET is not set: every event of Meta's is refused")
        # so that the first webhooks and sends find the connections; without PostgreSQL the process still starts, and is
        # not ready until they are read
        try:
            await self._accounts.refresh()
        except StoreUnavailable as error:
            log.info("accounts_not_refreshed", reason=str(error))
        self._child.spawn(resume_when_due(self._child.store, self._child.kind.name), "resumes")
        self._child.spawn(self._accounts.run(self._child.beats.loop("accounts", _ACCOUNTS_BEAT_S)), "accounts")
        for task in self._journal.start():
            self._child.watch(task)
        self._processing = self._child.spawn(
            self._processor.run(self._child.beats.loop("journal", BEAT_LIMIT_S)), "journal"
        )
        # readers before senders: the status of the first send is read as soon as it comes
        self._fetcher.start()
        self._consumer.start()
        self._tasks.start()
        proofs = AccountProofs(self._child.store, self._accounts, self._account_health, replayed=self._processor.wake)
        self._child.spawn(proofs.run(self._child.beats.loop("proofs", _PROOFS_BEAT_S)), "proofs")
        if self._child.settings.connection_check_s > 0:
            self._child.spawn(self._account_health.run(self._child.beats.loop("checks", _ACCOUNTS_BEAT_S)), "checks")

    async def drain(self, by: float) -> bool:
        """Finish the sends in hand and the batch that is being read; what is journalled beyond waits for the next life
        or another instance.
        """
        # the consumer first: its sends need uploads and the pool of connections, which are closed last
        drained = await self._consumer.drain(by)
        # no beat is due any more: without this the watchdog would end a process that is draining
        self._processor.stop()
        self._child.beats.forget("journal")
        if self._processing is not None:
            done, _ = await asyncio.wait({self._processing}, timeout=left(by))
            drained = drained and bool(done)
        drained = await self._tasks.drain(by) and drained
        return await self._fetcher.drain(by) and drained

    async def close(self) -> None:
        """Release everything at once."""
        # forgetting a loop that never began is harmless: `close` is called after a failed start too
        for loop in ("accounts", "checks", "journal", "proofs"):
            self._child.beats.forget(loop)
        await self._tasks.close()
        await self._journal.close()
        await self._fetcher.close()
        await self._consumer.close()
        await self._uploads.close()
        await self._graph.close()
        await self._storage.close()

    def readiness(self) -> Mapping[str, str]:
        """Connections must have been read once; an outage of a provider changes no readiness."""
        missing = {} if self._accounts.is_loaded else {"connections": "not read yet"}
        return {**missing, **self._consumer.readiness()}

    def health(self) -> Mapping[str, Any]:
        """Return the facts for `GET /health`; the names of the first ones are part of the API."""
        return {
            "botsActive": self._accounts.usable(),
            "messagesReceived": self._processor.received,
            "apiErrors": self._channel.api_errors,
            "journalLagSeconds": round(self._processor.lag_s, 3),
            **self._consumer.health(),
        }

    def classify(self, error: BaseException) -> Severity:
        """See `meta.severity`."""
        return classify(error)
