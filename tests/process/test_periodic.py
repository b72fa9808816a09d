"""Loops over a database that goes away and comes back, that are woken, and that are stopped."""

from __future__ import annotations

import asyncio
import json

import pytest

from shared import logs
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.process.beats import Beats
from shared.process.periodic import repeat, until_available, wait_for_event
from tests.support.waiting import deadline_s


class Clocked:
    """Work that fails as reported, and stops its loop after the last run."""

    def __init__(self, *outcomes: Exception | float | None) -> None:
        self.outcomes, self.runs, self.stop = list(outcomes), 0, asyncio.Event()

    async def __call__(self) -> float | None:
        self.runs += 1
        outcome = self.outcomes.pop(0)
        if not self.outcomes:
            self.stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def events(text: str) -> list[str]:
    """Return the names of the log events in `text`."""
    return [json.loads(line)["event"] for line in text.splitlines()]


def test_an_outage_is_waited_out_and_logged_once(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info", kind="test")
    away = StoreUnavailable("the database is away"), QueueUnavailable("Redis is away")

    async def run() -> int:
        work = Clocked(None, *away, *away, 0.0, None)
        async with asyncio.timeout(deadline_s(10.0)):
            await repeat("work", work, 0.0, stop=work.stop, away_s=0.001)
        return work.runs

    assert asyncio.run(run()) == 7
    out, err = capfd.readouterr()
    assert (events(err), events(out)) == (["periodic_work_delayed"], ["periodic_work_resumed"])


def test_an_error_that_is_not_an_outage_ends_the_loop() -> None:
    async def run() -> None:
        work = Clocked(ValueError("a bug"), None)
        await repeat("work", work, 0.0, stop=work.stop)

    with pytest.raises(ValueError, match="a bug"):
        asyncio.run(run())


def test_a_wake_up_ends_the_pause_also_when_it_comes_during_a_run() -> None:
    async def run() -> list[str]:
        wake, stop, seen = asyncio.Event(), asyncio.Event(), list[str]()

        async def work() -> None:
            seen.append("run")
            if len(seen) == 1:
                wake.set()
            elif len(seen) == 2:
                asyncio.get_running_loop().call_soon(wake.set)
            else:
                stop.set()

        async with asyncio.timeout(deadline_s(10.0)):
            await repeat("work", work, 3600.0, wake=wake, stop=stop)
        return seen

    assert asyncio.run(run()) == ["run", "run", "run"]


def test_a_stop_ends_the_pause_and_a_run_beats() -> None:
    async def run() -> bool:
        now = [0.0]
        beat = Beats(lambda: now[0]).loop("work", 5.0)
        now[0] = 6.0
        stop = asyncio.Event()

        async def work() -> None:
            asyncio.get_running_loop().call_soon(stop.set)

        async with asyncio.timeout(deadline_s(10.0)):
            await repeat("work", work, 3600.0, stop=stop, beat=beat)
        return beat.is_fresh

    assert asyncio.run(run())


def test_a_call_is_repeated_until_it_is_taken() -> None:
    async def run() -> str:
        outcomes: list[Exception | str] = [StoreUnavailable("away"), StoreUnavailable("away"), "done"]

        async def call() -> str:
            if isinstance(outcome := outcomes.pop(0), Exception):
                raise outcome
            return outcome

        async with asyncio.timeout(deadline_s(10.0)):
            return await until_available("call", call, away_s=0.001)

    assert asyncio.run(run()) == "done"


def test_waiting_for_an_event_returns_whether_it_was_set() -> None:
    async def run() -> tuple[bool, bool]:
        event = asyncio.Event()
        before = await wait_for_event(event, 0.01)
        event.set()
        return before, await wait_for_event(event, 10.0)

    assert asyncio.run(run()) == (False, True)
