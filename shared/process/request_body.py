"""Request bodies, limited in size and time: gathered in memory within a budget of the process, or as they arrive."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import Refused

PROCESS_BYTES: Final = 256 * 1024 * 1024
"""Most bytes of bodies in memory: a part of what a process may use before its soft memory ceiling drains it."""
OWNER_BYTES: Final = 128 * 1024 * 1024
"""Half of the process's: one company that sends without end leaves room for the others."""
# Name of a request's share in the state of its ASGI scope, by which `read_body` finds it.
_SHARE: Final = "body_share"
BODY_ARRIVED: Final = "body_arrived"
"""Key of a request's ASGI scope that the server sets when it has received the whole body."""
_COUNTED_AT_ONCE: Final = 64 * 1024
"""Bytes that are counted in one step. Bodies below are not counted: how many of them there are is bounded by the number
of connections.
"""


_SILENT_S: Final = 10.0
"""Seconds: longest pause between two pieces of a body that is streamed; a text body has as long in all."""
_STREAM_S: Final = 600.0
"""Seconds for the whole of such a body: the largest file (100 MiB) at 1.4 Mbit/s. Ends uploads that send a byte now and
then.
"""


class BodyTooLarge(Refused):
    """Raised when a body has more bytes than its operation takes."""

    def __init__(self, limit: int) -> None:
        super().__init__("body_too_large", f"The body has more than {limit} bytes.", limit=limit)


class BodyLate(Refused):
    """Raised when a body did not arrive in its time."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("body_late", f"The body did not arrive within {wait_s:g} s.")


class BodyBudgetExhausted(Refused):
    """Raised when the process, or the owner of the request, holds as many bytes of bodies as it may."""

    def __init__(self) -> None:
        super().__init__("too_many_bodies", "Too many bytes of request bodies arrive at once; nothing was accepted.")


class BodyBudget:
    """Counts the bytes of request bodies that are in memory, in all and by owner (a company).

    Args:
        process_bytes, owner_bytes: most bytes at a time.

    Attributes:
        held: bytes in memory now.
    """

    def __init__(self, process_bytes: int = PROCESS_BYTES, owner_bytes: int = OWNER_BYTES) -> None:
        self._process_bytes, self._owner_bytes = process_bytes, owner_bytes
        self.held = 0
        # No lock: all of it runs in the event loop, and nothing awaits between check and count.
        self._by_owner: defaultdict[str, int] = defaultdict(int)

    def acquire(self, owner: str, size: int) -> None:
        """Count `size` bytes more. Raises `BodyBudgetExhausted` when there is no room for them."""
        if self.held + size > self._process_bytes or self._by_owner[owner] + size > self._owner_bytes:
            raise BodyBudgetExhausted
        self.held += size
        self._by_owner[owner] += size

    def release(self, owner: str, size: int) -> None:
        """Count `size` bytes less."""
        self.held -= size
        self._by_owner[owner] -= size
        if not self._by_owner[owner]:
            # Owners come from request paths: invented company ids must not stay in memory.
            del self._by_owner[owner]


class BodyShare:
    """The bytes that one request holds; given back when the request ends."""

    __slots__ = ("_budget", "_held")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        # (owner, bytes): the company is known only when the body is read.
        self._held: list[tuple[str, int]] = []

    def acquire(self, owner: str, size: int) -> None:
        """Count `size` bytes more for this request. Raises `BodyBudgetExhausted`."""
        self._budget.acquire(owner, size)
        self._held.append((owner, size))

    def release(self) -> None:
        """Release all of it."""
        for owner, size in self._held:
            self._budget.release(owner, size)
        self._held.clear()


def with_budget(app: ASGIApp, budget: BodyBudget) -> ASGIApp:
    """Return an application whose requests hold a share of `budget` while they run."""

    async def accounted(scope: Scope, receive: Receive, send: Send) -> None:
        # Given back here and not at the end of reading: the application still holds the bytes while it works.
        share = scope.setdefault("state", {})[_SHARE] = BodyShare(budget)
        try:
            await app(scope, receive, send)
        finally:
            # Also on a disconnect or a cancellation: bytes that are not given back are lost until a restart.
            share.release()

    return accounted


async def read_body(request: Request, *, limit: int, wait_s: float, owner: str = "") -> bytes:
    """Return a request's body.

    Args:
        limit: most bytes. wait_s: time for all of it to arrive. owner: whose share of the budget it counts for.
    Raises:
        BodyTooLarge, BodyLate, BodyBudgetExhausted: see there. ClientDisconnect: the client went away.
    """
    _require_size(request, limit)
    share: BodyShare = request.scope["state"][_SHARE]
    body = bytearray()
    counted = 0
    try:
        # Nothing is waited for when all of it is here, as in most requests: the timer costs more than the reading.
        async with asyncio.timeout(None if BODY_ARRIVED in request.scope else wait_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise BodyTooLarge(limit)
                # In steps, so that a body in many small chunks does not take one entry for each.
                if len(body) - counted >= _COUNTED_AT_ONCE:
                    share.acquire(owner, len(body) - counted)
                    counted = len(body)
    except TimeoutError as error:
        # The limit of the whole body: the server itself limits only the pause between two pieces.
        raise BodyLate(wait_s) from error
    return bytes(body)


async def stream_body(request: Request, *, limit: int) -> AsyncIterator[bytes]:
    """Yield a body as it arrives. It is never in memory as a whole, and so needs no share of the budget.

    Args:
        limit: most bytes.
    Raises:
        BodyTooLarge, BodyLate: see there. ClientDisconnect: the client went away.
    """
    _require_size(request, limit)
    stream, size = request.stream(), 0
    # two limits: for the pause and for the whole; one timer serves both
    by = asyncio.get_running_loop().time() + _STREAM_S
    while True:
        try:
            async with asyncio.timeout_at(min(by, asyncio.get_running_loop().time() + _SILENT_S)):
                piece = await anext(stream)
        except StopAsyncIteration:
            # the end of the body; inside a generator this exception would become a RuntimeError
            return
        except TimeoutError as error:
            raise BodyLate(_SILENT_S) from error
        size += len(piece)
        if size > limit:
            raise BodyTooLarge(limit)
        yield piece


def _require_size(request: Request, limit: int) -> None:
    # Before a byte is read: a client that waits for `100 Continue` then sends nothing. A length that is missing or
    # wrong is caught while the body arrives.
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise BodyTooLarge(limit)
