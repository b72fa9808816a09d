"""Writes the outcomes of sends in batches, and reports each message whose outcome is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from shared import logs
from shared.backoff import BackoffPolicy
from shared.batching import RateLimiter
from shared.delivery.batch_policy import settle_interval_s
from shared.delivery.breaker import Breaker
from shared.delivery.delivery_metrics import DeliveryMetrics, label_of
from shared.delivery.in_flight import InFlight
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.messages import OutboundMessage, Outcome
from shared.states import MessageState
from shared.store import connections, messages
from shared.store.messages import Settlement
from shared.store.store import Store

log = logs.logger(__name__)

_STORE_AWAY_S: Final = 0.25
"""Seconds between attempts while PostgreSQL is away: short, because chats wait; long enough not to spin."""


class SettleLoop:
    """Turns outcomes into the next states of their rows, fenced by the incarnation that claimed them.

    Args:
        incarnation: the claiming process. attempts: counted attempts before a dead letter. retries: waits between them.
        breaker: pauses connections whose sends fail one after the other. settled: called with each message whose
            outcome is written, and with how.
    """

    def __init__(
        self,
        store: Store,
        in_flight: InFlight,
        metrics: DeliveryMetrics,
        *,
        incarnation: str,
        attempts: int,
        retries: BackoffPolicy,
        breaker: Breaker,
        settled: Callable[[OutboundMessage, Settlement], None],
    ) -> None:
        self._store, self._in_flight, self._metrics = store, in_flight, metrics
        self._incarnation, self._attempts, self._retries = incarnation, attempts, retries
        self._breaker, self._settled = breaker, settled
        self._outcomes: list[tuple[OutboundMessage, Outcome]] = []
        self._answered = asyncio.Event()

    def add(self, message: OutboundMessage, outcome: Outcome) -> None:
        """Write this outcome soon."""
        self._outcomes.append((message, outcome))
        self._answered.set()

    async def run(self) -> None:
        """Write outcomes until cancelled."""
        limiter = RateLimiter()
        while True:
            await self._answered.wait()
            await limiter.start(settle_interval_s(len(self._in_flight), len(self._outcomes)))
            # cleared and swapped without an await in between: an outcome that comes during the commit belongs to the
            # next batch
            self._answered.clear()
            batch, self._outcomes = self._outcomes, []
            if batch:
                await self._settle(batch)

    async def _settle(self, batch: list[tuple[OutboundMessage, Outcome]]) -> None:
        settlements = [
            messages.settlement(
                message,
                outcome,
                attempts=self._attempts,
                wait_s=self._retries.wait_s(message.attempts_used),
            )
            for message, outcome in batch
        ]
        written = await self._write(settlements)
        for (message, outcome), settlement in zip(batch, settlements, strict=True):
            self._count(message, outcome, settlement, written=message.id in written)
            self._settled(message, settlement)
        # after all messages have left flight: a pause waits for PostgreSQL, and must not keep their capacity
        for message, outcome in batch:
            if reason := self._breaker.note(message.connection_id, outcome):
                await self._pause(message.connection_id, reason)

    async def _write(self, settlements: list[Settlement]) -> set[int]:
        """Write until PostgreSQL has accepted, and return the rows that were still ours."""
        # an edit or a deletion changes its target by a statement of its own: both or none
        settle = self._store.call if any(one.acts for one in settlements) else self._store.call_each
        while True:
            hit("settle.begun")
            try:
                # one that commits after we gave up waiting finds its rows still in flight here, or given back by our
                # death
                written = await settle(messages.settle, incarnation=self._incarnation, settlements=settlements)
                break
            except StoreUnavailable as error:
                # the outcome is only in this process and its journal: keep it until it is written; a repeat of a lost
                # commit writes nothing twice
                log.warning("settle_delayed", reason=str(error), messages=len(settlements))
                await asyncio.sleep(_STORE_AWAY_S)
        hit("settle.committed")
        return written

    async def _pause(self, connection_id: int, reason: str) -> None:
        try:
            if await self._store.call(connections.pause, connection_id, reason):
                log.error("breaker_opened", connection_id=connection_id, reason=reason)
        except StoreUnavailable as error:
            # the next failure in a row says so again
            log.warning("breaker_not_written", connection_id=connection_id, reason=str(error))

    def _count(self, message: OutboundMessage, outcome: Outcome, settlement: Settlement, *, written: bool) -> None:
        name, code = label_of(outcome), getattr(outcome, "code", "")
        self._metrics.settled(message.connection_type, outcome)
        if not written:
            # a webhook may have moved the row on already: then nothing is lost; the history reports which
            log.info("settlement_overtaken", message_id=message.id, outcome=name)
        if settlement.state is MessageState.SENT:
            self._metrics.sent += 1
            log.debug(
                "message_sent", message_id=message.id, attempt=message.attempt, connection_id=message.connection_id
            )
        elif settlement.state is MessageState.FAILED:
            self._metrics.failed += 1
            log.warning("message_dead_lettered", message_id=message.id, attempt=message.attempt, code=code)
        else:
            log.info("message_unsent", message_id=message.id, attempt=message.attempt, outcome=name, code=code)
