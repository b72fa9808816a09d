"""Batches begin apart, hold what stands in line, and lose nothing when a process who waits for one is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from shared.batching import BatchQueue, RateLimiter
from shared.clock import monotonic
from tests.support.waiting import within

APART_S = 0.05


class TestRateLimiter:
    def test_each_waits_for_its_turn(self) -> None:
        async def scenario() -> list[float]:
            limiter, begun = RateLimiter(), list[float]()

            async def one() -> None:
                await limiter.start(APART_S)
                begun.append(monotonic())

            # all ask at the same instant: none may begin with another
            await asyncio.gather(*(one() for _ in range(4)))
            return begun

        begun = asyncio.run(scenario())
        assert all(later - earlier >= 0.9 * APART_S for earlier, later in pairwise(begun)), begun

    def test_the_first_and_one_after_a_rest_wait_for_nothing(self) -> None:
        async def scenario(instants: list[float]) -> None:
            limiter = RateLimiter(clock=lambda: instants[0])
            await limiter.start(3600.0)
            instants[0] += 3600.0
            await limiter.start(3600.0)
            limiter.reset()
            await limiter.start(3600.0)

        asyncio.run(within(scenario([0.0]), 5))


class TestBatchQueue:
    def test_what_comes_while_a_batch_has_just_begun_is_one_batch_however_many_take(self) -> None:
        async def scenario() -> list[list[int]]:
            queue, batches = BatchQueue[int](APART_S, 100), list[list[int]]()

            async def take() -> None:
                while True:
                    batches.append(await queue.get_batch())

            takers = [asyncio.create_task(take()) for _ in range(3)]
            queue.put(0)
            # the first is taken at once
            await within(_until(lambda: bool(batches)), 5)
            for number in range(1, 6):
                queue.put(number)
                await asyncio.sleep(0)
            await within(_until(lambda: len(batches) > 1), 5)
            for taker in takers:
                taker.cancel()
            return batches

        assert asyncio.run(scenario()) == [[0], [1, 2, 3, 4, 5]]

    @pytest.mark.parametrize(
        ("weights", "batches"),
        [([1] * 5, [[1, 1, 1], [1, 1]]), ([2, 2, 9, 1], [[2], [2], [9], [1]]), ([1, 2, 3], [[1, 2], [3]])],
    )
    def test_a_batch_is_never_heavier_than_allowed_unless_it_is_one(
        self, weights: list[int], batches: list[list[int]]
    ) -> None:
        async def scenario() -> list[list[int]]:
            queue = BatchQueue[int](0.0, 3, lambda weight: weight)
            for weight in weights:
                queue.put(weight)
            return [await within(queue.get_batch(), 5) for _ in batches]

        assert asyncio.run(scenario()) == batches

    def test_a_taker_that_is_cancelled_leaves_everything_in_line(self) -> None:
        async def scenario() -> tuple[list[int], list[int]]:
            queue = BatchQueue[int](3600.0, 100)
            queue.put(1)
            await queue.get_batch()
            queue.put(2)
            # waits for its turn now
            taker = asyncio.create_task(queue.get_batch())
            await asyncio.sleep(0)
            taker.cancel()
            await asyncio.wait({taker}, timeout=5)
            assert taker.cancelled()
            return queue.drain(), queue.drain()

        assert asyncio.run(scenario()) == ([2], [])


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)
