"""Spans of a message after it was accepted: how long it waited, how long its send took, and when its statuses came. All
are part of the request that asked for the message.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.clock import utc_now
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Receipt, Retry
from shared.process.tracing import Tracer, TraceSpan
from shared.store import messages, receipts
from shared.store.pool import Transaction


def record_send(tracer: Tracer, message: OutboundMessage, outcome: Outcome, began_at: float) -> None:
    """Record a send, and before the first one the wait for it.

    Args:
        began_at: when the send began, in seconds since 1970.
    """
    if not tracer.is_on or not message.traceparent:
        return
    facts: dict[str, str | int] = {
        "messaging.message.id": str(message.id),
        "bulkhead.company_id": message.company_id,
        "bulkhead.connection_type": message.connection_type,
        "bulkhead.message_type": message.type,
        "bulkhead.attempt": message.attempt,
    }
    if message.attempt == 1:
        waited_since = min(message.created_at.timestamp(), began_at)
        tracer.record(
            TraceSpan(
                name="queue",
                kind="consumer",
                parent=message.traceparent,
                began_at=waited_since,
                ended_at=began_at,
                attributes=facts,
            )
        )
    is_failure = isinstance(outcome, Retry | Dead | InDoubt)
    tracer.record(
        TraceSpan(
            name=f"send {message.connection_type}",
            kind="client",
            parent=message.traceparent,
            began_at=began_at,
            ended_at=utc_now().timestamp(),
            attributes={**facts, "bulkhead.outcome": type(outcome).__name__, "bulkhead.code": outcome.code},
            error=outcome.code if is_failure else "",
        )
    )


def apply_receipts(
    transaction: Transaction, found: Sequence[Receipt], tracer: Tracer
) -> tuple[list[bool], Sequence[TraceSpan]]:
    """Do as `receipts.apply`, and return beside its answer the spans to record once it is committed: each from the
    instant that the provider names to now.
    """
    if not tracer.is_on:
        return receipts.apply(transaction, found), ()
    ids: dict[int, int] = {}
    is_ours = receipts.apply(transaction, found, ids=ids)
    traces = messages.traces(transaction, sorted({*ids.values()}))
    now = utc_now().timestamp()
    spans = [
        TraceSpan(
            name=f"status {receipt.state}",
            kind="consumer",
            parent=traces[ids[position]],
            # a provider's clock may be ahead of ours
            began_at=min(receipt.at.timestamp(), now),
            ended_at=now,
            attributes={"messaging.message.id": str(ids[position])},
            error=receipt.code if receipt.state == "failed" else "",
        )
        for position, receipt in enumerate(found)
        if ids.get(position) in traces
    ]
    return is_ours, spans
