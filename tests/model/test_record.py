"""What a process leaves behind at each step of a send, and what reclaim makes of it: the real dispatcher, the real
record, read as after a death.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from shared.delivery import in_flight_journal, reclaim
from shared.delivery.channel import RecordToken
from shared.delivery.in_flight_journal import Stage, path_of
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.store import messages
from shared.store.pool import Pool
from shared.store.store import Store
from tests.delivery.env import Process, Script, run, soon
from tests.store.env import StoreEnv
from tests.support.waiting import within

Send = Callable[[asyncio.Event, OutboundMessage, RecordToken], Awaitable[Outcome]]


class Unwritten(Store):
    """A store that answers everything but outcomes: those are waited for for ever, as when the process dies before they
    are written.

    Attributes:
        asked: set when an outcome is to be written.
    """

    asked: asyncio.Event

    @classmethod
    def over(cls, url: str) -> Unwritten:
        """Open one."""
        store = cls(Pool(url, limit=4, application_name="test", idle_s=30.0, connect_s=5.0), query_s=5.0)
        store.asked = asyncio.Event()
        return store

    async def call_each(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if function is messages.settle:
            self.asked.set()
            await asyncio.Event().wait()
        return await super().call_each(function, *args, **kwargs)


@pytest.fixture
def env(database_url: str) -> Iterator[StoreEnv]:
    made = StoreEnv(database_url)
    yield made
    made.close()


def found(process: Process) -> in_flight_journal.FoundJournal:
    """Read the record from its file, as the process that finds a dead process does."""
    record = in_flight_journal.read(path_of(process.run_dir, process.incarnation))
    assert record is not None
    return record


def state_after_death(process: Process, row_id: int) -> str:
    """Give the process's rows back as after its death, and return what the row then is."""
    process.env.store.run(reclaim.reclaim, process.run_dir, process.incarnation, why="test")
    return process.env.state(row_id)


def dies_at(env: StoreEnv, send: Send, stage: Stage) -> str:
    """Let one message be sent until `send` says that it is there, read the record, and return what reclaim makes of the
    row.
    """

    async def scenario() -> str:
        there = asyncio.Event()

        async def behave(message: OutboundMessage, record_token: RecordToken) -> Outcome:
            return await send(there, message, record_token)

        async with Process(env, Script(behave)) as process:
            (row_id,) = env.accept("a")
            process.dispatcher.offer([row_id])
            await within(there.wait(), 15)
            flights = found(process).entries
            assert flights[row_id].stage is stage
            return await asyncio.to_thread(state_after_death, process, row_id)

    return run(scenario())


async def never(there: asyncio.Event) -> Outcome:
    there.set()
    await asyncio.Event().wait()
    raise AssertionError


def test_a_row_that_was_only_claimed_is_sent_again(env: StoreEnv) -> None:
    async def send(there: asyncio.Event, _message: OutboundMessage, _record_token: RecordToken) -> Outcome:
        return await never(there)

    assert dies_at(env, send, Stage.CLAIMED) == "queued"


def test_a_row_that_may_have_left_is_in_doubt(env: StoreEnv) -> None:
    async def send(there: asyncio.Event, message: OutboundMessage, record_token: RecordToken) -> Outcome:
        await record_token(message.token)
        return await never(there)

    assert dies_at(env, send, Stage.WRITING) == "in_doubt"


@pytest.mark.parametrize(
    ("outcome", "stage", "text", "state"),
    [
        (Sent(provider_id="wamid.1"), Stage.SENT, "wamid.1", "sent"),
        (Retry(code="131000"), Stage.UNSENT, "131000", "queued"),
        (Dead(code="131026"), Stage.DEAD, "131026", "failed"),
        (InDoubt(code="no_answer"), Stage.WRITING, "", "in_doubt"),
    ],
)
def test_an_answer_that_was_not_written_stands_in_the_record(
    env: StoreEnv, outcome: Outcome, stage: Stage, text: str, state: str
) -> None:
    async def answer(message: OutboundMessage, record_token: RecordToken) -> Outcome:
        await record_token(message.token)
        return outcome

    async def scenario() -> None:
        store = Unwritten.over(env.url)
        async with Process(env, Script(answer), store=store) as process:
            (row_id,) = env.accept("a")
            process.dispatcher.offer([row_id])
            await within(store.asked.wait(), 15)
            assert found(process).entries[row_id] == in_flight_journal.InFlightEntry(row_id, stage, text)
            assert await asyncio.to_thread(state_after_death, process, row_id) == state

    run(scenario())


def test_what_is_written_is_out_of_hand(env: StoreEnv) -> None:
    async def scenario() -> None:
        async with Process(env, Script()) as process:
            rows = env.accept("a", "b")
            process.dispatcher.offer(rows)
            await process.until(rows, "sent")
            await soon(lambda: process.dispatcher.in_flight == 0, "nothing is in hand")
            assert found(process) == in_flight_journal.FoundJournal({}, 0)

    run(scenario())
