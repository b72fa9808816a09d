"""Claims rows that are due, sends them side by side, and writes what became of them; both in batches.

The only way in is `offer`: from the hint worker, from the relay, from a retry whose wait is over. The only authority is the claim.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from math import isinf
from typing import Final

from shared import logs
from shared.batching import RateLimiter
from shared.clock import left, monotonic
from shared.delivery import fairness
from shared.delivery.breaker import Breaker
from shared.delivery.channel import Channel
from shared.delivery.in_flight_journal import InFlightJournal, Stage
from shared.delivery.retry_policy import retry_policy
from shared.errors import Fenced, StoreUnavailable
from shared.fail_points import hit
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.process.metrics import Metrics
from shared.states import MessageState
from shared.store import connections, messages
from shared.store.messages import Settlement
from shared.store.store import Store

log = logs.logger(__name__)

CLAIM_AT_ONCE: Final = 200
_STORE_AWAY_S: Final = 0.25
_UNKNOWN_S: Final = 2.0
"""How often the claim loop looks for rows that are its own without its knowing."""
_CLAIMS_APART_S: Final = 0.02
_SETTLEMENTS_APART_S: Final = 0.04
"""How far apart two of a kind begin while more can gather, with `_MANY` messages in hand; with fewer as much less. A first message waits for nothing, and
under load, when waiting costs least, each transaction carries many."""
_FEW: Final = 8
_MANY: Final = 48
_CHATS_S: Final = 0.02
"""With more than a few messages in hand, chats whose message has left are looked at together with what is offered, or after this long."""
_GATHER_S: Final = 0.02
"""Shortest wait for a number's tokens, so that one claim takes several; numbers whose wait ends within it are looked at together."""
_LONGEST_WAIT_S: Final = 30.0
"""A limit may be lifted meanwhile: then nobody waits longer than this to notice."""
_GRACE_S: Final = 2.0
"""How long after a send's deadline its task may still run before it is cut: a channel keeps its deadline itself."""


class Dispatcher:
    """Sends what it is offered.

    Args:
        kind, incarnation: who claims. channel: how to send. flights: where what is in hand stands for those who come after a death.
        in_flight: sends at once. each: sends at once of one connection; 0: no limit but that a slow one leaves places to others. send_s: time for one
            send. attempts: counted attempts before a dead letter. retry_base_s: base of the retry law.
        breaker: pauses connections whose sends fail one after the other.
    """

    def __init__(
        self,
        store: Store,
        channel: Channel,
        metrics: Metrics,
        flights: InFlightJournal,
        *,
        kind: str,
        incarnation: str,
        in_flight: int,
        each: int = 0,
        send_s: float,
        attempts: int,
        retry_base_s: float,
        breaker: Breaker | None = None,
    ) -> None:
        self._store, self._channel, self._flights = store, channel, flights
        self._breaker = breaker or Breaker(0)
        self._kind, self._incarnation = kind, incarnation
        self._in_flight_limit, self._each, self._send_s, self._attempts = in_flight, each, send_s, attempts
        self._retries = retry_policy(retry_base_s)
        self._offered: dict[int, None] = {}
        self._chats: dict[tuple[int, str], None] = {}
        self._paced: dict[int, float] = {}
        self._crowded: set[int] = set()
        self._in_hand: dict[int, OutboundMessage] = {}
        self._held: Counter[int] = Counter()
        self._begun: dict[int, float] = {}
        self._sends: set[asyncio.Task[None]] = set()
        self._outcomes: list[tuple[OutboundMessage, Outcome]] = []
        self._work, self._settled, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._draining = self._look_at_chats = False
        self._loops: list[asyncio.Task[None]] = []
        self._outcome_count = metrics.counter("message_outcomes", "Sends by what became of them.", ("outcome", "code"))
        self._send_duration = metrics.histogram("send_seconds", "Time of one send call.")
        self._fenced = metrics.counter(
            "fenced_writes", "Late writes that were refused because the row was no longer ours."
        )
        metrics.gauge(
            "numbers_paced", "Connections whose limits hold messages back just now.", read=lambda: len(self._paced)
        )
        metrics.gauge("messages_in_flight", "Rows that are claimed and not settled.", read=lambda: len(self._in_hand))
        self.sent = self.failed = 0
        self.send_seconds = 0.0

    @property
    def room(self) -> int:
        """How many more rows may be offered now; read by the hint worker's thread."""
        return 0 if self._draining else max(0, self._in_flight_limit - len(self._in_hand) - len(self._offered))

    @property
    def in_hand(self) -> int:
        """How many rows are claimed and not settled."""
        return len(self._in_hand)

    @property
    def paced(self) -> list[int]:
        """Numbers whose limits hold messages back just now; their rows are looked for when they have tokens, not before."""
        return list(self._paced)

    def offer(self, ids: Iterable[int]) -> None:
        """Look at these rows soon. Rows that are not due, not first in their chat or not ours are dropped by the claim."""
        if not self._draining:
            self._offered.update(dict.fromkeys(row_id for row_id in ids if row_id not in self._in_hand))
            self._work.set()

    def start(self) -> None:
        """Begin to work; needs a running event loop."""
        self._loops = [
            asyncio.create_task(self._claim_loop(), name="claims"),
            asyncio.create_task(self._settle_loop(), name="settlements"),
        ]

    async def drain(self, by: float) -> bool:
        """Claim nothing more, and wait until everything in hand is sent and written, or the monotonic instant `by` has come."""
        self._draining = True
        self._work.set()
        # a claim under way still brings rows
        claiming, _ = self._loops
        await asyncio.wait({claiming}, timeout=left(by))
        try:
            await asyncio.wait_for(self._idle.wait(), left(by))
        except TimeoutError:
            return False
        return claiming.done()

    async def close(self) -> None:
        """Stop at once; rows in hand stay claimed until they are reclaimed."""
        self._draining = True
        tasks = [*self._loops, *self._sends]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def loops(self) -> list[asyncio.Task[None]]:
        """The tasks whose failure is the process's failure."""
        return self._loops

    async def _claim_loop(self) -> None:
        look_at = monotonic() + _UNKNOWN_S
        limiter = RateLimiter()
        while not self._draining:
            with suppress(TimeoutError):
                async with asyncio.timeout(left(min(look_at, self._next_tokens_at()))):
                    await self._work.wait()
            await limiter.start(_CLAIMS_APART_S * self._busyness() if len(self._in_hand) > _FEW else 0.0)
            self._work.clear()
            self._look_at_chats = False
            try:
                while not self._draining and await self._claim():
                    pass
                if monotonic() >= look_at and not self._draining:
                    await self._give_back_unknown()
                    look_at = monotonic() + _UNKNOWN_S
            except StoreUnavailable as error:
                log.warning("claim_failed", reason=str(error), may_be_done=error.may_be_done)
                await asyncio.sleep(_STORE_AWAY_S)
                self._work.set()

    def _busyness(self) -> float:
        """How many messages are in hand, as a part of many; 1 at most."""
        return min(1.0, len(self._in_hand) / _MANY)

    def _next_tokens_at(self) -> float:
        """When the first number that waits has tokens again and there is room to use them (monotonic)."""
        return min(self._paced.values()) if self._paced and len(self._in_hand) < self._in_flight_limit else float("inf")

    async def _claim(self) -> bool:
        """Claim once. Returns whether there was anything to claim, and room for it."""
        room = min(CLAIM_AT_ONCE, self._in_flight_limit - len(self._in_hand))
        soon = monotonic() + _GATHER_S / 2
        numbers = [number for number, at in self._paced.items() if at <= soon] if room > 0 else []
        # the chats of a number that waits are found by it
        for chat in [chat for chat in self._chats if chat[0] in self._paced]:
            del self._chats[chat]
        # what is in hand is never claimed again: an outcome that is being written must meet the attempt that it belongs to
        busy = (
            {(message.connection_id, message.chat_id) for message in self._in_hand.values()} if self._chats else set()
        )
        # offers, however many, leave the numbers that have waited their half
        offers = room - max(1, room // 2) if numbers else max(0, room)
        chats = [chat for chat in self._chats if chat not in busy][:offers]
        ids = list(self._offered)[: offers - len(chats)]
        if not (ids or chats or numbers):
            return False
        hit("claim.begun")
        rooms = fairness.rooms(self._held, self._slow(), places=self._in_flight_limit, each=self._each)
        # a claim that comes through after we gave up waiting is found by `_give_back_unknown`
        claimed = await self._store.call_each(
            messages.claim_within_limits,
            kind=self._kind,
            incarnation=self._incarnation,
            ids=ids,
            chats=chats,
            numbers=numbers,
            in_hand=self._in_hand,
            room=rooms.each,
            rooms=rooms.of,
            most=room,
            token_at_claim=self._channel.token_at_claim,
        )
        hit("claim.committed")
        for chat in chats:
            self._chats.pop(chat, None)
        for row_id in [*ids, *(message.id for message in claimed.messages)]:
            self._offered.pop(row_id, None)
        for message in claimed.messages:
            self._begin(message)
        self._wait(numbers, claimed.waits)
        hit("claim.recorded")
        return True

    def _wait(self, asked: Iterable[int], waits: Mapping[int, float]) -> None:
        """Remember whose limits hold rows back. The rows themselves are forgotten: they are found by their number when it has tokens, or room, again."""
        for number in asked:
            self._paced.pop(number, None)
        now = monotonic()
        for number, wait_s in waits.items():
            if not isinf(wait_s):
                again_s = wait_s
            elif self._held[number]:
                # until one of its own ends
                again_s = wait_s
                self._crowded.add(number)
            else:
                again_s = 0.0
            self._paced.setdefault(number, now + min(_LONGEST_WAIT_S, max(_GATHER_S, again_s)))

    def _slow(self) -> set[int]:
        """Connections with a send that takes long."""
        slow, before = set(), monotonic() - fairness.SLOW_S
        # in the order of their beginning
        for row_id, begun in self._begun.items():
            if begun > before:
                break
            slow.add(self._in_hand[row_id].connection_id)
        return slow

    def _begin(self, message: OutboundMessage) -> None:
        self._in_hand[message.id] = message
        self._begun[message.id] = monotonic()
        self._held[message.connection_id] += 1
        self._idle.clear()
        self._flights.begin(message.id)
        send = asyncio.create_task(
            self._flights.track_active(message.id, self._send(message)), name=f"send-{message.id}"
        )
        self._sends.add(send)
        send.add_done_callback(self._sends.discard)

    async def _give_back_unknown(self) -> None:
        """Put back rows that are ours in the table but not in hand: the commit of a claim was lost on its way to us, and came through later.

        Only the claim loop claims, so while it looks no claim is under way; nobody else was told of these rows, so they are surely unsent.
        """
        before = set(self._in_hand)
        held = await self._store.call(messages.held_by, incarnation=self._incarnation)
        unknown = [row_id for row_id in held if row_id not in before and row_id not in self._in_hand]
        if not unknown:
            return
        log.warning("unknown_claims_given_back", rows=len(unknown))
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
            self._fenced.inc()
            log.warning("send_fenced", message_id=message.id)
            self._forget(message)
            return
        except TimeoutError:
            outcome = InDoubt(code="send_timeout", detail=f"no answer within {self._send_s:g} s")
        except StoreUnavailable as error:
            # the token could not be stored, so nothing was sent
            outcome = Retry(code="store_unavailable", detail=str(error), counts=False)
        except Exception as error:
            # a bug in the channel: whether the request left is not known
            log.error("send_crashed", exc_info=error, message_id=message.id)
            outcome = InDoubt(code="send_crashed", detail=type(error).__name__)
        hit("send.answered")
        self._note(message, outcome)
        hit("send.recorded")
        duration_s = monotonic() - started
        self._send_duration.observe(duration_s)
        self.send_seconds += duration_s
        self._outcomes.append((message, outcome))
        self._settled.set()

    async def _record_token(self, message: OutboundMessage, token: str) -> None:
        stored = token == message.token and self._channel.token_at_claim
        if not stored and not await self._store.call(
            messages.record_token, message_id=message.id, incarnation=self._incarnation, token=token
        ):
            raise Fenced(f"row {message.id} is no longer ours")
        self._flights.writing(message.id)
        hit("send.writing")

    def _note(self, message: OutboundMessage, outcome: Outcome) -> None:
        """Keep the outcome where a death cannot take it, until it stands in the database."""
        match outcome:
            case Sent(provider_id=provider_id):
                self._flights.answered(message.id, Stage.SENT, provider_id)
            case Retry(code=code):
                self._flights.answered(message.id, Stage.UNSENT, code)
            case Dead(code=code):
                self._flights.answered(message.id, Stage.DEAD, code)
            case InDoubt():
                self._flights.writing(message.id)

    async def _settle_loop(self) -> None:
        limiter = RateLimiter()
        while True:
            await self._settled.wait()
            await limiter.start(
                _SETTLEMENTS_APART_S * max(0.5, self._busyness()) if len(self._outcomes) < len(self._in_hand) else 0.0
            )
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
                wait_s=self._retries.wait_s(message.charged),
            )
            for message, outcome in batch
        ]
        while True:
            hit("settle.begun")
            try:
                # one that comes through after we gave up waiting finds its rows still in our hand, or given back by our death
                written = await self._store.call_each(
                    messages.settle, incarnation=self._incarnation, settlements=settlements
                )
                break
            except StoreUnavailable as error:
                # the outcome is only in our hands now: keep it until it is written; a repeat of a lost commit writes nothing twice
                log.warning("settle_delayed", reason=str(error), messages=len(batch))
                await asyncio.sleep(_STORE_AWAY_S)
        hit("settle.committed")
        for (message, outcome), settlement in zip(batch, settlements, strict=True):
            self._count(message, outcome, settlement, written=message.id in written)
            if settlement.state is MessageState.QUEUED:
                asyncio.get_running_loop().call_later(settlement.after_s + 0.005, self.offer, [message.id])
            elif settlement.state is not MessageState.IN_DOUBT:
                self._chats[message.connection_id, message.chat_id] = None
            self._forget(message)
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

    def _forget(self, message: OutboundMessage) -> None:
        del self._in_hand[message.id], self._begun[message.id]
        self._held[message.connection_id] -= 1
        if not self._held[message.connection_id]:
            del self._held[message.connection_id]
        if message.connection_id in self._crowded:
            self._crowded.discard(message.connection_id)
            self._paced[message.connection_id] = monotonic()
        self._flights.end(message.id)
        if self._offered or len(self._in_hand) <= _FEW:
            self._work.set()
        elif not self._look_at_chats:
            self._look_at_chats = True
            asyncio.get_running_loop().call_later(_CHATS_S, self._work.set)
        if not self._in_hand:
            self._idle.set()

    def _count(self, message: OutboundMessage, outcome: Outcome, settlement: Settlement, *, written: bool) -> None:
        word, code = _LABELS[type(outcome)], getattr(outcome, "code", "")
        self._outcome_count.labels(word, code).inc()
        if not written:
            # a webhook may have moved the row on already: then nothing is lost; the history tells which
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
