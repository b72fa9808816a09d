"""The API as a supervised process: composition only."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp

from api.app import build_app
from api.http.keys import KeyCheck, load_key
from api.http.limits import RequestLimits
from api.http.operations import EntryChecks
from api.operators.dependencies import Dependencies
from shared.channels.worlds import worlds
from shared.delivery.accept import Acceptor
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.events.tail import EventTail
from shared.media.storage import open_storage
from shared.process.periodic import repeat
from shared.process.service import Child, Service, Severity
from shared.queues.hints import Hints
from shared.queues.installation import own_hints
from shared.tenancy.known_keys import USE_NOTED_S, KnownKeys
from shared.tenancy.limits import SHARED_S, LimitRules, Limits


class ApiService:
    """The API under `run_child`."""

    def __init__(self, child: Child) -> None:
        settings = child.settings
        # before anything is opened: an API without a key must not start
        key = load_key(settings)
        self._child = child
        self._hints = Hints(settings.redis_url, settings.redis_timeout_s)
        self._acceptor = Acceptor(child.store, self._hints, child.metrics, worlds(child.settings))
        self._dependencies = Dependencies(child.store, self._hints, child.identity.slot, child.metrics)
        self._storage = open_storage(settings)
        self._tail = EventTail(child.store, child.stopping)
        self._keys = KnownKeys(child.store, LimitRules(settings))
        self._limits = Limits(child.store)
        entry = EntryChecks(keys=KeyCheck(key, self._keys), limits=RequestLimits(self._limits), store=child.store)
        app, self._composer = build_app(
            child, self._acceptor, self._storage, self._dependencies, entry, tail=self._tail
        )
        self.app: ASGIApp | None = app

    async def start(self) -> None:
        """Start to accept, even while the database or Redis is unavailable."""
        await own_hints(self._child, self._hints)
        await self._acceptor.start()
        # `GET /health` shows the last check, since it must not wait for Redis
        self._child.spawn(self._dependencies.watch_redis(), "redis-watch")
        self._child.spawn(self._tail.run(), "event-tail")
        self._child.spawn(repeat("note-key-use", self._keys.note_use, USE_NOTED_S), "key-use")
        self._child.spawn(repeat("share-limits", self._limits.share, SHARED_S), "limits")

    async def drain(self, by: float) -> bool:
        """No-op: the HTTP server has already drained."""
        return True

    async def close(self) -> None:
        """Close the acceptor and the connections."""
        # first: it uses the hints, which close last
        await self._acceptor.close()
        with suppress(StoreUnavailable):
            # the last seconds' use of keys; losing it would do little harm
            await self._keys.note_use()
        await self._storage.close()
        self._hints.close()

    def readiness(self) -> Mapping[str, str]:
        """Nothing beyond the database, which every child watches: without Redis messages are accepted nevertheless."""
        return {}

    def health(self) -> Mapping[str, Any]:
        """Return the count of accepted messages, the last check of Redis, and how many clients wait for events."""
        return {
            "acceptedCount": self._composer.accepted,
            "redis": self._dependencies.redis.as_json(),
            "eventFollowers": self._tail.followers,
        }

    def classify(self, error: BaseException) -> Severity:
        """An unavailable dependency is recoverable; errors of requests never get here."""
        return Severity.RECOVERABLE if isinstance(error, (StoreUnavailable, QueueUnavailable)) else Severity.CRITICAL


async def open_service(child: Child) -> Service:
    """Return the API of this process. Raises `SettingsInvalid` when there is no key or no address."""
    return ApiService(child)
