"""HTTP client for Meta and 360dialog: messages by a protocol of our own, files and all other calls by aiohttp, for
which this is the room's only door.

Distinguishes requests that surely never left from those that may have been carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp
from starlette.datastructures import Headers

from meta.redaction import redacted, secrets_of
from shared.clock import left
from shared.http_client.connection import AnswerLimits
from shared.http_client.errors import NotAnswered, NotWritten
from shared.http_client.places import SharedPlaces, first_come
from shared.http_client.pool import ConnectionPool
from shared.http_client.request import PORTS, HttpOrigin, HttpTarget, post_target, request_of

_CONNECT_S: Final = 5.0
"""Seconds for one TCP connection: enough for two lost SYN packets, which Linux sends again after 1 and 3 s."""
_KEEPALIVE_S: Final = 15.0
"""Seconds. Idle connections are closed by us before the other side would: a request that meets a connection being
closed is in doubt for nothing.
"""
_DNS_S: Final = 60
"""Seconds for which a resolved address is used: for at most that long, sends go to one that the provider has withdrawn.
"""
_LONGEST_BODY: Final = 256 * 1024
"""Bytes. The longest answer is a page of 100 templates, of one to two KB each."""
_LIMITS: Final = AnswerLimits(head=64 * 1024, body=_LONGEST_BODY)
"""As long a head as our own port takes; a provider's heads have one to two KB."""
_TARGETS: Final = 4096
"""Addresses that are kept parsed: one for each connection (number, Page) that sends."""

_NONE: Final[Mapping[str, str]] = {}

TRANSPORT_FAILURES: Final[tuple[type[BaseException], ...]] = (aiohttp.ClientError, ConnectionError, TimeoutError)
"""What a network may do at any time: connection refused or cut, no answer in time, an answer that is no HTTP."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one connection's messages are posted, and the header with its credentials."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class GraphAnswer:
    """A whole HTTP response, without the secrets of its request; `body` is empty when it was longer than any of a
    provider's.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RequestUnwritten:
    """No whole request left: there was no connection to write it to, or it broke before."""

    reason: str


@dataclass(frozen=True, slots=True)
class RequestUnanswered:
    """The request may have been written, and no whole answer came."""

    reason: str


GraphReply: TypeAlias = GraphAnswer | RequestUnwritten | RequestUnanswered


@lru_cache(_TARGETS)
def target_of(url: str) -> HttpTarget:
    """Return where a POST to `url` goes. Raises `NotWritten`, also for a host name that no resolver takes."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        name = host if ":" in host else host.encode("idna").decode()
    # the label of a host name, or the port
    except ValueError as error:
        raise NotWritten(type(error).__name__) from error
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme not in PORTS or not host or "@" in parts.netloc:
        raise NotWritten("InvalidAddress")
    return post_target(HttpOrigin(parts.scheme == "https", name, port or PORTS[parts.scheme]), path, _NONE)


class _Progress:
    """Progress of one call, reported by aiohttp's tracing."""

    __slots__ = ("may_be_written",)

    def __init__(self) -> None:
        self.may_be_written = False


async def _writes(_session: aiohttp.ClientSession, context: Any, _parameters: Any) -> None:
    # called with the connection in hand, before anything is written
    context.trace_request_ctx.may_be_written = True


class GraphClient:
    """The connections of this process, reused for every send and call. Needs a running event loop.

    Args:
        connections: most at once for messages, and for other calls; those beyond wait for one within their deadline.
    """

    def __init__(self, *, connections: int) -> None:
        # Origins have no limit of their own: how many sends one number has is the dispatcher's matter.
        self._pool = ConnectionPool(SharedPlaces(connections, first_come), _LIMITS, names_s=_DNS_S)
        # aiohttp's only hook between "there is a connection" and "the request is written": exceptions alone do not show
        # the difference, since a cut connection looks the same before and after. Headers alone may be a whole request
        tracing = aiohttp.TraceConfig()
        tracing.on_request_headers_sent.append(_writes)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=_DNS_S),
            # no total: each call has a deadline of its own, which also covers the wait for a free connection
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            # connections of all companies share this session: a cookie of one must not go with another's requests
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Content-Type": "application/json", "User-Agent": "bulkhead"},
            trace_configs=[tracing],
            # no proxy from the environment: how calls leave must not depend on how the process was started
            trust_env=False,
        )

    async def post(
        self, endpoint: Endpoint, body: bytes, by: float, writing: Callable[[], Awaitable[None]]
    ) -> GraphReply:
        """POST one JSON body. Never raises for what the network does.

        Args:
            by: monotonic instant by which the whole answer must have come.
            writing: awaited when there is a connection and right before the request leaves; what it raises is raised
                here, and nothing left.
        """
        connection = None
        deadline = asyncio.timeout(left(by))
        try:
            target = target_of(endpoint.url)
            request = request_of(target, endpoint.headers, body)
            async with deadline:
                place = await self._pool.enter()
                connection = await self._pool.take(target.origin, place)
                await writing()
                # in the same step of the event loop: what a killed process had recorded has nearly always left
                answer = await connection.exchange(request, by)
        except NotWritten as failed:
            return RequestUnwritten(str(failed))
        except NotAnswered as failed:
            return RequestUnanswered(str(failed))
        except TimeoutError as late:
            # of `writing`, and not the deadline's
            if not deadline.expired():
                raise
            is_written = connection is not None and connection.is_written
            return (RequestUnanswered if is_written else RequestUnwritten)(type(late).__name__)
        finally:
            if connection is not None:
                self._pool.give_back(connection, place)
        return _answer(
            answer.status, Headers(raw=list(answer.fields)), answer.body, secrets_of(endpoint.headers, _NONE)
        )

    async def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        by: float,
        *,
        data: bytes | AsyncIterable[bytes] | None = None,
        params: Mapping[str, str] = _NONE,
    ) -> GraphReply:
        """Make any other call: one that sends no message. Never raises for what the network does.

        Args:
            headers: with Content-Type, and Content-Length when `data` comes in pieces. by: as for `post`.
        """
        progress = _Progress()
        try:
            async with (
                asyncio.timeout(left(by)),
                self._session.request(
                    method,
                    url,
                    data=data,
                    params=params,
                    headers=headers,
                    allow_redirects=False,
                    trace_request_ctx=progress,
                ) as response,
            ):
                return _answer(response.status, response.headers, await _read(response), secrets_of(headers, params))
        except UnicodeError as error:
            return RequestUnwritten(type(error).__name__)
        except TRANSPORT_FAILURES as error:
            reason = type(error).__name__
            return RequestUnanswered(reason) if progress.may_be_written else RequestUnwritten(reason)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()
        await self._session.close()


def _answer(status: int, headers: Mapping[str, str], body: bytes, secrets: tuple[str, ...]) -> GraphAnswer:
    return GraphAnswer(status, redacted(body, secrets), headers)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks, length = [], 0
    async for chunk in response.content.iter_any():
        length += len(chunk)
        # the connection is closed, not read to its end; an empty body is unclear, so that a send is in doubt
        if length > _LONGEST_BODY:
            response.close()
            return b""
        chunks.append(chunk)
    return b"".join(chunks)
