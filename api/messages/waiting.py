"""`Prefer: wait=N`: answer when the message has left, or after N seconds, whichever comes first.

However many clients wait, one query each interval reads the states of all their messages, in each process.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.datastructures import Headers

from shared.clock import left, monotonic
from shared.errors import StoreUnavailable
from shared.states import OPEN_MESSAGE_STATES, MessageState
from shared.store import messages
from shared.store.store import Store

LONGEST_S: Final = 60
"""Seconds: many proxies end a request without an answer after a minute."""
SOON_S: Final = 0.02
"""Seconds between two polls at the start of a wait: most messages leave at once."""
SLOW_S: Final = 0.25
"""Seconds between two polls later: a message that did not leave at once waits for a limit, a retry or its connection.
"""
_SOON_FOR_S: Final = 1.0
"""Seconds of quick polls after the newest wait began."""
# nine digits: a longer number is malformed, and a malformed preference is ignored (RFC 7240 2)
_WAIT: Final = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?', re.IGNORECASE)


def read_wait_s(headers: Headers) -> int:
    """Return the requested wait in seconds, at most `LONGEST_S`; 0 when absent or malformed (RFC 7240)."""
    for value in headers.getlist("prefer"):
        for preference in value.split(","):
            if found := _WAIT.fullmatch(preference.split(";")[0].strip()):
                # RFC 7240 lets the server wait for less; `Preference-Applied` states for how long
                return min(LONGEST_S, int(found[1]))
    return 0


class Waiters:
    """Requests that wait until their messages have left.

    Args:
        stopping: set when the process drains; all waits end then.

    Attributes:
        looks: queries so far.
    """

    def __init__(self, store: Store, stopping: asyncio.Event) -> None:
        self._store, self._stopping = store, stopping
        # no lock: only the event loop touches these, and no step between two awaits leaves them inconsistent
        self._waiting: dict[int, set[asyncio.Future[MessageState | None]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._fresh_until = 0.0
        self._seen: Mapping[int, MessageState] = {}
        self.looks = 0

    async def until_left(self, message_id: int, wait_s: float) -> MessageState | None:
        """Return the message's state once it has left the queue (sent, further, or failed), or its state at the
        deadline or when the process stops.

        Returns:
            None when the database was unavailable; the message is accepted nevertheless.
        """
        left_queue: asyncio.Future[MessageState | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(message_id, set()).add(left_queue)
        self._fresh_until = monotonic() + _SOON_FOR_S
        # the polling task ends in the same step in which it finds no waiter, so that a new one cannot slip in between
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._poll_while_waited_for(), name="waiters")
        stopping = asyncio.ensure_future(self._stopping.wait())
        # the polling task too: if it fails, its waiters must not wait until their deadline
        ends: set[asyncio.Future[Any]] = {left_queue, stopping, self._looking}
        try:
            await asyncio.wait(ends, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # also when the client's request is cancelled: a waiter left behind would keep the polling alive
            stopping.cancel()
            self._forget(message_id, left_queue)
        if left_queue.done():
            return left_queue.result()
        if self._looking.done():
            # with waiters left, it ends only by an error
            self._looking.result()
        return self._seen.get(message_id)

    async def _poll_while_waited_for(self) -> None:
        while self._waiting:
            began = monotonic()
            await self._look()
            interval_s = SOON_S if began < self._fresh_until else SLOW_S
            await asyncio.sleep(left(began + interval_s))

    async def _look(self) -> None:
        # copied: waiters come and go during the query
        asked = list(self._waiting)
        self.looks += 1
        try:
            states = await self._store.call(messages.states, asked)
        except StoreUnavailable:
            # no row counts as left, with the state None: all waiters get their answers now, as accepted
            states = {}
        self._seen = states
        for message_id in asked:
            if (state := states.get(message_id)) not in OPEN_MESSAGE_STATES:
                for waiting in self._waiting.get(message_id, ()):
                    # an earlier poll answered it, and its task has not resumed yet
                    if not waiting.done():
                        waiting.set_result(state)

    def _forget(self, message_id: int, waiting: asyncio.Future[MessageState | None]) -> None:
        others = self._waiting[message_id]
        others.discard(waiting)
        if not others:
            del self._waiting[message_id]
