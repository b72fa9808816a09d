"""`Prefer: wait`: many wait, few ask. The store is a stand-in; `test_sending` waits for real rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from api.messages.waiting import SLOW_S, SOON_S, Waiters
from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.states import MessageState
from shared.store import messages
from tests.support.waiting import deadline_s, within

QUEUED, SENDING, SENT, FAILED = MessageState.QUEUED, MessageState.SENDING, MessageState.SENT, MessageState.FAILED


class Table:
    """Rows in memory, and how often they were looked at."""

    def __init__(self) -> None:
        self.rows: dict[int, MessageState] = {}
        self.asked: list[Sequence[int]] = []
        self.error: Exception | None = None

    async def call(self, function: Any, ids: Sequence[int]) -> dict[int, MessageState]:
        """Answer as `Store.call(messages.states, ids)` does."""
        assert function is messages.states
        self.asked.append(ids)
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return {row_id: self.rows[row_id] for row_id in ids if row_id in self.rows}


def waiters(table: Table, stopping: asyncio.Event | None = None) -> Waiters:
    return Waiters(table, stopping or asyncio.Event())  # type: ignore[arg-type]  # a stand-in for the one method that is used


def test_two_hundred_waiting_clients_cost_one_query_each_interval() -> None:
    async def scenario() -> None:
        table = Table()
        table.rows = dict.fromkeys(range(200), QUEUED)
        waiting = waiters(table)
        began = monotonic()
        answers = [asyncio.create_task(waiting.until_left(row_id, 30)) for row_id in range(200)]
        await asyncio.sleep(0.5)
        for row_id in range(200):
            table.rows[row_id] = SENT
        assert await asyncio.gather(*answers) == [SENT] * 200
        took_s = monotonic() - began
        assert waiting.looks == len(table.asked) <= took_s / SOON_S + 2
        assert took_s < deadline_s(2.0)
        looks = waiting.looks
        await asyncio.sleep(3 * SOON_S)
        assert waiting.looks == looks, "nobody waits, nobody asks"
        table.rows[7] = QUEUED
        assert await waiting.until_left(7, 0.05) is QUEUED, "and it begins again"

    asyncio.run(scenario())


def test_each_wait_ends_as_soon_as_its_own_message_has_left() -> None:
    async def scenario() -> None:
        table = Table()
        table.rows = {1: SENDING, 2: QUEUED}
        waiting = waiters(table)
        one, again, two = (asyncio.create_task(waiting.until_left(row_id, 1.0)) for row_id in (1, 1, 2))
        await asyncio.sleep(0.05)
        table.rows[1] = FAILED
        assert await one is FAILED
        assert await again is FAILED
        assert not two.done()
        began = monotonic()
        assert await two is QUEUED, "as it is when the time is over"
        assert monotonic() - began > 0.1

    asyncio.run(scenario())


def test_long_waits_are_polled_more_rarely() -> None:
    async def scenario() -> None:
        table = Table()
        table.rows = {1: QUEUED}
        waiting = waiters(table)
        await waiting.until_left(1, 2.0)
        # a second of short intervals, then long ones
        assert waiting.looks <= 1 / SOON_S + 1 / SLOW_S + 3

    asyncio.run(scenario())


def test_a_database_that_is_away_ends_the_wait() -> None:
    async def scenario() -> None:
        table = Table()
        table.error = StoreUnavailable("away")
        began = monotonic()
        assert await waiters(table).until_left(1, 30) is None
        assert monotonic() - began < deadline_s(5)

    asyncio.run(scenario())


def test_a_process_that_stops_ends_the_wait() -> None:
    async def scenario() -> None:
        table, stopping = Table(), asyncio.Event()
        table.rows = {1: SENDING}
        answer = asyncio.create_task(waiters(table, stopping).until_left(1, 30))
        await asyncio.sleep(0.1)
        stopping.set()
        assert await within(answer, 2) is SENDING

    asyncio.run(scenario())


def test_a_client_that_disconnects_is_forgotten() -> None:
    async def scenario() -> None:
        table = Table()
        table.rows = {1: QUEUED}
        waiting = waiters(table)
        answer = asyncio.create_task(waiting.until_left(1, 30))
        await asyncio.sleep(0.05)
        answer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answer
        await asyncio.sleep(2 * SOON_S)
        looks = waiting.looks
        await asyncio.sleep(3 * SOON_S)
        assert waiting.looks == looks

    asyncio.run(scenario())


def test_an_unexpected_error_reaches_the_waiting_clients() -> None:
    async def scenario() -> None:
        table = Table()
        table.error = ValueError("a bug")
        with pytest.raises(ValueError, match="a bug"):
            await waiters(table).until_left(1, 30)

    asyncio.run(scenario())
