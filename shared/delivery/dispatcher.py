"""The sending half of a kind: what is offered is claimed (`ClaimLoop`), sent (`Sender`) and settled (`SettleLoop`).

The only way in is `offer`: from the hint worker, from the relay, from a retry whose wait is over. The only authority is
the claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from shared.clock import left, monotonic
from shared.delivery.backlog import Backlog
from shared.delivery.breaker import Breaker
from shared.delivery.channel import Channel
from shared.delivery.claim_loop import ClaimLoop
from shared.delivery.delivery_metrics import DeliveryMetrics
from shared.delivery.in_flight import InFlight
from shared.delivery.in_flight_journal import InFlightJournal
from shared.delivery.retry_policy import retry_policy
from shared.delivery.sender import CANCEL_S, Sender
from shared.delivery.settle_loop import SettleLoop
from shared.messages import OutboundMessage
from shared.process.metrics import Metrics
from shared.process.tracing import NO_TRACER, Tracer
from shared.states import MessageState
from shared.store.messages import Claimant, Settlement
from shared.store.store import Store

_DUE_S: Final = 0.005
"""Seconds added to a retry's wait: due is judged by PostgreSQL's clock, and an offer before that is dropped."""


class Dispatcher:
    """Moves each message from the backlog through its send to its settlement; its one reason is the life of what is in
    flight: when it starts, when it has ended, and when nothing is left.

    Args:
        kind, incarnation: the claiming process. channel: how to send. journal: where what is in flight is recorded for
            the reader after a death.
        in_flight: sends at once. each: sends at once of one connection; 0: no limit but that a slow one leaves places
            to others. send_s: time for one send. attempts: counted attempts before a dead letter. retry_base_s: first
            wait between attempts.
        breaker: pauses connections whose sends fail one after the other. worlds: to which world each connection type
            sends. lease_covers: whether the process's lease lasts for so many seconds; nothing is claimed or sent
            without.

    Attributes:
        metrics: what it counts.
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
        lease_covers: Callable[[float], bool] = lambda _for_s: True,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._journal = journal
        self._backlog = Backlog()
        self._in_flight = InFlight(journal, limit=in_flight, each=each)
        self.metrics = DeliveryMetrics(
            metrics, paced=lambda: len(self._backlog.paced), in_flight=lambda: len(self._in_flight)
        )
        # A send that begins now must have ended before another host may reclaim its row.
        may_send = partial(lease_covers, send_s + CANCEL_S)
        claimant = Claimant(kind=kind, incarnation=incarnation, token_at_claim=channel.token_at_claim, worlds=worlds)
        self._claims = ClaimLoop(
            store, self._backlog, self._in_flight, claimant, claimed=self._begin, may_send=may_send
        )
        self._sender = Sender(
            store,
            channel,
            self._in_flight,
            self.metrics,
            incarnation=incarnation,
            send_s=send_s,
            may_send=may_send,
            tracer=tracer,
        )
        self._settlements = SettleLoop(
            store,
            self._in_flight,
            self.metrics,
            incarnation=incarnation,
            attempts=attempts,
            retries=retry_policy(retry_base_s),
            breaker=breaker or Breaker(0),
            settled=self._settled,
        )
        # the event loop keeps only weak references to tasks (asyncio documentation): the set keeps running sends alive
        self._sends: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

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
        self._claims.offer(ids)

    def start(self) -> None:
        """Start to claim and to settle; needs a running event loop."""
        self._loops = [
            asyncio.create_task(self._claims.run(), name="claims"),
            asyncio.create_task(self._settlements.run(), name="settlements"),
        ]

    async def drain(self, by: float) -> bool:
        """Claim nothing more, and wait until everything in flight is sent and written, or the monotonic instant `by`
        has come."""
        self._stop_claiming()
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
        self._stop_claiming()
        tasks = [*self._loops, *self._sends]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def loops(self) -> list[asyncio.Task[None]]:
        """The tasks whose failure is the process's failure."""
        return self._loops

    def _stop_claiming(self) -> None:
        self._draining = True
        self._claims.stop()

    def _begin(self, message: OutboundMessage) -> None:
        # first: the journal must name the row before its task can take a step
        self._in_flight.start(message)
        self._idle.clear()
        send = asyncio.create_task(
            self._journal.track_active(message.id, self._send(message)), name=f"send-{message.id}"
        )
        self._sends.add(send)
        send.add_done_callback(self._sends.discard)

    async def _send(self, message: OutboundMessage) -> None:
        outcome = await self._sender.send(message)
        if outcome is None:
            self._end(message)
        else:
            self._settlements.add(message, outcome)

    def _settled(self, message: OutboundMessage, settlement: Settlement) -> None:
        if settlement.state is MessageState.QUEUED:
            asyncio.get_running_loop().call_later(settlement.after_s + _DUE_S, self.offer, [message.id])
        # a message in doubt still holds up its chat
        elif settlement.state is not MessageState.IN_DOUBT:
            self._backlog.chat_freed((message.connection_id, message.chat_id))
        self._end(message)

    def _end(self, message: OutboundMessage) -> None:
        self._in_flight.end(message)
        self._backlog.send_ended(message.connection_id, monotonic())
        self._claims.send_ended()
        if not self._in_flight:
            self._idle.set()
