"""Loops that outlive an outage of PostgreSQL or Redis: each kind's periodic work, and single writes that must succeed
in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias, TypeVar

from shared.errors import QueueUnavailable, StoreUnavailable
from shared.logs import logger
from shared.process.beats import LoopBeat

log = logger(__name__)

T = TypeVar("T")
Work: TypeAlias = Callable[[], Awaitable[float | None]]
"""One run. Returns the seconds until the next one, or None for the loop's interval."""

AWAY_S: Final = 0.5
"""Pause before a retry while PostgreSQL or Redis is away: short against a failover, long against a busy loop."""


async def wait_for_event(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait until `event` is set, at most `timeout_s` seconds. Returns whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    # Not the timeout decides: the event may have been set in the same instant.
    return event.is_set()


async def repeat(
    name: str,
    work: Work,
    interval_s: float,
    *,
    wake: asyncio.Event | None = None,
    stop: asyncio.Event | None = None,
    beat: LoopBeat | None = None,
    away_s: float = AWAY_S,
) -> None:
    """Run `work` again and again: `interval_s` after it ended, `away_s` after PostgreSQL or Redis was unavailable.

    Any other error ends the loop and is raised: it is a bug. The first failure of an outage is logged, and its end.

    Args:
        name: of the work, for the log. interval_s: pause between two runs, unless a run returns its own.
        wake: ends the pause early; cleared before each run, so that a set during a run causes another one.
        stop: ends the loop, at the latest after the run under way. None: only cancellation ends it.
        beat: beaten before each run.
    """
    away = False
    while stop is None or not stop.is_set():
        if wake is not None:
            # Before the work, not after it: a wake-up during the work causes another run and is not lost.
            wake.clear()
        if beat is not None:
            beat.beat()
        try:
            pause_s = await work()
        except (StoreUnavailable, QueueUnavailable) as error:
            if not away:
                log.warning("periodic_work_delayed", work=name, reason=str(error))
            away, pause_s = True, away_s
        else:
            if away:
                log.info("periodic_work_resumed", work=name)
            away = False
        await _pause(interval_s if pause_s is None else pause_s, wake, stop)


async def until_available(name: str, call: Callable[[], Awaitable[T]], *, away_s: float = AWAY_S) -> T:
    """Return the result of `call`, repeated until PostgreSQL and Redis are available.

    Args:
        name: of the call, for the log. call: must be safe to repeat after a commit whose answer was lost.
    """
    delayed = False
    while True:
        try:
            return await call()
        except (StoreUnavailable, QueueUnavailable) as error:
            if not delayed:
                log.warning("periodic_work_delayed", work=name, reason=str(error))
            delayed = True
            await asyncio.sleep(away_s)


async def _pause(for_s: float, wake: asyncio.Event | None, stop: asyncio.Event | None) -> None:
    events = [event for event in (wake, stop) if event is not None]
    if not events:
        await asyncio.sleep(for_s)
    elif len(events) == 1:
        await wait_for_event(events[0], for_s)
    else:
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, timeout=for_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # The tasks of both waits end here, or each pause would leave one behind.
            for one in waits:
                one.cancel()
