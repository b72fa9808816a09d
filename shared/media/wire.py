"""HTTP for `shared.media.fetch`, which loads this file when it is needed; one of the doors to aiohttp."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import SplitResult, urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from shared.media.errors import FetchFailed
from shared.media.files import CHUNK_BYTES
from shared.media.reach import Reach, require_reachable

_CONNECT_S: Final = 5.0
_READ_S: Final = 20.0


class _Guarded(AbstractResolver):
    """Names that resolve to what may not be reached do not resolve."""

    def __init__(self, reach: Reach) -> None:
        self._reach, self._inner = reach, ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for row in found:
            require_reachable(row["host"], self._reach)
        return found

    async def close(self) -> None:
        await self._inner.close()


class Answer:
    """One answer: its head is here, its body is to be read."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "")
        self.encoding = response.headers.get("Content-Encoding", "").strip().lower()

    def elsewhere(self) -> str:
        """Return where a redirect leads."""
        return urljoin(str(self._response.url), self._response.headers.get("Location", ""))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Return the body in pieces. Raises `FetchFailed` when it breaks off."""
        try:
            async for piece in self._response.content.iter_chunked(CHUNK_BYTES):
                yield piece
        except (aiohttp.ClientError, ConnectionError) as error:
            raise FetchFailed("fetch_broken", f"the answer broke off ({type(error).__name__})", passing=True) from None


class Client:
    """Makes requests one after another."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @asynccontextmanager
    async def get(self, url: SplitResult, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """GET one address; redirects are answers like others. Raises `FetchFailed` when nobody answers."""
        try:
            response = await self._session.get(url.geturl(), headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, ConnectionError, UnicodeError, ValueError) as error:
            # the error's text holds the address; its class says what happened
            raise FetchFailed(
                "fetch_unreachable", f"the address does not answer ({type(error).__name__})", passing=True
            ) from None
        try:
            yield Answer(response)
        finally:
            response.close()


@asynccontextmanager
async def client(reach: Reach) -> AsyncIterator[Client]:
    """Open a client that reaches only what `reach` allows."""
    connector = aiohttp.TCPConnector(resolver=_Guarded(reach), use_dns_cache=False, force_close=True)
    headers = {"User-Agent": "bulkhead", "Accept-Encoding": "identity"}
    timeout: Any = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S)
    async with aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        timeout=timeout,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    ) as session:
        yield Client(session)
