"""Carries the requests of OpenAI's library over our own client: addresses are decided where they are connected to,
connections are shared fairly among companies, and what was surely not sent is known.
"""

from __future__ import annotations

import asyncio
from typing import Final

import httpx2

from shared.clock import left, monotonic
from shared.http_client.connection import AnswerLimits, HttpAnswer
from shared.http_client.errors import NotAnswered, NotWritten
from shared.http_client.names import NameLookups
from shared.http_client.places import PlaceHolder, SharedPlaces, fair_share
from shared.http_client.pool import ConnectionPool
from shared.http_client.request import PORTS, HttpOrigin, post_target, request_of
from shared.media.guard import SocketGuard
from shared.media.reach import Reach

_CONNECTIONS: Final = 200
"""Calls at once of one process; a model takes seconds for one."""
_LIMITS: Final = AnswerLimits(head=64 << 10, body=32 << 20)
"""A batch of embeddings is some megabytes of JSON."""
_SENT: Final = ("authorization", "api-key", "x-client-request-id", "openai-organization", "openai-project")
"""Headers that leave; the library's own describe this machine."""


class ModelPool:
    """Connections to models. `reach`: which addresses they may lead to."""

    def __init__(self, reach: Reach) -> None:
        self._pool = ConnectionPool(
            SharedPlaces(_CONNECTIONS, fair_share), _LIMITS, open_socket=SocketGuard(reach), look_up=NameLookups(16)
        )

    def transport(self, company_id: str) -> httpx2.AsyncBaseTransport:
        """Return what carries one company's requests."""
        return _Transport(self._pool, PlaceHolder(company_id))

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, pool: ConnectionPool, holder: PlaceHolder) -> None:
        self._pool, self._holder = pool, holder

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Carry one request; its time is the library's limit for reading."""
        by = monotonic() + float(request.extensions.get("timeout", {}).get("read") or 60.0)
        body = await request.aread()
        try:
            url = request.url
            origin = HttpOrigin(url.scheme == "https", url.host, url.port or PORTS[url.scheme])
            headers = {name: request.headers[name] for name in _SENT if name in request.headers}
            target = post_target(origin, url.raw_path.decode("ascii"), headers)
            while True:
                try:
                    answer = await self._exchange(origin, request_of(target, {}, body), by)
                except NotAnswered as problem:
                    # the other end had closed the kept connection before
                    if not problem.is_stale:
                        raise
                else:
                    break
        except NotWritten as problem:
            raise httpx2.ConnectError(str(problem), request=request) from problem
        except NotAnswered as problem:
            kind = httpx2.ReadTimeout if str(problem) == "TimeoutError" else httpx2.ReadError
            raise kind(str(problem), request=request) from problem
        return httpx2.Response(answer.status, headers=list(answer.fields), content=answer.body, request=request)

    async def _exchange(self, origin: HttpOrigin, request: bytes, by: float) -> HttpAnswer:
        try:
            async with asyncio.timeout(left(by)):
                place = await self._pool.enter(self._holder)
                connection = await self._pool.take(origin, place)
        except TimeoutError:
            raise NotWritten("TimeoutError") from None
        timer = asyncio.get_running_loop().call_later(left(by), connection.expire)
        try:
            return await connection.exchange(request, by)
        finally:
            timer.cancel()
            self._pool.give_back(connection, place)
