"""The service of kind example."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from example.channel import ExampleChannel
from shared.compose.composer import Composer, Draft
from shared.compose.directory import Directory
from shared.compose.files import Files
from shared.delivery.accept import Acceptor
from shared.delivery.consumer import Consumer
from shared.errors import Refused
from shared.logs import logger
from shared.media.reach import reach_of
from shared.media.storage import open_storage
from shared.process.service import Child, Service, Severity
from shared.queues.hints import Hints
from shared.queues.installation import own_hints

log = logger(__name__)

COMPANY = "example-company"
CHAT = "15550100300"


async def open_service(child: Child) -> Service:
    """Return the service of this process."""
    return ExampleService(child)


class ExampleService:
    """See `shared.process.service.Service`."""

    app = None

    def __init__(self, child: Child) -> None:
        self._child, settings = child, child.settings
        row = settings.kind("example")
        self._hints = Hints(settings.redis_url, settings.redis_timeout_s)
        self._acceptor = Acceptor(child.store, self._hints, child.metrics)
        self._storage = open_storage(settings)
        self._directory = Directory(child.store)
        self._composer = Composer(
            child.store, self._acceptor, Files(child.store, self._storage), child.metrics, reach=reach_of(settings)
        )
        self._consumer = Consumer(
            child,
            ExampleChannel(child.store),
            in_flight=row.in_flight,
            send_s=row.send_s,
            retry_base_s=row.retry_base_s,
        )

    async def start(self) -> None:
        """Deliver, and send a greeting as soon as there is a connection."""
        await own_hints(self._child, self._hints)
        await self._acceptor.start()
        self._consumer.start()
        self._child.spawn(self._greet(), "greeting")
        log.info("example_started", greeting=self._child.settings.own("EXAMPLE_GREETING"))

    async def _greet(self) -> None:
        while True:
            try:
                connection = await self._directory.connection(COMPANY, 0)
                break
            except Refused:
                await asyncio.sleep(0.2)
        greeting = self._child.settings.own("EXAMPLE_GREETING")
        draft = Draft(type="text", connection=connection, chat_id=CHAT, fields={"message": greeting})
        await self._composer.accept(draft, idempotency_key="greeting")

    async def drain(self, by: float) -> bool:
        """Finish the sends in hand."""
        return await self._consumer.drain(by)

    async def close(self) -> None:
        """Release everything."""
        await self._consumer.close()
        await self._acceptor.close()
        await self._storage.close()
        self._hints.close()

    def readiness(self) -> Mapping[str, str]:
        """Return what is missing for sending."""
        return self._consumer.readiness()

    def health(self) -> Mapping[str, Any]:
        """Return the consumer's facts."""
        return self._consumer.health()

    def classify(self, error: BaseException) -> Severity:
        """Every error that is not handled ends the process."""
        return Severity.CRITICAL
