"""Failures below HTTP: a connection that is cut, a request that is never answered."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


def _abort(receive: Receive) -> None:
    # `receive` is a bound method of uvicorn's request cycle, which holds the transport; middleware that wraps it hides
    # both
    transport: Any = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError(
            "this server does not show its connection; the sandbox's connection faults need uvicorn without wrapping "
            "middleware"
        )
    # abort, not close: close would flush the buffer and end the connection in order
    transport.abort()


class Cut(Response):
    """Closes the connection at once; the client gets no byte."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close the connection."""
        # ASGI has no message that cuts a connection; uvicorn's `receive` belongs to the object that holds it
        _abort(receive)
        while (await receive())["type"] != "http.disconnect":
            pass


class Hang(Response):
    """Answers nothing until the client goes away or `released` is set; then the connection is closed."""

    def __init__(self, released: asyncio.Event) -> None:
        super().__init__()
        self._released = released

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait."""
        # both are awaited: after a client has given up, its request must not stay here until the next reset
        gone = asyncio.ensure_future(self._gone(receive))
        released = asyncio.ensure_future(self._released.wait())
        try:
            await asyncio.wait((gone, released), return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                _abort(receive)
                # the server must have processed the disconnect before this returns, or it logs a response that was
                # never started
                await gone
        finally:
            # also when this request itself is cancelled, as at the server's stop
            gone.cancel()
            released.cancel()

    @staticmethod
    async def _gone(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
