"""HTTP client of `shared.media.fetch`, which imports this module on first use; one of the doors to aiohttp."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import SplitResult, urljoin

import aiohttp

from shared.media.errors import FetchFailed
from shared.media.files import CHUNK_BYTES
from shared.media.guard import SocketGuard
from shared.media.reach import Reach

_CONNECT_S: Final = 5.0
"""Longest wait for a connection to one address, in seconds."""
_READ_S: Final = 20.0
"""Longest silence within a response, in seconds; the whole file has a deadline of its own (`fetch`)."""


class WireResponse:
    """One response: its status and headers have been read, its body has not."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "")
        self.encoding = response.headers.get("Content-Encoding", "").strip().lower()

    def elsewhere(self) -> str:
        """Return the target of a redirect."""
        return urljoin(str(self._response.url), self._response.headers.get("Location", ""))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body in chunks. Raises `FetchFailed` when the connection breaks."""
        try:
            async for piece in self._response.content.iter_chunked(CHUNK_BYTES):
                yield piece
        except (aiohttp.ClientError, ConnectionError) as error:
            raise FetchFailed("fetch_broken", f"the answer broke off ({type(error).__name__})", passing=True) from None


class Client:
    """Makes requests, one at a time."""

    def __init__(self, session: aiohttp.ClientSession, guard: SocketGuard) -> None:
        self._session, self._guard = session, guard

    @asynccontextmanager
    async def get(self, url: SplitResult, headers: Mapping[str, str]) -> AsyncIterator[WireResponse]:
        """GET one URL without following redirects. Raises `FetchFailed` when it may not be reached, or no response
        comes.
        """
        # the guard's exception arrives wrapped in one of aiohttp: the reason is kept aside
        self._guard.refusal = None
        try:
            response = await self._session.get(url.geturl(), headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, ConnectionError, UnicodeError, ValueError) as error:
            if self._guard.refusal is not None:
                raise self._guard.refusal from None
            # the error's text holds the URL, which may be secret; its class is enough
            raise FetchFailed(
                "fetch_unreachable", f"the address does not answer ({type(error).__name__})", passing=True
            ) from None
        try:
            yield WireResponse(response)
        finally:
            # not released: the rest of a body that was not read is not worth reading
            response.close()


@asynccontextmanager
async def client(reach: Reach) -> AsyncIterator[Client]:
    """Open a client that connects only to addresses that `reach` allows."""
    guard = SocketGuard(reach)
    # a kept connection or a cached name would skip the guard
    connector = aiohttp.TCPConnector(socket_factory=guard, use_dns_cache=False, force_close=True)
    # identity: the size limit counts bytes of the file, not of its packed form
    headers = {"User-Agent": "bulkhead", "Accept-Encoding": "identity"}
    timeout: Any = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S)
    async with aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        timeout=timeout,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        # a proxy would connect in our place, past the guard
        trust_env=False,
    ) as session:
        yield Client(session, guard)
