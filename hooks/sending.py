"""Posts deliveries: whole within a deadline, to addresses that may be reached, and reading little of the answer. An
answer's status is all that counts; no subscriber has so many connections that others wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from shared.clock import left, monotonic
from shared.http_client.connection import AnswerLimits, HttpAnswer
from shared.http_client.errors import NotAnswered, NotWritten
from shared.http_client.names import NameLookups
from shared.http_client.places import PlaceHolder, SharedPlaces, fair_share
from shared.http_client.pool import ConnectionPool
from shared.http_client.request import PORTS, HttpOrigin, HttpTarget, post_target, request_of
from shared.media.guard import SocketGuard
from shared.media.reach import Reach, checked
from shared.retry_after import retry_after_s

WHOLE_S: Final = 15.0
"""Seconds for one delivery, from the look at the name to the head of the answer (Standard Webhooks: 15 to 30)."""
SUBSCRIBERS_MOST: Final = 2000
"""Subscribers of one process: each costs a loop, a place in memory and a connection of its own."""
SHARED_MOST: Final = 1000
"""Further connections, which the subscribers share."""
LIMITS: Final = AnswerLimits(head=16 << 10, body=16 << 10, rest_s=1.0)
"""What a subscriber may answer with. Of the body only so much is read that the connection can be used again."""
_GONE: Final = 410
_WORDS: Final = {
    "TimeoutError": "timeout",
    "PermissionError": "address_refused",
    "InvalidAnswer": "not_http",
    "HeadTooLong": "answer_too_long",
}
"""Words of the log for what went wrong; others are `unreachable` before the request is written, and `cut` later. The
text of an error may hold an address that is secret.
"""
_SAFE: Final = "/%:@!$&'()*+,;=~?"
"""Characters of a target that are not escaped, or are escapes already (RFC 3986 3.3, 3.4)."""


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

    def __init__(self, reach: Reach, *, whole_s: float = WHOLE_S, shared: int = SHARED_MOST) -> None:
        self._reach, self._whole_s = reach, whole_s
        # A kept connection leads to the address that was checked when it was opened; names are looked up for each new
        # one.
        self._pool = ConnectionPool(
            SharedPlaces(shared, fair_share, own=SUBSCRIBERS_MOST),
            LIMITS,
            open_socket=SocketGuard(reach),
            look_up=NameLookups(),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    def target(self, url: str, headers: Mapping[str, str]) -> HttpTarget:
        """Return what does not change between deliveries. Raises `FetchFailed` for an address that may not be reached,
        and `ValueError` for headers that are none.
        """
        parts = checked(url, self._reach)
        origin = HttpOrigin(parts.scheme == "https", str(parts.hostname), parts.port or PORTS[parts.scheme])
        place = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
        try:
            return post_target(origin, place, headers)
        except NotWritten as wrong:
            raise ValueError(f"a header has a line break, or is none ({wrong})") from wrong

    async def post(
        self, target: HttpTarget, body: bytes, headers: Mapping[str, str], holder: PlaceHolder | None = None
    ) -> DeliveryResult:
        """Deliver one body. Raises nothing but a cancellation.

        Args:
            holder: whose share of the connections it takes. A wait for one is no fault of the other end and does not
                count.
        """
        request = request_of(target, headers, body)
        while True:
            try:
                answer = await self._exchange(target.origin, request, holder)
            except NotWritten as problem:
                return DeliveryResult(status=None, error=_WORDS.get(str(problem), "unreachable"))
            except NotAnswered as problem:
                # At least once is promised, not at most once: a request that met the end of a kept connection is
                # repeated on another one.
                if not problem.is_stale:
                    return DeliveryResult(status=None, error=_WORDS.get(str(problem), "cut"))
            else:
                return _result(answer)

    async def _exchange(self, origin: HttpOrigin, request: bytes, holder: PlaceHolder | None) -> HttpAnswer:
        place = await self._pool.enter(holder)
        by = monotonic() + self._whole_s
        # it has a limit of its own, which is shorter
        connection = await self._pool.take(origin, place)
        # a timer of its own costs a third of `asyncio.timeout`, thousands of times a second
        timer = asyncio.get_running_loop().call_later(left(by), connection.expire)
        try:
            return await connection.exchange(request, by)
        finally:
            timer.cancel()
            self._pool.give_back(connection, place)


def _result(answer: HttpAnswer) -> DeliveryResult:
    if 200 <= answer.status < 300:
        return DeliveryResult(status=answer.status)
    wait_s = retry_after_s(answer.field(b"retry-after"), answer.field(b"date"))
    return DeliveryResult(status=answer.status, error=f"http_{answer.status}", retry_after_s=wait_s)
