"""Claims rows that are due, sends them concurrently, and writes their outcomes; claims and outcomes in batches.

The only way in is `offer`: from the hint worker, from the relay, from a retry whose wait is over. The only authority is
the claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from math import inf
from types import MappingProxyType
from typing import Final

from shared import logs
from shared.batching import RateLimiter
from shared.clock import left, monotonic
from shared.delivery.backlog import CLAIM_AT_ONCE, Backlog
from shared.delivery.breaker import Breaker
from shared.delivery.channel import Channel
from shared.delivery.in_flight import InFlight
from shared.delivery.in_flight_journal import InFlightJournal
from shared.delivery.retry_policy import retry_policy
from shared.errors import Fenced, StoreUnavailable
from shared.fail_points import hit
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.process.metrics import Metrics
from shared.process.periodic import wait_for_event
from shared.states import MessageState
from shared.store import connections, messages
from shared.store.messages import Claimant, Claimed, ClaimRequest, Settlement
from shared.store.store import Store

log = logs.logger(__name__)

_STORE_AWAY_S: Final = 0.25
"""Seconds between attempts while PostgreSQL is away: short, because messages wait; long enough not to spin."""
_UNKNOWN_S: Final = 2.0
"""Seconds between searches for rows whose claim committed after we gave up on it: rare, so its query should be too."""
_CLAIM_INTERVAL_S: Final = 0.02
_SETTLE_INTERVAL_S: Final = 0.04
"""Minimum seconds between claims (settlements) at `_MANY` in flight; below that in proportion, for settlements at least
half. A first message is immediate, and under load, when waiting costs least, each transaction carries many: small ones
took twice the CPU for each message (docs/benchmarks.md)."""
_FEW: Final = 8
"""Messages in flight up to which claims have no minimum interval: latency counts then, and round trips are cheap."""
_MANY: Final = 48
"""Messages in flight from which the intervals above apply in full: each transaction then finds many to carry."""
_CHATS_S: Final = 0.02
"""Seconds that a freed chat waits above `_FEW` in flight before its next message is looked up, so that chats share a
claim."""
_GRACE_S: Final = 2.0
"""Seconds after a send's deadline until its task is cancelled. A channel keeps the deadline itself and knows more about
the outcome; this is for one that hangs."""


class Dispatcher:
    """Sends what it is offered: loops around `Backlog` (what to claim) and `InFlight` (what is claimed).

    Args:
        kind, incarnation: the claiming process. channel: how to send. journal: where what is in flight is recorded for
            the reader after a death.
        in_flight: sends at once. each: sends at once of one connection; 0: no limit but that a slow one leaves places
            to others. send_s: time for one send. attempts: counted attempts before a dead letter. retry_base_s: first
            wait between attempts.
        breaker: pauses connections whose sends fail one after the other. worlds: to which world each connection type
            sends.
    """

    def __init__(
        self,
        store: Store,
        channel: Channel,
        metrics: Metrics,
        journal: InFlightJournal,
        *,
        kind: str,
        incarnation: str,
        in_flight: int,
        each: int = 0,
        send_s: float,
        attempts: int,
        retry_base_s: float,
        breaker: Breaker | None = None,
        worlds: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._store, self._channel, self._journal = store, channel, journal
        self._breaker = breaker or Breaker(0)
        self._kind, self._incarnation = kind, incarnation
        self._claimant = Claimant(
            kind=kind, incarnation=incarnation, token_at_claim=channel.token_at_claim, worlds=worlds
        )
        self._send_s, self._attempts = send_s, attempts
        self._retries = retry_policy(retry_base_s)
        self._backlog = Backlog()
        self._in_flight = InFlight(journal, limit=in_flight, each=each)
        # the event loop keeps only weak references to tasks (asyncio documentation): the set keeps running sends alive
        self._sends: set[asyncio.Task[None]] = set()
        # rows that can be neither claimed nor parked: left alone until the next start, or the relay would offer them
        # twice a second
        self._untouchable: set[int] = set()
        self._outcomes: list[tuple[OutboundMessage, Outcome]] = []
        self._work, self._settled, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._draining = self._chats_pending = False
        self._loops: list[asyncio.Task[None]] = []
        self._outcome_count = metrics.counter("message_outcomes", "Sends by outcome.", ("outcome", "code"))
        self._send_duration = metrics.histogram("send_seconds", "Time of one send call.")
        self._fenced = metrics.counter(
            "fenced_writes", "Late writes that were refused because the row was no longer ours."
        )
        metrics.gauge(
            "numbers_paced", "Connections that are rate-limited just now.", read=lambda: len(self._backlog.paced)
        )
        metrics.gauge("messages_in_flight", "Rows that are claimed and not settled.", read=lambda: len(self._in_flight))
        self.sent = self.failed = 0
        self.send_seconds = 0.0

    @property
    def capacity(self) -> int:
        """How many more rows may be offered now; read by the hint worker's thread."""
        # read without a lock: both lengths may be one step old, and hints taken beyond the capacity only wait in the
        # backlog
        return 0 if self._draining else max(0, self._in_flight.free - len(self._backlog))

    @property
    def in_flight(self) -> int:
        """How many rows are claimed and not settled."""
        return len(self._in_flight)

    @property
    def paced(self) -> list[int]:
        """Connections currently rate-limited; polled again when they have tokens."""
        return self._backlog.paced

    def offer(self, ids: Iterable[int]) -> None:
        """Claim these rows soon. Rows that are not due, not first in their chat or not ours are dropped by the
        claim."""
        # rows offered from here on stay queued, and another process's relay finds them
        if not self._draining:
            self._backlog.offer(
                row_id for row_id in ids if row_id not in self._in_flight and row_id not in self._untouchable
            )
            self._work.set()

    def start(self) -> None:
        """Start to claim and to settle; needs a running event loop."""
        self._loops = [
            asyncio.create_task(self._claim_loop(), name="claims"),
            asyncio.create_task(self._settle_loop(), name="settlements"),
        ]

    async def drain(self, by: float) -> bool:
        """Claim nothing more, and wait until everything in flight is sent and written, or the monotonic instant `by`
        has come."""
        self._draining = True
        self._work.set()
        # a claim under way may still bring rows
        claiming, _ = self._loops
        await asyncio.wait({claiming}, timeout=left(by))
        try:
            await asyncio.wait_for(self._idle.wait(), left(by))
        except TimeoutError:
            return False
        # a claim that is still under way may commit after this: its rows would be neither sent nor counted as in flight
        return claiming.done()

    async def close(self) -> None:
        """Stop at once; rows in flight stay claimed until they are reclaimed."""
        self._draining = True
        tasks = [*self._loops, *self._sends]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def loops(self) -> list[asyncio.Task[None]]:
        """The tasks whose failure is the process's failure."""
        return self._loops

    async def _claim_loop(self) -> None:
        check_unknown_at = monotonic() + _UNKNOWN_S
        limiter = RateLimiter()
        while not self._draining:
            # a waiting connection is of no use while everything is in flight
            tokens_at = self._backlog.due_at() if self._in_flight.free > 0 else inf
            await wait_for_event(self._work, left(min(check_unknown_at, tokens_at)))
            await limiter.start(_CLAIM_INTERVAL_S * self._load() if len(self._in_flight) > _FEW else 0.0)
            # before the claim, not after it: an offer that arrives while the claim waits for PostgreSQL must wake the
            # loop again
            self._work.clear()
            self._chats_pending = False
            try:
                while not self._draining and await self._claim():
                    pass
                if monotonic() >= check_unknown_at and not self._draining:
                    await self._requeue_unknown()
                    check_unknown_at = monotonic() + _UNKNOWN_S
            except StoreUnavailable as error:
                # nothing is lost from the backlog, which forgets only what a claim has answered
                log.warning("claim_failed", reason=str(error), may_be_done=error.may_be_done)
                await asyncio.sleep(_STORE_AWAY_S)
                self._work.set()

    def _load(self) -> float:
        """Messages in flight as a part of `_MANY`; 1 at most."""
        return min(1.0, len(self._in_flight) / _MANY)

    async def _claim(self) -> bool:
        """Claim once. Returns whether there was anything to claim, and capacity for it."""
        request = self._backlog.request(self._in_flight.free, monotonic(), self._in_flight.chats())
        if request is None:
            return False
        hit("claim.begun")
        try:
            claimed = await self._claim_rows(request)
        # an unavailable database is no evidence against a row: parking would kill messages for an outage
        except StoreUnavailable:
            raise
        except Exception as error:
            # the database refuses the statement for some row's sake: that row must not stop the others
            log.error("claim_refused", exc_info=error, rows=len(request.ids), chats=len(request.chats))
            for row_id in await self._unclaimable(await self._rows_of(request)):
                await self._park(row_id, error)
            # each row was claimed or parked by itself: an empty answer takes the request off the backlog
            claimed = Claimed(messages=[], waits={})
        self._backlog.claimed(request, claimed, self._in_flight.held, monotonic())
        return True

    async def _claim_rows(self, request: ClaimRequest) -> Claimed:
        """Claim once and start what was claimed."""
        capacities = self._in_flight.capacities()
        # a claim that commits after we gave up waiting is found by `_requeue_unknown`
        claimed = await self._store.call_each(
            messages.claim_within_limits,
            self._claimant,
            replace(request, capacity=capacities.default, capacities=capacities.of),
            self._in_flight,
        )
        hit("claim.committed")
        for message in claimed.messages:
            self._start_send(message)
        # no await between commit and here: what is claimed is in the journal before other code of this process runs
        hit("claim.recorded")
        return claimed

    async def _rows_of(self, request: ClaimRequest) -> list[int]:
        """Return the ids of all rows that a request may claim."""
        heads = await self._store.call(messages.chat_heads, request.chats)
        due = await self._store.call(
            messages.due, kind=self._kind, grace_s=0.0, most=CLAIM_AT_ONCE, numbers=request.connections
        )
        return list(dict.fromkeys([*request.ids, *heads, *due]))

    async def _unclaimable(self, ids: list[int]) -> list[int]:
        """Claim rows by halves, and return those that no claim can take."""
        if not ids:
            return []
        try:
            await self._claim_rows(ClaimRequest(ids=ids, limit=len(ids)))
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001 - the error is logged once, for the whole claim
            if len(ids) == 1:
                log.error("row_unclaimable", message_id=ids[0])
                return ids
            half = len(ids) // 2
            return await self._unclaimable(ids[:half]) + await self._unclaimable(ids[half:])
        return []

    async def _park(self, row_id: int, error: Exception) -> None:
        try:
            await self._store.call(
                messages.park,
                message_id=row_id,
                incarnation=self._incarnation,
                code="unclaimable",
                detail=type(error).__name__,
            )
        except StoreUnavailable:
            raise
        except Exception as problem:
            # not even that can be written about it: this process leaves it alone
            log.error("row_not_parked", exc_info=problem, message_id=row_id)
            self._untouchable.add(row_id)

    def _start_send(self, message: OutboundMessage) -> None:
        # first: the journal must name the row before its task can take a step
        self._in_flight.start(message)
        self._idle.clear()
        send = asyncio.create_task(
            self._journal.track_active(message.id, self._send(message)), name=f"send-{message.id}"
        )
        self._sends.add(send)
        send.add_done_callback(self._sends.discard)

    async def _requeue_unknown(self) -> None:
        """Requeue rows the table assigns to us that we never received: the claim committed, its reply was lost.

        Only the claim loop claims, so no claim is under way meanwhile; no other process received these rows, so they
        are surely unsent.
        """
        # what is settled while the query runs may still be in its result, and is not in flight any more afterwards
        before = set(self._in_flight)
        held = await self._store.call(messages.held_by, incarnation=self._incarnation)
        unknown = [row_id for row_id in held if row_id not in before and row_id not in self._in_flight]
        if not unknown:
            return
        log.warning("unknown_claims_requeued", rows=len(unknown))
        settlements = [
            Settlement(id=row_id, state=MessageState.QUEUED, code="claim_unknown", counts=False) for row_id in unknown
        ]
        await self._store.call(messages.settle, incarnation=self._incarnation, settlements=settlements)
        self.offer(unknown)

    async def _send(self, message: OutboundMessage) -> None:
        logs.correlation_id.set(f"m-{message.id}")
        started = monotonic()
        by = started + self._send_s
        try:
            async with asyncio.timeout(self._send_s + _GRACE_S):
                outcome = await self._channel.send(message, partial(self._record_token, message), by)
        except Fenced:
            # the row belongs to another incarnation, or moved on: an outcome of ours would overwrite theirs
            self._fenced.inc()
            log.warning("send_fenced", message_id=message.id)
            self._end(message)
            return
        except TimeoutError:
            # the channel missed its own deadline, so how far the request came is not known
            outcome = InDoubt(code="send_timeout", detail=f"no answer within {self._send_s:g} s")
        except StoreUnavailable as error:
            # the token could not be stored, so nothing was sent
            outcome = Retry(code="store_unavailable", detail=str(error), counts=False)
        except Exception as error:
            # a bug in the channel: whether the request left is not known
            log.error("send_crashed", exc_info=error, message_id=message.id)
            outcome = InDoubt(code="send_crashed", detail=type(error).__name__)
        hit("send.answered")
        # before the outcome is queued for settlement: after a death in between, the journal is the only record of it
        self._in_flight.answered(message, outcome)
        hit("send.recorded")
        duration_s = monotonic() - started
        self._send_duration.observe(duration_s)
        self.send_seconds += duration_s
        self._outcomes.append((message, outcome))
        self._settled.set()

    async def _record_token(self, message: OutboundMessage, token: str) -> None:
        # a token that the claim has written is already durable: no round trip of its own for each message
        stored = token == message.token and self._channel.token_at_claim
        if not stored and not await self._store.call(
            messages.record_token, message_id=message.id, incarnation=self._incarnation, token=token
        ):
            raise Fenced(f"row {message.id} is no longer ours")
        # last, with no await after it: until this line a death proves that nothing was sent
        self._in_flight.may_leave(message)
        hit("send.writing")

    async def _settle_loop(self) -> None:
        limiter = RateLimiter()
        while True:
            await self._settled.wait()
            # no interval when everything in flight is answered: no further outcome can come to share the transaction
            await limiter.start(
                _SETTLE_INTERVAL_S * max(0.5, self._load()) if len(self._outcomes) < len(self._in_flight) else 0.0
            )
            # cleared and swapped without an await in between: an outcome that comes during the commit belongs to the
            # next batch
            self._settled.clear()
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
                log.warning("settle_delayed", reason=str(error), messages=len(batch))
                await asyncio.sleep(_STORE_AWAY_S)
        hit("settle.committed")
        for (message, outcome), settlement in zip(batch, settlements, strict=True):
            self._count(message, outcome, settlement, written=message.id in written)
            # 5 ms beyond the wait: due is judged by PostgreSQL's clock, and an offer that comes too early is dropped
            if settlement.state is MessageState.QUEUED:
                asyncio.get_running_loop().call_later(settlement.after_s + 0.005, self.offer, [message.id])
            # a message in doubt still holds up its chat
            elif settlement.state is not MessageState.IN_DOUBT:
                self._backlog.chat_freed((message.connection_id, message.chat_id))
            self._end(message)
        # after all messages have left flight: a pause waits for PostgreSQL, and must not keep their capacity
        for message, outcome in batch:
            if reason := self._breaker.note(message.connection_id, outcome):
                await self._pause(message.connection_id, reason)

    async def _pause(self, connection_id: int, reason: str) -> None:
        try:
            if await self._store.call(connections.pause, connection_id, reason):
                log.error("breaker_opened", connection_id=connection_id, reason=reason)
        except StoreUnavailable as error:
            # the next failure in a row says so again
            log.warning("breaker_not_written", connection_id=connection_id, reason=str(error))

    def _end(self, message: OutboundMessage) -> None:
        self._in_flight.end(message)
        self._backlog.send_ended(message.connection_id, monotonic())
        # offered rows wait only for this capacity; a freed chat alone may wait for others, unless few sends make
        # latency count
        if len(self._backlog) or len(self._in_flight) <= _FEW:
            self._work.set()
        elif not self._chats_pending:
            self._chats_pending = True
            asyncio.get_running_loop().call_later(_CHATS_S, self._work.set)
        if not self._in_flight:
            self._idle.set()

    def _count(self, message: OutboundMessage, outcome: Outcome, settlement: Settlement, *, written: bool) -> None:
        word, code = _LABELS[type(outcome)], getattr(outcome, "code", "")
        self._outcome_count.labels(word, code).inc()
        if not written:
            # a webhook may have moved the row on already: then nothing is lost; the history reports which
            log.info("settlement_overtaken", message_id=message.id, outcome=word)
        if settlement.state is MessageState.SENT:
            self.sent += 1
            log.debug(
                "message_sent", message_id=message.id, attempt=message.attempt, connection_id=message.connection_id
            )
        elif settlement.state is MessageState.FAILED:
            self.failed += 1
            log.warning("message_dead_lettered", message_id=message.id, attempt=message.attempt, code=code)
        else:
            log.info("message_unsent", message_id=message.id, attempt=message.attempt, outcome=word, code=code)


_LABELS: Final = {Sent: "sent", Retry: "retry", Dead: "dead", InDoubt: "in_doubt"}
