"""The only place in the suite where polling lives. Everything else waits on a condition with a deadline."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.support import environment

_Value = TypeVar("_Value")

POLL_S = 0.01
_SHARE = 5
"""A pause is at least so many times as long as the question before it took: a test that waits leaves the processors to
what it waits for, whether it looks at a variable or opens a connection to a database."""
_LONGEST_PAUSE_S = 0.25
_LONGEST_AWAITED_S = 250.0
"""Below pytest's own limit of a test (setup.cfg): that one is a signal, which does not reach a loop that waits."""
_held_to_time = False
"""Whether the test that runs promises times, see `hold_to_time`."""


class NeverHappened(AssertionError):
    """Raised when a condition did not come true by its deadline."""


def patience_s(within_s: float) -> float:
    """Return how long is waited: workers of a parallel run share the processors, so each allows as much more time as
    there are workers.

    What promises a time is marked `serial`: it runs alone and is held to it.
    """
    return within_s * environment.worker().workers


def hold_to_time(is_held: bool) -> None:
    """Note before each test whether it is held to the times that it names (`serial`)."""
    global _held_to_time  # noqa: PLW0603 - one test runs at a time
    _held_to_time = is_held


def deadline_s(within_s: float) -> float:
    """Return how long a condition is waited for that comes true within so long on an idle machine.

    A test that is not held to a time only wants to end one day: it waits as much longer as others use the processors,
    workers of this run or any other program.
    """
    waiting_each = 0.0 if _held_to_time else os.getloadavg()[0] / (os.cpu_count() or 1)
    return max(patience_s(within_s), within_s * waiting_each)


def patient_by(within_s: float) -> float:
    """Return the monotonic instant by which something happens that takes at most so long on an idle machine: for calls
    that take a deadline which the test does not want to see pass."""
    return time.monotonic() + deadline_s(within_s)


async def within(awaitable: Awaitable[_Value], within_s: float) -> _Value:
    """Return what is awaited. Raises `TimeoutError` when it takes longer than `deadline_s`."""
    return await asyncio.wait_for(awaitable, min(deadline_s(within_s), max(within_s, _LONGEST_AWAITED_S)))


def joined(thread: threading.Thread, within_s: float) -> None:
    """Wait for a thread's end. Raises `NeverHappened`: left alone it would disturb the tests that follow."""
    thread.join(deadline_s(within_s))
    if thread.is_alive():
        raise NeverHappened(f"not within {within_s} s: thread {thread.name} ends")


def _pause_s(asked_at: float, poll_s: float) -> float:
    """Return how long to pause after a question that was asked at a monotonic instant."""
    return max(poll_s, min(_SHARE * (time.monotonic() - asked_at), _LONGEST_PAUSE_S))


def _what(predicate: Callable[..., object], describe: Callable[[], object] | str) -> str:
    said = describe if isinstance(describe, str) else describe()
    return f"{said or getattr(predicate, '__qualname__', predicate)}"


def eventually(
    predicate: Callable[[], _Value],
    within_s: float,
    describe: Callable[[], object] | str = "",
    *,
    poll_s: float = POLL_S,
    ignoring: tuple[type[Exception], ...] = (),
) -> _Value:
    """Return the first true value of `predicate`.

    Args:
        predicate: called until it returns something true. within_s: how long, in seconds, where nothing else uses the
            machine.
        describe: what was waited for, or a function that says what was seen instead; for the failure's text.
        poll_s: shortest time between two questions. ignoring: errors that mean "not yet".
    Raises:
        NeverHappened: it did not come true in time.
    """
    by = time.monotonic() + deadline_s(within_s)
    seen: object = None
    while True:
        asked_at = time.monotonic()
        try:
            if value := predicate():
                return value
            seen = value
        except ignoring as error:
            seen = error
        if time.monotonic() >= by:
            raise NeverHappened(f"not within {within_s} s: {_what(predicate, describe)} (last seen: {seen!r})")
        time.sleep(_pause_s(asked_at, poll_s))


async def eventually_async(
    predicate: Callable[[], Awaitable[_Value]],
    within_s: float,
    describe: Callable[[], object] | str = "",
    *,
    poll_s: float = POLL_S,
) -> _Value:
    """As `eventually`, for a coroutine function and without blocking the event loop."""
    by = time.monotonic() + deadline_s(within_s)
    while True:
        asked_at = time.monotonic()
        if value := await predicate():
            return value
        if time.monotonic() >= by:
            raise NeverHappened(f"not within {within_s} s: {_what(predicate, describe)} (last seen: {value!r})")
        await asyncio.sleep(_pause_s(asked_at, poll_s))


def never(condition: Callable[[], object], for_s: float, what: str) -> None:
    """Watch for so many seconds that a condition does not come true; others' use of the processors changes nothing."""
    by = time.monotonic() + for_s
    while time.monotonic() < by:
        asked_at = time.monotonic()
        assert not condition(), what
        time.sleep(_pause_s(asked_at, POLL_S))
