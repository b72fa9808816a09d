"""On the event loop the store waits without threads, and without holding the loop: deadlines, places and lost
connections are those of a thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.store.pool import Transaction
from shared.store.store import ping
from tests.delivery.env import run, soon
from tests.store.env import StoreEnv, backends, cut, open_store
from tests.store.test_pool import SLACK_S, Frozen, Silent
from tests.support.database import query
from tests.support.waiting import deadline_s

T = TypeVar("T")
TICK_S = 0.005
UNNOTICED_S = 1.0
"""Less than what is waited for, and more than a busy machine keeps a process from its turn."""


def statement(text: str) -> Callable[[Transaction], object]:
    """Return a function of the store that runs one nameless statement."""

    def work(transaction: Transaction) -> object:
        transaction._cursor.execute(text)
        return transaction._cursor.fetchall() if transaction._cursor.description else None

    return work


async def longest_stall(work: Awaitable[T]) -> tuple[T | BaseException, float]:
    """Return the outcome of `work`, and the longest time in seconds for which the event loop stood still meanwhile."""
    task = asyncio.ensure_future(work)
    longest, last = 0.0, monotonic()
    while not task.done():
        await asyncio.sleep(TICK_S)
        now = monotonic()
        longest, last = max(longest, now - last), now
    return task.exception() or task.result(), longest


def test_the_loop_goes_on_and_no_thread_waits(env: StoreEnv) -> None:
    async def scenario() -> None:
        store = open_store(env.url, limit=3)
        await asyncio.gather(*(store.call(ping) for _ in range(3)))
        threads = threading.active_count()
        sleeping = asyncio.gather(*(store.call(statement("SELECT pg_sleep(1.5)")) for _ in range(3)))
        await soon(lambda: store.stats.in_use == 3, "all are under way")
        assert threading.active_count() == threads
        _, stalled = await longest_stall(sleeping)
        assert stalled < UNNOTICED_S
        store.close()

    run(scenario())


@pytest.mark.parametrize("rounds", [1, 200])
def test_more_callers_than_connections_take_turns(env: StoreEnv, rounds: int) -> None:
    async def scenario() -> None:
        store = open_store(env.url, limit=2, name="turns")
        # connected before, since connecting takes how long it takes
        await asyncio.gather(store.call(ping), store.call(ping))
        order: list[int] = []

        def note(transaction: Transaction, number: int) -> None:
            order.append(number)
            # without a statement it would not wait, and none would need a turn
            ping(transaction)

        await asyncio.gather(*(store.call(note, number) for number in range(5 * rounds)))
        # two are served at once: each comes at most one place early
        assert all(abs(number - place) <= 1 for place, number in enumerate(order))
        assert (store.stats.in_use, store.stats.waiting, store.stats.opened) == (0, 0, 2)
        store.close()

    run(scenario())


def test_a_caller_that_gets_no_turn_in_time_leaves_its_place_to_the_next(env: StoreEnv) -> None:
    async def scenario() -> None:
        store = open_store(env.url, limit=1)
        holding = asyncio.create_task(store.call(statement("SELECT pg_sleep(0.6)")))
        await soon(lambda: store.stats.in_use == 1, "it holds the only connection")
        with pytest.raises(StoreUnavailable, match="in use"):
            await store.call_by(monotonic() + 0.2, ping)
        await store.call_by(monotonic() + 5, ping)
        await holding
        assert (store.stats.in_use, store.stats.waiting) == (0, 0)
        store.close()

    run(scenario())


def test_a_thread_and_the_loop_hand_places_to_each_other(env: StoreEnv) -> None:
    async def scenario() -> None:
        store = open_store(env.url, limit=1, query_s=10.0)

        def in_thread() -> None:
            for _ in range(50):
                store.run(ping)

        others = [asyncio.create_task(asyncio.to_thread(in_thread)) for _ in range(2)]
        for _ in range(50):
            await store.call(ping)
        await asyncio.gather(*others)
        assert (store.stats.in_use, store.stats.waiting) == (0, 0)
        assert store.stats.opened == 1
        store.close()

    run(scenario())


def test_what_a_cancelled_caller_began_goes_on_to_its_end(env: StoreEnv) -> None:
    async def scenario() -> None:
        store = open_store(env.url, limit=1)
        (row_id,) = env.accept("a")
        task = asyncio.create_task(
            store.call(
                statement(
                    f"UPDATE messages SET error_detail = 'done' WHERE id = {row_id} AND pg_sleep(0.2) IS NOT NULL"
                )
            )
        )
        await soon(lambda: store.stats.in_use == 1, "it is under way")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await soon(lambda: store.stats.idle == 1, "its connection came back")
        assert query(env.url, "SELECT error_detail FROM messages WHERE id = %(id)s", id=row_id) == [
            {"error_detail": "done"}
        ]
        store.close()

    run(scenario())


def test_a_frozen_server_is_given_up_and_its_socket_is_not_watched_any_more(env: StoreEnv) -> None:
    async def scenario() -> None:
        store = open_store(env.url, limit=2, name="frozen-loop")
        await store.call(ping)
        with Frozen(env.url, "frozen-loop"):
            late, stalled = await longest_stall(store.call_by(monotonic() + 1.5, ping))
        assert isinstance(late, StoreUnavailable)
        assert stalled < UNNOTICED_S
        assert (store.stats.deadlines_passed, store.stats.in_use, store.stats.idle) == (1, 0, 0)
        # the next connection has the number of the closed socket
        for _ in range(20):
            await store.call(ping)
        store.close()

    run(scenario())


def test_a_server_that_ends_a_connection_is_noticed_at_once(env: StoreEnv) -> None:
    async def scenario() -> None:
        store = open_store(env.url, limit=1, query_s=20.0, name="ended-loop")
        waiting = asyncio.create_task(store.call(statement("SELECT pg_sleep(15)")))
        await soon(lambda: bool(backends(env.url, "ended-loop")), "it is under way")
        began = monotonic()
        cut(env.url, "ended-loop")
        with pytest.raises(StoreUnavailable):
            await waiting
        assert monotonic() - began < deadline_s(SLACK_S)
        await store.call(ping)
        store.close()

    run(scenario())


def test_neither_connecting_nor_a_large_statement_holds_the_loop(env: StoreEnv) -> None:
    async def scenario() -> None:
        with Silent() as silent:
            store = open_store(silent.url, limit=1, connect_s=1.5)
            refused, stalled = await longest_stall(store.call(ping))
            assert isinstance(refused, StoreUnavailable)
            assert stalled < UNNOTICED_S
            store.close()
        store = open_store(env.url, limit=1, query_s=20.0)
        # more than a socket's buffers hold: the statement is written in several turns
        assert await store.call(statement(f"SELECT length('{'x' * 8_000_000}')")) == [(8_000_000,)]
        store.close()

    run(scenario())


def test_a_loop_that_ends_leaves_nothing_behind(env: StoreEnv) -> None:
    store = open_store(env.url, limit=1, query_s=20.0)

    async def cut_short() -> None:
        # one has the only connection, the others wait for their turn
        calls = asyncio.gather(*(store.call(statement("SELECT pg_sleep(1)")) for _ in range(3)))
        await soon(lambda: (store.stats.in_use, store.stats.waiting) == (1, 2), "one is under way")
        calls.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls

    async def next_loop() -> None:
        await store.call(ping)

    run(cut_short())
    run(next_loop())
    assert (store.stats.in_use, store.stats.idle, store.stats.waiting) == (0, 1, 0)
    store.close()
