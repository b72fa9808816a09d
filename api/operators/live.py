"""Health as a stream: each change of a process at once, and everything else every few seconds.

It reads the orchestrator's status file, so that processes are shown while PostgreSQL and Redis are away.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.events.feed import Places
from api.http.keys import require_still_valid
from api.http.limits import EVENT_STREAM
from api.http.problems import Problem
from shared.clock import monotonic
from shared.errors import StoreUnavailable

_LOOK_S: Final = 0.25
"""Seconds between two looks at the status file while there are followers: a change is seen well within a second."""
_ALL_S: Final = 2.0
"""Seconds between two observations of everything."""
_FOLLOWERS_MOST: Final = 100
"""Streams of one process: operators and their screens."""
_RECONNECT_MS: Final = 1000

Processes = Callable[[], Awaitable[tuple[list[dict[str, Any]], dict[str, Any]]]]
"""Returns every process and the orchestrator, at once."""
Everything = Callable[[float], Awaitable[Mapping[str, Any]]]
"""Returns the health of all parts, at most so many seconds old, which may take seconds."""


class HealthStream:
    """Makes streams of server-sent events: `processes` when one changes, `health` every two seconds.

    Args:
        stopping: set when the process drains: all streams end then.
    """

    def __init__(self, processes: Processes, everything: Everything, stopping: asyncio.Event) -> None:
        self._processes, self._everything, self._stopping = processes, everything, stopping
        # all of them are of the installation, which gets half of the places
        self._places = Places(_FOLLOWERS_MOST * 2)

    def answer(self, request: Request) -> Response:
        """Return a stream. Raises `Problem` when there are too many."""
        # a place is refused before the head is sent
        with self._places.one(None):
            pass
        return StreamingResponse(self._frames(request), media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})

    async def _frames(self, request: Request) -> AsyncIterator[bytes]:
        yield f"retry: {_RECONNECT_MS}\n\n".encode()
        try:
            with self._places.one(None):
                async for name, body in self._changes(request):
                    yield _frame(name, body)
        except (Problem, StoreUnavailable):
            # the end of the stream: the client connects again, and gets a proper answer
            return

    async def _changes(self, request: Request) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        seen: Sequence[Any] = ()
        observing: asyncio.Future[Mapping[str, Any]] | None = None
        due_at, changed = 0.0, True
        try:
            while not self._stopping.is_set():
                processes, account = await self._processes()
                if (looks := _looks(processes)) != seen:
                    seen, changed = looks, True
                    yield "processes", {"processes": processes, "orchestrator": account}
                # beside the looks, since it takes seconds while PostgreSQL does not answer
                if observing is None and (changed or monotonic() >= due_at):
                    # what is wrong changes with the processes: then an older observation will not do
                    observing = asyncio.ensure_future(self._everything(0.0 if changed else _ALL_S / 2))
                    changed = False
                if observing is not None and observing.done():
                    # it may have begun before the last change
                    yield "health", {**observing.result(), "processes": processes, "orchestrator": account}
                    # a stream may last for days: its key may have been revoked
                    await require_still_valid(request)
                    observing, due_at = None, monotonic() + _ALL_S
                await asyncio.sleep(_LOOK_S)
        finally:
            if observing is not None:
                observing.cancel()


def _looks(processes: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return what counts as a change: not the figures that move all the time."""
    return [
        (one["process"], one["instance"], one["status"], one["state"], one["incarnation"], one["restarts"])
        for one in processes
    ]


def _frame(name: str, body: Mapping[str, Any]) -> bytes:
    # JSON has no line breaks outside of strings, and escapes those inside: one `data` line
    return f"event: {name}\ndata: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
