"""HTTP client for Meta and 360dialog, this room's only door to aiohttp.

Distinguishes requests that surely never left from those that may have been carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import aiohttp

from meta.redaction import redacted, secrets_of
from shared.clock import left

_CONNECT_S: Final = 5.0
"""Seconds for one TCP connection: enough for two lost SYN packets, which Linux sends again after 1 and 3 s."""
_KEEPALIVE_S: Final = 15.0
"""Seconds. Idle connections are closed by us before the other side would: a request that meets a connection being
closed is in doubt for nothing.
"""
_DNS_S: Final = 60
"""Seconds for which a resolved address is used: for at most that long, sends go to one that the provider has withdrawn.
"""
_LONGEST_ANSWER: Final = 256 * 1024
"""Bytes. The longest answer is a page of 100 templates, of one to two KB each."""

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


class _Progress:
    """Progress of one request, reported by aiohttp's tracing.

    Args:
        writing: awaited before the body leaves; None when headers alone may be a whole request.
    """

    __slots__ = ("_writing", "may_be_written", "refusal")

    def __init__(self, writing: Callable[[], Awaitable[None]] | None) -> None:
        self._writing = writing
        self.may_be_written = False
        self.refusal: Exception | None = None

    async def headers(self) -> None:
        self.may_be_written = self._writing is None

    async def body(self) -> None:
        if self._writing is None or self.may_be_written:
            return
        try:
            await self._writing()
        except Exception as refusal:
            # aiohttp would make a network fault of it
            self.refusal = refusal
            raise
        self.may_be_written = True


async def _headers(_session: aiohttp.ClientSession, context: Any, _parameters: Any) -> None:
    # called with the connection in hand, before anything is written
    await context.trace_request_ctx.headers()


async def _body(_session: aiohttp.ClientSession, context: Any, _parameters: Any) -> None:
    # called right before the body is written, and the headers with it: so what a killed process had recorded has nearly
    # always left. An error here closes the connection, and nothing leaves
    await context.trace_request_ctx.body()


class GraphClient:
    """One pool of connections, reused for every send of this process. Needs a running event loop.

    Args:
        connections: most at once; sends beyond wait for one within their deadline.
    """

    def __init__(self, *, connections: int) -> None:
        # aiohttp's only hooks between "there is a connection" and "the request is written": exceptions alone do not
        # show the difference, since a cut connection looks the same before and after
        tracing = aiohttp.TraceConfig()
        tracing.on_request_headers_sent.append(_headers)
        tracing.on_request_chunk_sent.append(_body)
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
        progress = _Progress(writing)
        try:
            async with (
                asyncio.timeout(left(by)),
                self._session.post(
                    endpoint.url, data=body, headers=endpoint.headers, allow_redirects=False, trace_request_ctx=progress
                ) as response,
            ):
                return await _answer(response, secrets_of(endpoint.headers, _NONE))
        except UnicodeError as error:
            # a host name that no resolver takes; what is wrong stands in the settings
            return RequestUnwritten(type(error).__name__)
        except TRANSPORT_FAILURES as error:
            if progress.refusal is not None:
                raise progress.refusal from None
            # the error's text may hold the address; its class is the reason
            reason = type(error).__name__
            return RequestUnanswered(reason) if progress.may_be_written else RequestUnwritten(reason)

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
        # no message is sent, so nothing is recorded; headers alone may be a whole request (GET)
        progress = _Progress(None)
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
                return await _answer(response, secrets_of(headers, params))
        except UnicodeError as error:
            return RequestUnwritten(type(error).__name__)
        except TRANSPORT_FAILURES as error:
            reason = type(error).__name__
            return RequestUnanswered(reason) if progress.may_be_written else RequestUnwritten(reason)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


async def _answer(response: aiohttp.ClientResponse, secrets: tuple[str, ...]) -> GraphAnswer:
    return GraphAnswer(response.status, redacted(await _read(response), secrets), response.headers)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks, length = [], 0
    async for chunk in response.content.iter_any():
        length += len(chunk)
        # the connection is closed, not read to its end; an empty body is unclear, so that a send is in doubt
        if length > _LONGEST_ANSWER:
            response.close()
            return b""
        chunks.append(chunk)
    return b"".join(chunks)
