"""Determines the outcome of messages in doubt, and lets the policy decide about those that stay unknown.

`auto` sends again only with evidence that the message was not sent, and holds it for a human when there is none within
the window; `resend` sends again when the window has passed without proof; `hold` always asks a human. The window begins
anew with each outage, so a message is held after `LONGEST_DOUBT_S` in any case: whatever fails again and again, an
operator sees it. Every decision stands in the message's history. What is held for lack of evidence is checked again
periodically: proof or evidence that comes later moves it, as an operator would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.clock import monotonic
from shared.delivery.channel import Channel
from shared.delivery.webhook_outages import WebhookOutages
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.logs import logger
from shared.messages import Dead, InDoubt, Outcome, Policy, Retry, Sent
from shared.process.metrics import Metrics
from shared.states import MessageState
from shared.store import messages, webhook_evidence
from shared.store.messages import Doubt
from shared.store.store import Store

log = logger(__name__)

INTERVAL_S: Final = 0.5
"""Seconds between polls. Also what absence is measured by: `webhook_outages.OUTAGE_S` allows for several missed
ones."""
LOOK_UP_S: Final = 10.0
"""Longest look-up of one message, in seconds: after it the channel counts as unable to answer, and the other rows go
on."""
HELD_INTERVAL_S: Final = 5.0
"""Seconds between checks of rows that are held for lack of evidence: ten times rarer than of the others, since they
wait for a human and may be many."""
LONGEST_DOUBT_S: Final = 600.0
"""Seconds beyond the window after which a message is held and listed, though outages have kept the window open or
nothing could be queried: five times the longest wait after the death of a process, and soon enough for the people whose
chat waits."""
_MOST: Final = 500
"""Rows of one page: bounds memory when an outage leaves thousands in doubt."""
_AT_ONCE: Final = 20
"""Look-ups under way at once. One that hangs holds up only its batch, for `LOOK_UP_S` at most."""


@dataclass(frozen=True, slots=True)
class Move:
    """Move the row to `state`."""

    state: MessageState
    code: str
    provider_id: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """Leave the row to a human."""

    code: str


def decide(
    found: Outcome | None,
    *,
    policy: Policy,
    doubt_s: float,
    window_s: float,
    age_s: float = 0.0,
    attempts_left: bool = True,
) -> Move | Hold | None:
    """Decide what happens to a message in doubt; pure.

    Args:
        found: what the channel found out, None for nothing. doubt_s: how long it has been in doubt, without outages.
            window_s: how long reconciliation has. age_s: how long ago it was claimed, outages included.
        attempts_left: whether it may be sent again without a human: a provider that takes each attempt and answers none
            would get it without end.
    Returns:
        The move, or None to go on waiting.
    """
    match found:
        case Sent(provider_id=provider_id):
            return Move(MessageState.SENT, "proved_sent", provider_id)
        case Dead(code=code):
            return Move(MessageState.FAILED, code)
        # before the window ends: evidence that it was not sent outweighs the wait
        case Retry() if policy != "hold":
            code = "evidence_unsent"
        case _:
            # InDoubt: there was nothing to ask, so the time for finding out has not begun
            if isinstance(found, InDoubt) or doubt_s < window_s:
                # held and not sent again, whatever the policy: a late proof is still possible, and moves a held message
                is_endless = age_s >= window_s + LONGEST_DOUBT_S
                return Hold("held_by_policy" if policy == "hold" else "no_evidence") if is_endless else None
            if policy != "resend":
                return Hold("held_by_policy" if policy == "hold" else "no_evidence")
            code = "policy_resend"
    if attempts_left:
        return Move(MessageState.QUEUED, code)
    # a mark or an indicator is not worth a chat that waits for a human
    is_harmless = isinstance(found, Retry) and found.code == "harmless_twice"
    return Move(MessageState.FAILED, "attempts_used") if is_harmless else Hold("attempts_used")


class Reconciler:
    """Polls one kind's rows in doubt.

    Args:
        host: this one's name. policy: for companies that have none of their own. window_s: see `decide`. attempts:
            attempts of a message without a human, doubtful ones included. outages: of the kind's webhooks; None for a
            kind without.
        requeued: called with the ids of rows that may be sent again.
    """

    def __init__(
        self,
        store: Store,
        channel: Channel,
        metrics: Metrics,
        *,
        kind: str,
        incarnation: str,
        host: str,
        policy: Policy,
        window_s: float,
        attempts: int,
        outages: WebhookOutages | None,
        requeued: Callable[[list[int]], None],
        worlds: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._store, self._channel, self._outages, self._requeued = store, channel, outages, requeued
        self._kind, self._incarnation, self._policy, self._window_s = kind, incarnation, policy, window_s
        self._host = host
        self._attempts, self._worlds = attempts, worlds
        self._decided = metrics.counter("in_doubt_decisions", "Messages that left doubt, by how.", ("code",))

    async def run(self) -> None:
        """Poll twice a second; never returns."""
        look_at_held = monotonic()
        while True:
            try:
                await self.look()
                if monotonic() >= look_at_held:
                    await self.look(held=True)
                    look_at_held = monotonic() + HELD_INTERVAL_S
            # rows stay in doubt meanwhile, and the missed polls are recorded as an outage: absence counts for nothing
            # then
            except StoreUnavailable as error:
                log.warning("reconcile_delayed", reason=str(error))
            await asyncio.sleep(INTERVAL_S)

    async def look(self, *, held: bool = False) -> None:
        """Process every row in doubt once, or those that are held for lack of evidence. Raises
        `StoreUnavailable`."""
        after = 0
        while True:
            found = await self._store.call(
                messages.in_doubt, kind=self._kind, most=_MOST, held=held, after=after, worlds=self._worlds
            )
            doubts = await self._discounted(found)
            for start in range(0, len(doubts), _AT_ONCE):
                await asyncio.gather(*(self._resolve(doubt) for doubt in doubts[start : start + _AT_ONCE]))
                if self._outages is not None:
                    # per batch: a slow channel must not look like a process that could not receive webhooks
                    self._outages.record_alive()
            if len(found) < _MOST:
                return
            # pages by id, not by offset: rows leave doubt while this loop runs
            after = found[-1].message.id

    async def _discounted(self, doubts: list[Doubt]) -> list[Doubt]:
        if self._outages is None:
            return doubts
        self._outages.record_alive()
        # before this host's next heartbeat: until that the others count nothing as absence
        if unshared := self._outages.unshared():
            await self._store.call(webhook_evidence.share_outages, host=self._host, kind=self._kind, outages=unshared)
            self._outages.shared(len(unshared))
        if not doubts:
            return []
        elsewhere = await self._store.call(
            webhook_evidence.elsewhere,
            host=self._host,
            kind=self._kind,
            since_s=max(doubt.age_s for doubt in doubts) + 1.0,
        )
        return self._outages.discount(doubts, elsewhere)

    async def _look_up(self, doubt: Doubt) -> Outcome | None:
        """Ask the channel; one that hangs or breaks could not be asked, and is no reason to leave the other rows
        alone."""
        try:
            async with asyncio.timeout(LOOK_UP_S):
                return await self._channel.look_up(doubt)
        except StoreUnavailable:
            raise
        except Exception as error:  # a bug in the channel, or its provider's silence: the message stays in doubt
            log.error("look_up_failed", exc_info=error, message_id=doubt.message.id)
            return InDoubt(code="look_up_failed", detail=type(error).__name__)

    async def _resolve(self, doubt: Doubt) -> None:
        found = await self._look_up(doubt)
        # only new proof or evidence moves a held message; its window has passed already
        if doubt.held and found is None:
            return
        policy: Policy = doubt.policy or self._policy
        decision = decide(
            found,
            policy=policy,
            doubt_s=doubt.doubt_s,
            window_s=self._window_s,
            age_s=doubt.age_s,
            attempts_left=doubt.message.attempts_used < self._attempts,
        )
        if decision is None or (doubt.held and isinstance(decision, Hold)):
            return
        row_id = doubt.message.id
        hit("reconcile.found")
        if isinstance(decision, Hold):
            moved = await self._store.call(
                messages.hold,
                message_id=row_id,
                # fence: a webhook may have settled this attempt while the channel was asked
                attempt=doubt.message.attempt,
                code=decision.code,
                incarnation=self._incarnation,
            )
        else:
            moved = await self._store.call(
                messages.resolve,
                message_id=row_id,
                attempt=doubt.message.attempt,
                state=decision.state,
                code=decision.code,
                incarnation=self._incarnation,
                provider_id=decision.provider_id,
            )
        if moved:
            hit("reconcile.resolved")
            self._decided.labels(decision.code).inc()
            log.warning("doubt_resolved", message_id=row_id, code=decision.code, doubt_s=round(doubt.doubt_s, 3))
            if isinstance(decision, Move) and decision.state is MessageState.QUEUED:
                self._requeued([row_id])
