"""Outermost middleware: correlation id, metrics, one log line per request, and errors as problems."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.addresses import ClientAddresses
from api.http.problems import Problem, database_unavailable
from shared.clock import monotonic, utc_now
from shared.errors import Refused, StoreUnavailable
from shared.logs import correlation_id, logger, origin_fields
from shared.origin import Origin, origin, random_id, trace_id
from shared.process.metrics import Metrics
from shared.process.tracing import NO_TRACER, Tracer, TraceSpan

log = logger(__name__)

# a client's id goes into log lines and a response header: no spaces, quotes or line breaks, and a bounded length
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
# values of a metric's label: methods that a client invents must not become time series
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
# nosniff: a browser must not guess that JSON or a received file is a page. no-referrer: paths hold chat ids, which
# are phone numbers
_ALWAYS: Final = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class RequestMiddleware:
    """ASGI middleware around the router.

    Args:
        app: answers, or raises `Problem`. count_error: called with each unexpected error. addresses: of clients.
        tracer: records each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        count_error: Callable[[BaseException], None],
        addresses: ClientAddresses,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._app, self._count_error, self._addresses, self._tracer = app, count_error, addresses, tracer
        self._requests = metrics.counter("http_requests", "Requests answered.", ("route", "method", "status"))
        self._seconds = metrics.histogram("http_request_seconds", "Time from request to answer.", ("route",))
        self._counters: dict[tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]] = {}
        self._problems = metrics.counter("http_problems", "Requests refused, by problem type.", ("type",))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises nothing but a cancellation."""
        # not reached with our server, which refuses upgrades; the router would raise on a websocket scope
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        started_at = monotonic()
        # determined once, so that guesses, audit and log use the same address
        scope["client"] = (self._addresses.of(scope), 0)
        request_id = _request_id(scope)
        # never reset: each request is a task, with a context of its own
        correlation_id.set(request_id)
        given = _header(scope, b"traceparent")
        traceparent = self._tracer.continued(given)
        origin.set(Origin(request_id=request_id, traceparent=traceparent))
        origin_fields.set({"trace_id": trace_id(traceparent)})
        extra = [(b"x-request-id", request_id.encode()), *_ALWAYS]
        status = 0

        # headers are added here, so that every response has them
        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                limits = scope["limit_headers"]() if "limit_headers" in scope else ()
                message = {**message, "headers": [*message["headers"], *extra, *limits]}
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            # nginx's status for a disconnected client: for logs and metrics only, since nothing can be sent
            status = 499
        except Exception as error:
            # not BaseException: a cancellation must end the task by the drain's deadline
            problem = self._problem(error)
            # the head is sent, and a problem would be read as part of the body: the server closes a connection whose
            # answer is incomplete, by which the client notices
            if status and isinstance(error, Problem):
                log.info("response_ended", problem=problem.name)
            elif status:
                log.error("response_aborted", exc_info=error)
            else:
                self._problems.labels(problem.name).inc()
                await problem.response(request_id)(scope, receive, answer)
        self._record(scope, status, monotonic() - started_at)
        if self._tracer.is_on:
            self._trace(scope, status, given, traceparent, monotonic() - started_at)

    def _problem(self, error: Exception) -> Problem:
        if isinstance(error, Problem):
            return error
        if isinstance(error, Refused):
            return Problem.of(error)
        if isinstance(error, StoreUnavailable):
            return database_unavailable(error)
        # any other error is a bug: it counts as an error of the process, and its traceback is logged
        self._count_error(error)
        log.error("request_failed", exc_info=error)
        return Problem("internal_error", "The request failed unexpectedly.")

    def _trace(self, scope: Scope, status: int, given: str, traceparent: str, seconds: float) -> None:
        now = utc_now().timestamp()
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = _route(scope)
        self._tracer.record(
            TraceSpan(
                name=f"{method} {route}",
                kind="server",
                parent=given,
                context=traceparent,
                began_at=now - seconds,
                ended_at=now,
                attributes={
                    "http.request.method": method,
                    "http.route": route,
                    "http.response.status_code": status,
                },
                # of a client's mistake the span is none (OpenTelemetry's conventions for HTTP servers)
                error=str(status) if status >= 500 else "",
            )
        )

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        counters = self._counters.get((route, method, status))
        if counters is None:
            # cached, since the look-up costs more than counting; routes, methods and statuses are few
            counters = self._counters[route, method, status] = (
                self._requests.labels(route, method, status).inc,
                self._seconds.labels(route).observe,
            )
        count, observe = counters
        count()
        observe(seconds)
        facts = {"method": method, "route": route, "status": status, "duration_ms": round(seconds * 1000, 2)}
        # to find the source of guesses; other clients' addresses are not logged
        if status == 401 and scope.get("client"):
            facts["client"] = scope["client"][0]
        # a line for each accepted message would be most of the log
        if status < 400:
            log.debug("request_answered", **facts)
        else:
            log.info("request_answered", **facts)


def _route(scope: Scope) -> str:
    # the template, never the path itself: chat ids are phone numbers; "none" where the router found no path
    return getattr(scope.get("endpoint"), "path", "none")


def _header(scope: Scope, sought: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == sought), "")


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    # 64 random bits: no two requests within the life of a log share it
    return random_id(8)
