"""A receiver of traces by OTLP over HTTP: decodes what comes with the protocol's own messages."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from shared.process.tracing import let_in
from tests.support.waiting import joined


@dataclass(frozen=True, kw_only=True)
class ReceivedSpan:
    """One span; ids in hexadecimal, instants in seconds since 1970."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    began_at: float
    ended_at: float
    attributes: dict[str, Any]
    resource: dict[str, Any]
    error: str


class OtlpReceiver:
    """An HTTP server; `with` ends it.

    Attributes:
        url: for OTEL_EXPORTER_OTLP_ENDPOINT. bodies: what came, as it was sent.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                right = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
                if right:
                    receiver.bodies.append(
                        gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
                    )
                self.send_response(200 if right else 404)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        joined(self._thread, 5)

    def spans(self) -> list[ReceivedSpan]:
        """Return everything that came so far, in order."""
        # imported on use: the suite loads this file where no test of traces runs
        let_in()
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
            ExportTraceServiceRequest,
        )
        from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status  # noqa: PLC0415

        found = []
        for body in list(self.bodies):
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _values(group.resource.attributes)
                for scope in group.scope_spans:
                    found += [
                        ReceivedSpan(
                            name=span.name,
                            kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                            trace_id=span.trace_id.hex(),
                            span_id=span.span_id.hex(),
                            parent_id=span.parent_span_id.hex(),
                            began_at=span.start_time_unix_nano / 1e9,
                            ended_at=span.end_time_unix_nano / 1e9,
                            attributes=_values(span.attributes),
                            resource=resource,
                            error=span.status.message if span.status.code == Status.STATUS_CODE_ERROR else "",
                        )
                        for span in scope.spans
                    ]
        return found


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
