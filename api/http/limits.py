"""Limits on requests: the counting, the refusal, and the headers that help clients to stay within them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Final, Protocol

from starlette.requests import Request
from starlette.types import Message

from api.http.problems import Problem
from shared.tenancy.limits import FILES, MESSAGES, REQUESTS, WAITS, Exceeded, LimitKind, LimitPolicy, Limits
from shared.tenancy.principals import Principal

# draft-ietf-httpapi-ratelimit-headers: what a limit counts, where that is not requests
_UNITS: Final = {FILES: ';qu="content-bytes"', WAITS: ';qu="concurrent-requests"'}
EVENT_STREAM: Final = "text/event-stream"
"""Media type of server-sent events (WHATWG HTML, 9.2)."""
"""A stream of events waits for the next one for as long as it lasts."""


class Counted(Protocol):
    """The properties that determine a request's limits."""

    @property
    def accepts_messages(self) -> bool:
        """Whether it sends a message."""

    @property
    def takes_files(self) -> bool:
        """Whether its body may hold a file."""


class RequestLimits:
    """Counts requests, and refuses those beyond a limit."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    @contextmanager
    def admitted(self, operation: Counted, principal: Principal, request: Request) -> Iterator[Request]:
        """Count a request, and yield it for the duration of the context.

        Raises:
            Problem: a limit of the key, or of its company, is used up.
        """
        policies = principal.policies
        # most keys have no limits
        if not policies:
            yield request
            return
        request.scope["limit_headers"] = lambda: self._headers(policies)
        self._require(policies, REQUESTS)
        if operation.accepts_messages:
            self._require(policies, MESSAGES)
        if operation.takes_files:
            # the body's size is known only as it arrives: here the limit must merely not be used up
            self._require(policies, FILES, 0)
            request = self._counting(request, policies)
        if not _may_wait(request):
            yield request
            return
        with self._limits.waiting(policies) as full:
            if full is not None:
                raise _exceeded(full)
            yield request

    def _require(self, policies: tuple[LimitPolicy, ...], kind: LimitKind, amount: float = 1.0) -> None:
        if (exceeded := self._limits.take(policies, kind, amount)) is not None:
            raise _exceeded(exceeded)

    def _counting(self, request: Request, policies: tuple[LimitPolicy, ...]) -> Request:
        async def receive() -> Message:
            message = await arriving()
            if body := message.get("body"):
                self._limits.spend(policies, FILES, len(body))
            return message

        arriving = request.receive
        return Request(request.scope, receive)

    def _headers(self, policies: tuple[LimitPolicy, ...]) -> list[tuple[bytes, bytes]]:
        state = self._limits.state(policies)
        rules = ", ".join(f'"{policy.label}";q={int(policy.capacity)}{_window(policy)}' for policy, _, _ in state)
        left = ", ".join(
            f'"{policy.label}";r={left}{f";t={full_s}" if full_s else ""}' for policy, left, full_s in state
        )
        return [(b"ratelimit-policy", rules.encode()), (b"ratelimit", left.encode())]


def _may_wait(request: Request) -> bool:
    # a list may come in several headers, of which any can ask for a wait (RFC 9110 5.3)
    return any("wait" in value.lower() for value in request.headers.getlist("prefer")) or any(
        EVENT_STREAM in value.lower() for value in request.headers.getlist("accept")
    )


def _window(policy: LimitPolicy) -> str:
    window = f";w={ceil(policy.capacity / policy.rate)}" if policy.rate else ""
    return window + _UNITS.get(policy.kind, "")


def _exceeded(exceeded: Exceeded) -> Problem:
    label = exceeded.policy.label
    return Problem(
        "limit_exceeded",
        f"The limit {label} is used up.",
        headers={"Retry-After": str(exceeded.wait_s)},
        policy=label,
    )
