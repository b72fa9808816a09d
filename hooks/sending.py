"""Posts deliveries: whole within a deadline, to addresses that may be reached, and reading little of the answer. One of
the doors to aiohttp.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp

from shared.clock import left, monotonic, utc_now
from shared.media.errors import FetchFailed
from shared.media.reach import Reach, checked
from shared.media.wire import SocketGuard

WHOLE_S: Final = 15.0
"""Seconds for one delivery, from the look at the name to the head of the answer (Standard Webhooks: 15 to 30)."""
_CONNECT_S: Final = 5.0
_BODY_S: Final = 1.0
_BODY_BYTES: Final = 16 << 10
"""How much of an answer's body is read, and for how long: only so that the connection can be used again."""
_CONNECTIONS: Final = 500
_CONNECTIONS_OF_HOST: Final = 50
_GONE: Final = 410


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryResult:
    """How one delivery went.

    Attributes:
        status: of the answer; None: there was none. error: why it failed; empty: it was taken.
    """

    status: int | None
    error: str = ""
    retry_after_s: float = 0.0

    @property
    def is_taken(self) -> bool:
        """Whether the subscriber has it."""
        return not self.error

    @property
    def is_gone(self) -> bool:
        """Whether the subscriber wants nothing more."""
        return self.status == _GONE


class Poster:
    """Posts bodies; one for the process, so that connections are used again."""

    def __init__(self, reach: Reach, *, whole_s: float = WHOLE_S) -> None:
        self._reach, self._whole_s = reach, whole_s
        # A kept connection leads to the address that was checked when it was opened; names are looked up for each new
        # one.
        connector = aiohttp.TCPConnector(
            socket_factory=SocketGuard(reach),
            use_dns_cache=False,
            limit=_CONNECTIONS,
            limit_per_host=_CONNECTIONS_OF_HOST,
            keepalive_timeout=30.0,
        )
        timeout: Any = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            # a proxy would connect in our place, past the guard
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
        """Deliver one body. Raises nothing but a cancellation."""
        by = monotonic() + self._whole_s
        try:
            parts = checked(url, self._reach)
            async with asyncio.timeout(left(by)):
                response = await self._session.post(parts.geturl(), data=body, headers=headers, allow_redirects=False)
        # the text of an error holds the URL, which may be secret; its class is enough
        except (FetchFailed, TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            return DeliveryResult(status=None, error=_named(error))
        await _finish(response)
        status = response.status
        if 200 <= status < 300:
            return DeliveryResult(status=status)
        return DeliveryResult(status=status, error=f"http_{status}", retry_after_s=_retry_after_s(response.headers))


def _named(error: Exception) -> str:
    """Return what went wrong, in a word."""
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(inner, FetchFailed | PermissionError):
        return "address_refused"
    if isinstance(inner, TimeoutError):
        return "timeout"
    return "unreachable" if isinstance(error, aiohttp.ClientConnectorError) else f"broken ({type(error).__name__})"


async def _finish(response: aiohttp.ClientResponse) -> None:
    """Read a short body to its end, so that the connection can be used again; close the connection of any other."""
    try:
        async with asyncio.timeout(_BODY_S):
            await response.content.readexactly(_BODY_BYTES)
    # the end came first: it is read whole
    except asyncio.IncompleteReadError:
        response.release()
        return
    # the status was received, and decides; how its body ends changes nothing
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()
        return
    response.close()


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Return what `Retry-After` asks for (RFC 9110 10.2.3), 0 for nothing."""
    given = headers.get("Retry-After", "").strip()
    if given.isascii() and given.isdecimal():
        return float(given[:9])
    try:
        at: datetime = parsedate_to_datetime(given)
        return max(0.0, (at - utc_now()).total_seconds())
    # no date, or one without a time zone
    except (ValueError, TypeError):
        return 0.0
