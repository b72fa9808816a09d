"""Fetches files that messages name by URL, as Meta does; only when a knob enables it, and only from this machine. A
door to aiohttp.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from sandbox.media import HEAD, is_animated

_MOST: Final = 100 * 1024 * 1024
"""Bytes after which a download is abandoned: Meta's limit for documents, the largest type."""
_WITHIN_S: Final = 10.0
"""Seconds for one file: the send waits for it."""


@dataclass(frozen=True, slots=True)
class Linked:
    """The result of a download: a file (sha256, size, mime_type, is_animated), or the problem."""

    sha256: str = ""
    size: int = 0
    mime_type: str = ""
    is_animated: bool = False
    problem: str = ""


class Links:
    """Fetches one file at a time."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, address: str) -> Linked:
        """Fetch a file; a failure is part of the result, not an exception."""
        if not _is_here(address):
            return Linked(problem="the sandbox fetches from this machine only")
        # made on first use, since a session needs a running event loop and the knob is usually off
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        digest, size, head = hashlib.sha256(), 0, b""
        try:
            # no redirects: they could lead away from this machine
            async with asyncio.timeout(_WITHIN_S), self._session.get(address, allow_redirects=False) as answer:
                if answer.status != 200:
                    return Linked(problem=f"HTTP {answer.status}")
                async for piece in answer.content.iter_any():
                    size += len(piece)
                    if size > _MOST:
                        return Linked(problem="larger than any file that may be sent")
                    digest.update(piece)
                    head += piece[: HEAD - len(head)]
                return Linked(digest.hexdigest(), size, answer.content_type, is_animated(answer.content_type, head))
        # a failure is a result: Meta reports it by a `failed` status (ValueError: a URL that yarl refuses)
        except (aiohttp.ClientError, ConnectionError, TimeoutError, ValueError) as error:
            return Linked(problem=type(error).__name__)

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()


def _is_here(address: str) -> bool:
    try:
        return ipaddress.ip_address(urlsplit(address).hostname or "").is_loopback
    except ValueError:
        return False
