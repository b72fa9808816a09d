"""An event that was journalled is processed once, and one that cannot be processed stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.inbound import pipeline
from shared.inbound.pipeline import JournalPipeline, JournalRow, Processed
from shared.process.beats import LoopBeat
from shared.process.metrics import Metrics
from shared.store import inbound
from shared.store.inbound import RawEvent
from shared.store.pool import Transaction
from tests.delivery.env import soon
from tests.store.env import StoreEnv, open_store
from tests.support.database import query
from tests.support.waiting import within

KIND = "webdriver"
JOURNAL = "SELECT body, processed_at IS NOT NULL AS done, attempts, outcome FROM inbound_journal ORDER BY id"


class Channel:
    """A handler that keeps what it is given in the database, and chokes on some of it."""

    def __init__(self, env: StoreEnv) -> None:
        self.env, self.metrics = env, Metrics()
        self.store = open_store(env.url)
        self.batches: list[list[bytes]] = []
        self.results: list[int] = []
        self.broken = False
        self.pipeline: JournalPipeline[int] = JournalPipeline(
            self.store, self.metrics, kind=KIND, handle=self.handle, committed=self.results.append
        )

    def handle(self, transaction: Transaction, rows: Sequence[JournalRow]) -> Processed[int]:
        self.batches.append([row.body for row in rows])
        for row in rows:
            if self.broken or row.body == b"slow":
                raise StoreUnavailable("no answer")
            if row.body == b"bug":
                raise KeyError(row.body)
            if row.body == b"refused":
                transaction._cursor.execute("SELECT 1/0")
            transaction.execute("ensure_company", id=f"made-{row.body.decode()}", name="")
        return Processed(len(rows), {row.id: "odd" for row in rows if row.body == b"odd"}, [])

    def journal(self, *bodies: bytes) -> None:
        self.store.run(inbound.journal, KIND, [RawEvent(source=KIND, body=body) for body in bodies])

    def rows(self) -> list[tuple[bytes, bool, str]]:
        return [(bytes(row["body"]), row["done"], row["outcome"]) for row in query(self.env.url, JOURNAL)]

    def made(self) -> set[str]:
        return {
            row["id"].removeprefix("made-")
            for row in query(self.env.url, "SELECT id FROM companies WHERE id LIKE 'made-%'")
        }


@pytest.fixture
def channel(env: StoreEnv) -> Channel:
    query(env.url, "DELETE FROM inbound_journal")
    return Channel(env)


def play(channel: Channel, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        asyncio.run(scenario())
    finally:
        channel.store.close()


def test_a_batch_is_one_transaction_with_the_mark_that_it_was_processed(channel: Channel) -> None:
    channel.journal(b"a", b"odd", b"b")

    async def scenario() -> None:
        assert await channel.pipeline.process() == 3
        assert await channel.pipeline.process() == 0

    play(channel, scenario)
    assert channel.rows() == [(b"a", True, ""), (b"odd", True, "odd"), (b"b", True, "")]
    assert (channel.made(), channel.results) == ({"a", "odd", "b"}, [3])


@pytest.mark.parametrize("poison", [b"bug", b"refused"])
def test_an_event_that_cannot_be_processed_is_finished_with_the_reason_and_stops_no_other(
    channel: Channel, poison: bytes
) -> None:
    channel.journal(b"a", poison, b"b", poison, b"c")

    async def scenario() -> None:
        assert await channel.pipeline.process() == 5

    play(channel, scenario)
    reason = {b"bug": "failed: KeyError", b"refused": "failed: DivisionByZero"}[poison]
    assert channel.rows() == [
        (b"a", True, ""),
        (poison, True, reason),
        (b"b", True, ""),
        (poison, True, reason),
        (b"c", True, ""),
    ]
    assert channel.made() == {"a", "b", "c"}
    assert channel.metrics.snapshot()["journal_rows_failed_total"] == 2


def test_a_database_that_is_away_finishes_nothing(channel: Channel) -> None:
    channel.journal(b"a", b"b")
    channel.broken = True

    async def scenario() -> None:
        for _ in range(2 * pipeline._TIMEOUTS_MOST):
            with pytest.raises(StoreUnavailable):
                await channel.pipeline.process()
            if channel.batches[-1] == [b"a"]:
                break
        channel.broken = False
        while await channel.pipeline.process():
            pass

    play(channel, scenario)
    assert channel.rows() == [(b"a", True, ""), (b"b", True, "")]


def test_an_event_that_always_takes_too_long_is_finished_while_the_database_answers_others(channel: Channel) -> None:
    channel.journal(b"slow", b"b")

    async def scenario() -> None:
        for _ in range(20):
            try:
                if not await channel.pipeline.process():
                    return
            except StoreUnavailable:
                continue
        raise AssertionError("the slow one still stands in the way")

    play(channel, scenario)
    assert channel.rows() == [(b"slow", True, "failed: StoreUnavailable"), (b"b", True, "")]


def test_it_runs_until_it_is_stopped_and_what_is_journalled_wakes_it(channel: Channel) -> None:
    async def scenario() -> None:
        running = asyncio.create_task(channel.pipeline.run(LoopBeat("journal", 60, monotonic)))
        channel.journal(b"a")
        channel.pipeline.wake()
        await soon(lambda: channel.made() == {"a"}, "processed")
        # what another process left, killed between journal and processing
        channel.journal(b"b")
        await soon(lambda: channel.made() == {"a", "b"}, "found without being told")
        channel.pipeline.stop()
        await within(running, 10)

    play(channel, scenario)
