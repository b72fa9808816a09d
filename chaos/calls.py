"""HTTP calls to the installation under test; this program's only door to aiohttp. A network failure is a value, not an
exception.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp

_NETWORK: Final = (aiohttp.ClientError, ConnectionError, TimeoutError)
"""Network failures of a call. `TimeoutError` is the time limit of `call`; aiohttp does not wrap every connection reset
in an error of its own.
"""


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """A complete response; `body`: its decoded JSON, None for other content."""

    status: int
    body: Any


class Calls:
    """Connections to one installation. Use with `async with`.

    Args:
        connections: most at once. keeps: whether a connection serves several calls.
    Attributes:
        failed: calls without a complete response, by the name of the error.
    """

    def __init__(self, connections: int = 200, *, keeps: bool = True) -> None:
        self._connections, self._keeps = connections, keeps
        self.failed: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        # a proxy named in the environment must not stand between the client and an installation on 127.0.0.1
        connector = aiohttp.TCPConnector(limit=self._connections, force_close=not self._keeps)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(
        self, method: str, url: str, *, within_s: float, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> CallAnswer | None:
        """Make one call. Returns None without a complete response in time; whether the call was carried out is then
        unknown.
        """
        try:
            async with (
                asyncio.timeout(within_s),
                self._session.request(method, url, json=body, headers=headers) as response,
            ):
                content = await response.read()
        # the installation is being broken: a call without an answer is the normal case here, and the caller repeats it
        except _NETWORK as error:
            self.failed[type(error).__name__] += 1
            return None
        try:
            return CallAnswer(response.status, json.loads(content))
        # a response without JSON (a proxy's page, a truncated body) is still a response: its status counts, and the
        # caller judges it
        except ValueError:
            return CallAnswer(response.status, None)
