"""HTTP to the installation under test, as a client makes it; this program's only door to aiohttp. What the network does
is a value, not an error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp

_NETWORK: Final = (aiohttp.ClientError, ConnectionError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `body`: its decoded JSON, None when it is no JSON."""

    status: int
    body: Any


class Calls:
    """Connections to one installation. Use with `async with`.

    Args:
        connections: most at once.
    """

    def __init__(self, connections: int = 200) -> None:
        self._connections = connections

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self._connections), trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(
        self, method: str, url: str, *, within_s: float, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer | None:
        """Make one call. Returns None when no whole answer came in time: whether it was carried out is then unknown."""
        try:
            async with (
                asyncio.timeout(within_s),
                self._session.request(method, url, json=body, headers=headers) as response,
            ):
                content = await response.read()
        except _NETWORK:
            return None
        try:
            return Answer(response.status, json.loads(content))
        except ValueError:
            return Answer(response.status, None)
