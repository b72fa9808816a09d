"""`Prefer: wait=N`: answer when the message has left, or after N seconds, whichever comes first."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from starlette.datastructures import Headers

from shared.clock import left, monotonic
from shared.errors import StoreUnavailable
from shared.states import OPEN_MESSAGE_STATES
from shared.store import messages
from shared.store.pool import Row
from shared.store.store import Store

LONGEST_S: Final = 60
_FIRST_S: Final = 0.01
_GROWTH: Final = 1.5
_SLOWEST_S: Final = 0.25
_WAIT: Final = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?', re.IGNORECASE)


def read_wait_s(headers: Headers) -> int:
    """Return the seconds that the client would wait, at most `LONGEST_S`; 0 when it does not say, or not so that it can be understood (RFC 7240)."""
    for value in headers.getlist("prefer"):
        for preference in value.split(","):
            if found := _WAIT.fullmatch(preference.split(";")[0].strip()):
                return min(LONGEST_S, int(found[1]))
    return 0


async def wait_until_left(store: Store, company_id: str, message_id: int, wait_s: float, stopping: asyncio.Event) -> Row | None:
    """Return the row once it has left the queue (sent, further, or failed), or as it is when the time is over or the process is told to stop.

    Returns:
        None when the database could not be asked; the message is accepted all the same.
    """
    by = monotonic() + wait_s
    pause_s = _FIRST_S
    while True:
        try:
            row = await store.call(messages.by_id, company_id, message_id)
        except StoreUnavailable:
            return None
        if row is None or row["state"] not in OPEN_MESSAGE_STATES or not left(by) or stopping.is_set():
            return row
        await _pause(min(pause_s, left(by)), stopping)
        pause_s = min(_SLOWEST_S, pause_s * _GROWTH)


async def _pause(seconds: float, stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
