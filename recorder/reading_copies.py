"""Keeps the copies that lists, searches and figures are read from: follows the events of messages."""

from __future__ import annotations

import asyncio
from typing import Final

from shared.logs import logger
from shared.process.metrics import Metrics
from shared.store import reading
from shared.store.store import Store

log = logger(__name__)

_MOST: Final = 2000
"""Transactions of one step at most. One writes a message or a batch of some dozens: a step lasts for fractions of a
second.
"""
_FEWEST: Final = 50
"""Of a step after one that was too long. Fewer could be less than what the other processes commit meanwhile."""
_BACKFILL: Final = 500
"""Older messages of one step."""
_BACKFILL_APART_S: Final = 0.05
"""Seconds between two steps of those: no client waits for them."""

_STEP_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""Bounds in seconds: a message of a long list waits for hours for its number's rate."""


class ReadingCopies:
    """Brings the copies up to date, by steps."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store, self._most = store, _MOST
        self._durations = metrics.histogram(
            "message_step_seconds",
            "Time from when a message was due until it was sent, and until it was delivered.",
            ("connection_type", "step"),
            buckets=_STEP_BUCKETS_S,
        )

    async def catch_up(self) -> None:
        """Bring the copies to the end of the stream. Raises `StoreUnavailable`; the next round goes on from there."""
        complete = False
        while not complete:
            most, self._most = self._most, max(_FEWEST, self._most // 4)
            # a step that is too long for one transaction's time is followed by a shorter one
            step = await self._store.call(reading.advance, most_transactions=most)
            self._most = min(_MOST, most * 2)
            for connection_type, reached, seconds, messages in step.timed:
                self._durations.labels(connection_type, reached).observe(seconds, messages)
            complete = step.complete

    async def backfill(self) -> None:
        """Index what was there before the copies. Raises `StoreUnavailable`."""
        messages, complete = 0, False
        while not complete:
            step = await self._store.call(reading.backfill, most=_BACKFILL)
            messages, complete = messages + step.messages, step.complete
            await asyncio.sleep(_BACKFILL_APART_S)
        if messages:
            log.info("older_messages_indexed", messages=messages)
