"""Requests over aiohttp."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp

from bulkhead_client.errors import Unreachable
from bulkhead_client.wire import Answer, Request

_FAILURES = (aiohttp.ClientError, TimeoutError, OSError)


class AiohttpTransport:
    """Connections to one installation.

    Args:
        url: its address. headers: of every request. session: the caller's own, which is then not closed.
    """

    def __init__(self, url: str, headers: Mapping[str, str], session: aiohttp.ClientSession | None = None) -> None:
        self._url, self._headers, self._session, self._is_own = url.rstrip("/"), dict(headers), session, session is None

    async def exchange(self, request: Request, timeout_s: float) -> Answer:
        """Return the answer, whatever its status. Raises `Unreachable` when there is none in time."""
        try:
            async with self._connections().request(
                request.method,
                self._url + request.target,
                headers={**self._headers, **request.headers},
                data=request.body,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as answer:
                return Answer(status=answer.status, headers=_lowered(answer.headers), body=await answer.read())
        except _FAILURES as error:
            raise Unreachable(f"{request.method} {request.path}: {type(error).__name__}") from error

    async def lines(self, request: Request, idle_s: float) -> AsyncIterator[str]:
        """Give the lines of an answer that does not end, without line breaks.

        Raises:
            Problem: a refusal. Unreachable: the connection broke, or nothing came for `idle_s`.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=idle_s, sock_read=idle_s)
        headers = {**self._headers, **request.headers}
        try:
            async with self._connections().request(
                request.method, self._url + request.target, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                if answer.status >= 400:
                    body = await answer.read()
                    Answer(status=answer.status, headers=_lowered(answer.headers), body=body).require_success()
                rest = b""
                # chunks, since aiohttp's reader of lines refuses long ones
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield line.decode()
        except _FAILURES as error:
            raise Unreachable(f"{request.method} {request.path}: {type(error).__name__}") from error

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def now(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    async def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        if self._session is not None and self._is_own:
            await self._session.close()

    def _connections(self) -> aiohttp.ClientSession:
        # made on first use: it belongs to the running event loop
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
