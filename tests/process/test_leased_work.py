"""Leased rows: taken by capacity, worked on side by side, drained, given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from shared.clock import monotonic
from shared.process.beats import LoopBeat
from shared.process.leased_work import Intervals, LeasedRows, LeasedWork
from shared.process.service import Child
from tests.support.waiting import deadline_s, within


class Beats:
    def loop(self, name: str, limit_s: float) -> LoopBeat:
        return LoopBeat(name, limit_s, monotonic)

    def forget(self, name: str) -> None:
        """Nothing is watched."""


class FakeChild:
    """As much of a process as the loop needs."""

    def __init__(self) -> None:
        self.beats, self.failures = Beats(), list[BaseException]()
        self.spawned: list[asyncio.Task[Any]] = []

    def spawn(self, work: Any, name: str) -> None:
        self.spawned.append(asyncio.ensure_future(work))

    def watch(self, task: asyncio.Task[Any]) -> None:
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(error)


class Table:
    """Rows in memory.

    Attributes:
        waiting: not taken yet. log: what was called. gate: work ends when it is set.
    """

    def __init__(self, *rows: int) -> None:
        self.waiting, self.log, self.done, self.gate = list(rows), list[str](), list[int](), asyncio.Event()
        self.most = 0
        self.running = 0

    async def release(self) -> None:
        self.log.append("release")

    async def take(self, capacity: int) -> Sequence[int]:
        self.log.append(f"take {capacity}")
        taken, self.waiting = self.waiting[:capacity], self.waiting[capacity:]
        return taken

    async def work(self, row: int) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
            self.done.append(row)
        finally:
            self.running -= 1


def played(rows: int, play: Callable[[Table, LeasedWork[int], FakeChild], Awaitable[None]]) -> None:
    async def scenario() -> None:
        table, child = Table(*range(rows)), FakeChild()
        leased = LeasedRows(release=table.release, take=table.take, key=lambda row: row, work=table.work)
        work = LeasedWork(
            cast(Child, child),
            "rows",
            leased,
            capacity=2,
            intervals=Intervals(busy_s=30.0, idle_s=30.0),
            beat_limit_s=10.0,
        )
        work.start()
        await play(table, work, child)
        await work.close()
        await within(asyncio.gather(*child.spawned), 5)

    asyncio.run(within(scenario(), 20))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(deadline_s(5)):
        while not condition():
            await asyncio.sleep(0)


def test_earlier_lives_are_released_first_and_capacity_is_kept() -> None:
    async def play(table: Table, work: LeasedWork[int], child: FakeChild) -> None:
        await until(lambda: table.running == 2)
        table.gate.set()
        # the interval is long: what ends makes room, and the loop takes more at once
        await until(lambda: len(table.done) == 5)
        assert table.log[:2] == ["release", "take 2"]
        assert table.log.count("release") == 1
        assert table.most == 2

    played(5, play)


def test_a_wake_takes_new_rows_at_once() -> None:
    async def play(table: Table, work: LeasedWork[int], child: FakeChild) -> None:
        await until(lambda: "take 2" in table.log)
        table.gate.set()
        table.waiting.append(7)
        work.wake()
        await until(lambda: table.done == [7])

    played(0, play)


def test_a_drain_waits_for_what_is_in_hand_and_takes_nothing_new() -> None:
    async def play(table: Table, work: LeasedWork[int], child: FakeChild) -> None:
        await until(lambda: table.running == 2)
        assert not await work.drain(monotonic() + 0.05)
        table.gate.set()
        assert await work.drain(monotonic() + 5)
        assert (sorted(table.done), table.waiting) == ([0, 1], [2, 3])

    played(4, play)


def test_a_close_cancels_what_is_in_hand() -> None:
    async def play(table: Table, work: LeasedWork[int], child: FakeChild) -> None:
        await until(lambda: table.running == 2)
        await work.close()
        assert (table.running, table.done, child.failures) == (0, [], [])

    played(2, play)
