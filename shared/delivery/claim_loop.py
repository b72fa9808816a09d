"""Claims rows that are due, as soon as there is capacity for them, and hands on what was claimed.

Any offer may wake it; the only authority is the claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from typing import Final

from shared import logs
from shared.batching import RateLimiter
from shared.clock import left, monotonic
from shared.delivery.backlog import CLAIM_AT_ONCE, Backlog
from shared.delivery.batch_policy import chat_wait_s, claim_interval_s
from shared.delivery.in_flight import InFlight
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.messages import OutboundMessage
from shared.process.periodic import wait_for_event
from shared.states import MessageState
from shared.store import messages
from shared.store.messages import Claimant, Claimed, ClaimRequest, Settlement
from shared.store.store import Store

log = logs.logger(__name__)

_STORE_AWAY_S: Final = 0.25
"""Seconds between attempts while PostgreSQL is away: short, because messages wait; long enough not to spin."""
_LEASE_AWAY_S: Final = 0.25
"""Seconds between looks at a lease that has run out, for the same reasons."""
_UNKNOWN_S: Final = 2.0
"""Seconds between searches for rows whose claim committed after we gave up on it: rare, so its query should be too."""


class ClaimLoop:
    """Turns offered rows into claimed messages.

    Args:
        backlog: what to claim. in_flight: what is claimed, and so how many more may be. claimant: the claiming process.
        claimed: called with each claimed message; must record it without waiting. may_send: whether a send that begins
            now ends within the process's lease.
    """

    def __init__(
        self,
        store: Store,
        backlog: Backlog,
        in_flight: InFlight,
        claimant: Claimant,
        *,
        claimed: Callable[[OutboundMessage], None],
        may_send: Callable[[], bool],
    ) -> None:
        self._store, self._backlog, self._in_flight, self._claimant = store, backlog, in_flight, claimant
        self._claimed, self._may_send = claimed, may_send
        self._work = asyncio.Event()
        self._wakes_later = self._stopping = False
        # rows that can be neither claimed nor parked: left alone until the next start, or the relay would offer them
        # twice a second
        self._untouchable: set[int] = set()

    def offer(self, ids: Iterable[int]) -> None:
        """Claim these rows soon. Rows that are not due, not first in their chat or not ours are dropped by the
        claim."""
        # rows offered from here on stay queued, and another process's relay finds them
        if not self._stopping:
            self._backlog.offer(
                row_id for row_id in ids if row_id not in self._in_flight and row_id not in self._untouchable
            )
            self._work.set()

    def send_ended(self) -> None:
        """Claim soon, since a place is free; under load a little later, so that chats share a claim."""
        wait_s = chat_wait_s(len(self._in_flight), len(self._backlog))
        if not wait_s:
            self._work.set()
        elif not self._wakes_later:
            self._wakes_later = True
            asyncio.get_running_loop().call_later(wait_s, self._work.set)

    def stop(self) -> None:
        """Begin no further claim; `run` returns after the one under way, which may still bring rows."""
        self._stopping = True
        self._work.set()

    async def run(self) -> None:
        """Claim until stopped."""
        check_unknown_at = monotonic() + _UNKNOWN_S
        limiter = RateLimiter()
        while not self._stopping:
            # a waiting connection is of no use while everything is in flight
            tokens_at = self._backlog.due_at() if self._in_flight.free > 0 else inf
            await wait_for_event(self._work, left(min(check_unknown_at, tokens_at)))
            if not self._may_send():
                # A claim would only withhold the rows from other processes. The next heartbeat renews the lease.
                await asyncio.sleep(_LEASE_AWAY_S)
                self._work.set()
                continue
            await limiter.start(claim_interval_s(len(self._in_flight)))
            # before the claim, not after it: an offer that arrives while the claim waits for PostgreSQL must wake the
            # loop again
            self._work.clear()
            self._wakes_later = False
            try:
                while not self._stopping and await self._claim():
                    pass
                if monotonic() >= check_unknown_at and not self._stopping:
                    await self._requeue_unknown()
                    check_unknown_at = monotonic() + _UNKNOWN_S
            except StoreUnavailable as error:
                # the backlog keeps these rows: it drops only those that a claim has answered
                log.warning("claim_failed", reason=str(error), may_be_done=error.may_be_done)
                await asyncio.sleep(_STORE_AWAY_S)
                self._work.set()

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
            claimed = Claimed(messages=[], waits={}, unseen=frozenset(request.connections))
        self._backlog.claimed(request, claimed, self._in_flight.held, monotonic())
        return True

    async def _claim_rows(self, request: ClaimRequest) -> Claimed:
        """Claim once and hand on what was claimed."""
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
            self._claimed(message)
        # no await between commit and here: what is claimed is in the journal before other code of this process runs
        hit("claim.recorded")
        return claimed

    async def _rows_of(self, request: ClaimRequest) -> list[int]:
        """Return the ids of all rows that a request may claim."""
        heads = await self._store.call(messages.chat_heads, request.chats)
        due = await self._store.call(
            messages.due, kind=self._claimant.kind, grace_s=0.0, most=CLAIM_AT_ONCE, connection_ids=request.connections
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
                incarnation=self._claimant.incarnation,
                code="unclaimable",
                detail=type(error).__name__,
            )
        except StoreUnavailable:
            raise
        except Exception as problem:
            # parking failed as well: this process leaves the row alone
            log.error("row_not_parked", exc_info=problem, message_id=row_id)
            self._untouchable.add(row_id)

    async def _requeue_unknown(self) -> None:
        """Requeue rows the table assigns to us that we never received: the claim committed, its reply was lost.

        Only this loop claims, so no claim is under way meanwhile; no other process received these rows, so they are
        surely unsent.
        """
        # what is settled while the query runs may still be in its result, and is not in flight any more afterwards
        before = set(self._in_flight)
        incarnation = self._claimant.incarnation
        held = await self._store.call(messages.held_by, incarnation=incarnation)
        unknown = [row_id for row_id in held if row_id not in before and row_id not in self._in_flight]
        if not unknown:
            return
        log.warning("unknown_claims_requeued", rows=len(unknown))
        settlements = [
            Settlement(id=row_id, state=MessageState.QUEUED, code="claim_unknown", counts=False) for row_id in unknown
        ]
        await self._store.call(messages.settle, incarnation=incarnation, settlements=settlements)
        self.offer(unknown)
