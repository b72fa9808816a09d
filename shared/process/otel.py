"""The only door to OpenTelemetry's library: spans over OTLP by HTTP, as the standard variables say. Loaded by processes
that trace.
"""

from __future__ import annotations

import os
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags

from shared.origin import continued, random_id, trace_id
from shared.process.tracing import TraceSpan

_SERVICE: Final = "bulkhead"
"""Name of the service unless OTEL_SERVICE_NAME, or OTEL_RESOURCE_ATTRIBUTES, has another."""
_KINDS: Final = {"server": trace.SpanKind.SERVER, "client": trace.SpanKind.CLIENT, "consumer": trace.SpanKind.CONSUMER}
_NANOSECONDS: Final = 1_000_000_000


class _GivenIds(IdGenerator):
    """Ids that were given away before their span is made, or new ones."""

    def __init__(self) -> None:
        self.context = ""

    def generate_trace_id(self) -> int:
        return int(trace_id(self.context) if self.context else random_id(16), 16)

    def generate_span_id(self) -> int:
        return int(_span_id(self.context) if self.context else random_id(8), 16)


class OtelTracer:
    """Records spans by the library, which sends them from a thread of its own and drops what is too much; a
    `shared.process.tracing.Tracer`.

    Args:
        kind, slot, incarnation: of this process, for the resource that spans belong to.
    """

    is_on = True

    def __init__(self, *, kind: str, slot: str, incarnation: str) -> None:
        self._ids = _GivenIds()
        resource = Resource.create(
            {
                "service.instance.id": f"{os.uname().nodename}/{incarnation or slot}",
                "bulkhead.kind": kind,
                "bulkhead.slot": slot,
            }
        )
        # what the library says where no variable names one
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": _SERVICE}))
        # the sampler is the one that OTEL_TRACES_SAMPLER names
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("bulkhead")

    def continued(self, traceparent: str) -> str:
        """See `Tracer`. A trace that begins here is recorded if the sampler says so, which every process then reads
        from its flag.
        """
        own = continued(traceparent)
        parent = _context_of(traceparent, of_trace=own)
        decided = self._provider.sampler.should_sample(
            None if parent is None else trace.set_span_in_context(NonRecordingSpan(parent)),
            int(trace_id(own), 16),
            "",
        )
        return f"{own[:53]}{'01' if decided.decision is Decision.RECORD_AND_SAMPLE else '00'}"

    def record(self, span: TraceSpan) -> None:
        """See `Tracer`."""
        parent = _context_of(span.parent, of_trace=span.context)
        self._ids.context = span.context
        try:
            made = self._tracer.start_span(
                span.name,
                context=trace.set_span_in_context(trace.INVALID_SPAN if parent is None else NonRecordingSpan(parent)),
                kind=_KINDS[span.kind],
                attributes=span.attributes,
                start_time=round(span.began_at * _NANOSECONDS),
            )
        finally:
            self._ids.context = ""
        if span.error:
            made.set_status(StatusCode.ERROR, span.error)
        made.end(round(max(span.began_at, span.ended_at) * _NANOSECONDS))

    def close(self, within_s: float) -> None:
        """See `Tracer`."""
        self._provider.force_flush(round(within_s * 1000))


def _context_of(traceparent: str, *, of_trace: str) -> SpanContext | None:
    """Return a trace context as the library has it; None for none, and for one that `of_trace` did not continue."""
    if not traceparent or (of_trace and trace_id(traceparent) != trace_id(of_trace)):
        return None
    return SpanContext(
        int(trace_id(traceparent), 16),
        int(_span_id(traceparent), 16),
        is_remote=True,
        trace_flags=TraceFlags(int(traceparent[53:55], 16)),
    )


def _span_id(traceparent: str) -> str:
    return traceparent[36:52]
