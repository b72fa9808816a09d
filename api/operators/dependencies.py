"""Whether PostgreSQL and Redis take what is written, checked with separate timeouts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.clock import monotonic, utc_now
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.logs import logger, scrub
from shared.process.metrics import Metrics
from shared.queues.hints import Hints
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.timestamps import iso

log = logger(__name__)

ANSWER_S: Final = 2.0
"""Seconds: well below the five after which the dashboard gives up; a slower dependency is of no use for messages."""
_INTERVAL_S: Final = 2.0
"""Seconds between two checks of Redis: how old the state in `GET /health` can be."""


@dataclass(frozen=True, kw_only=True)
class DependencyCheck:
    """Result of one check of a dependency. `took_s`: seconds until the response or the timeout."""

    reachable: bool
    at: datetime
    took_s: float = 0.0
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        facts = {"reachable": self.reachable, "askedAt": iso(self.at), "tookMs": round(self.took_s * 1000, 1)}
        return facts | ({"reason": self.reason} if self.reason else {})


class Dependencies:
    """Checks that PostgreSQL and Redis take what is written, as messages and hints are.

    Args:
        slot: of this process, which writes a row of its own.

    Attributes:
        redis: the last check of Redis.
    """

    def __init__(self, store: Store, hints: Hints, slot: str, metrics: Metrics) -> None:
        self._store, self._hints, self._slot = store, hints, slot
        metrics.gauge(
            "redis_up",
            "1 while this process gets answers from Redis, else 0.",
            read=lambda: float(self.redis.reachable),
        )
        # unreachable until the first success, which is logged
        self.redis = DependencyCheck(reachable=False, at=utc_now(), reason="not asked yet")

    async def ask_database(self) -> DependencyCheck:
        """Write to PostgreSQL; ends within `ANSWER_S` even when every connection is stuck."""
        # the store's own deadline too, since its thread could not be ended from here
        return await self._ask(self._store.call_by(monotonic() + ANSWER_S, self._write_probe))

    def _write_probe(self, transaction: Transaction) -> None:
        transaction.execute("write_health_probe", slot=self._slot)

    async def ask_redis(self) -> DependencyCheck:
        """Check Redis; ends within `ANSWER_S`."""
        before = self.redis
        # the client blocks. After the timeout its thread stays until the client's own limit (`REDIS_TIMEOUT_S`)
        self.redis = await self._ask(asyncio.to_thread(self._hints.ping))
        # changes only, so that an outage is one line and not one every two seconds
        if before.reachable and not self.redis.reachable:
            log.warning("redis_disconnected", reason=self.redis.reason)
        elif self.redis.reachable and not before.reachable:
            log.info("redis_connected")
        return self.redis

    async def watch_redis(self) -> None:
        """Check Redis at an interval, without end."""
        while True:
            await self.ask_redis()
            await asyncio.sleep(_INTERVAL_S)

    @staticmethod
    async def _ask(question: Awaitable[None]) -> DependencyCheck:
        started_at = monotonic()
        reason = ""
        try:
            async with asyncio.timeout(ANSWER_S + 0.2):
                await question
        except TimeoutError:
            reason = "did not answer in time"
        except (StoreUnavailable, QueueUnavailable) as error:
            # errors of a driver may quote an address with its password
            reason = scrub(str(error))
        return DependencyCheck(reachable=not reason, at=utc_now(), took_s=monotonic() - started_at, reason=reason)
