"""Finds rows whose hint is missing: it was lost, Redis is unavailable, or the process of a retry died. Needs no Redis
itself.

It offers rows to this process's own dispatcher, not to Redis: a fallback for a broken Redis must not depend on it (ADR
0002).
"""

from __future__ import annotations

import asyncio
from typing import Final

from shared.delivery.dispatcher import Dispatcher
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.logs import logger
from shared.process.metrics import Metrics
from shared.store import messages
from shared.store.store import Store

log = logger(__name__)

INTERVAL_S: Final = 0.5
"""Seconds between polls: the delay that a lost hint costs, for one indexed query by each process."""
GRACE_S: Final = 1.0
"""Seconds after acceptance before a row's hint counts as lost. Earlier, each row would be offered twice under load."""


class Relay:
    """Polls for due rows of one kind; `host`: rows of browser sessions on other hosts are left to those."""

    def __init__(
        self, store: Store, dispatcher: Dispatcher, metrics: Metrics, *, kind: str, host: str | None = None
    ) -> None:
        self._store, self._dispatcher, self._kind, self._host = store, dispatcher, kind, host
        self._found = metrics.counter("relayed_messages", "Rows that were found without a hint.")

    async def run(self) -> None:
        """Poll twice a second while there is capacity; never returns."""
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL_S)

    async def look(self) -> int:
        """Poll once. Returns how many rows were offered; none when the store is away."""
        capacity = self._dispatcher.capacity
        if capacity <= 0:
            return 0
        try:
            due = await self._store.call(
                # paced connections are polled by the dispatcher itself when they have tokens: found here, they would
                # fill the answer
                messages.due,
                kind=self._kind,
                grace_s=GRACE_S,
                most=capacity,
                but_not=self._dispatcher.paced,
                host=self._host,
            )
        except StoreUnavailable:
            return 0  # readiness reports it; the rows stay where they are
        if due:
            hit("relay.found")
            self._found.inc(len(due))
            log.info("rows_relayed", rows=len(due))
            self._dispatcher.offer(due)
        return len(due)
