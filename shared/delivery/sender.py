"""Sends one claimed message within its time, and turns whatever happens into an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from shared import logs
from shared.clock import monotonic, utc_now
from shared.delivery.channel import Channel
from shared.delivery.delivery_metrics import DeliveryMetrics
from shared.delivery.in_flight import InFlight
from shared.delivery.message_spans import record_send
from shared.errors import Fenced, LeaseEnded, StoreUnavailable
from shared.fail_points import hit
from shared.messages import InDoubt, OutboundMessage, Outcome, Retry
from shared.origin import log_fields
from shared.process.tracing import NO_TRACER, Tracer
from shared.store import messages
from shared.store.store import Store

log = logs.logger(__name__)

CANCEL_S: Final = 2.0
"""Seconds after a send's deadline until its task is cancelled. A channel keeps the deadline itself and knows more about
the outcome; this is for one that hangs."""


class Sender:
    """Carries one message through its channel, and records in the in-flight journal how far it came.

    Args:
        incarnation: the claiming process. send_s: time for one send. may_send: whether a send that begins now ends
            within the process's lease. tracer: records each send.
    """

    def __init__(
        self,
        store: Store,
        channel: Channel,
        in_flight: InFlight,
        metrics: DeliveryMetrics,
        *,
        incarnation: str,
        send_s: float,
        may_send: Callable[[], bool],
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._store, self._channel, self._in_flight, self._metrics = store, channel, in_flight, metrics
        self._incarnation, self._send_s, self._may_send, self._tracer = incarnation, send_s, may_send, tracer

    async def send(self, message: OutboundMessage) -> Outcome | None:
        """Send, and return the outcome; None when the row belongs to another incarnation, or moved on: an outcome of
        ours would overwrite theirs."""
        logs.correlation_id.set(f"m-{message.id}")
        logs.origin_fields.set(log_fields(message.request_id, message.traceparent))
        started, began_at = monotonic(), utc_now().timestamp()
        try:
            outcome = await self._outcome(message, started + self._send_s)
        except Fenced:
            self._metrics.fenced()
            log.warning("send_fenced", message_id=message.id)
            return None
        hit("send.answered")
        # before the outcome is queued for settlement: after a death in between, the journal is the only record of it
        self._in_flight.answered(message, outcome)
        hit("send.recorded")
        self._metrics.send_ended(monotonic() - started)
        record_send(self._tracer, message, outcome, began_at)
        return outcome

    async def _outcome(self, message: OutboundMessage, by: float) -> Outcome:
        """Send by the monotonic instant `by`. Raises `Fenced`; every other failure is an outcome."""
        try:
            async with asyncio.timeout(self._send_s + CANCEL_S):
                return await self._channel.send(message, partial(self._record_token, message), by)
        except Fenced:
            raise
        except TimeoutError:
            # the channel missed its own deadline, so how far the request came is unknown
            return InDoubt(code="send_timeout", detail=f"no answer within {self._send_s:g} s")
        except LeaseEnded as error:
            # raised before the request could leave
            log.warning("send_without_lease", message_id=message.id)
            return Retry(code="lease_ended", detail=str(error), counts=False)
        except StoreUnavailable as error:
            # the token could not be stored, so nothing was sent
            return Retry(code="store_unavailable", detail=str(error), counts=False)
        except Exception as error:
            # a bug in the channel: whether the request was sent is unknown
            log.error("send_crashed", exc_info=error, message_id=message.id)
            return InDoubt(code="send_crashed", detail=type(error).__name__)

    async def _record_token(self, message: OutboundMessage, token: str, link: str = "") -> None:
        # a token that the claim has written is already durable: no round trip of its own for each message
        stored = token == message.token and self._channel.token_at_claim
        if not stored and not await self._store.call(
            messages.record_token,
            message_id=message.id,
            incarnation=self._incarnation,
            token=token,
            link=link,
        ):
            raise Fenced(f"row {message.id} is no longer ours")
        # After the waits above, which may have lasted for minutes: the machine was stopped, or the network cut.
        if not self._may_send():
            raise LeaseEnded("the process's lease may end before the send does")
        # last, with no await after it: until this line a death proves that nothing was sent
        self._in_flight.may_leave(message)
        hit("send.writing")
