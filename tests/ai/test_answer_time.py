"""How long an answer may take, by a clock of the test's own."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from ai.answer_time import AnswerTime
from ai.runs import AnswerRun, Caps, RunSpending
from shared.errors import StoreUnavailable
from shared.llm.asking import ModelMetrics
from shared.llm.prices import PRICES
from shared.llm.questions import ModelAnswer
from shared.process.metrics import Metrics
from shared.process.periodic import wait_for_event
from shared.store.store import Store
from shared.tenancy.company_settings import CompanySettings


def test_it_stands_still_while_it_is_stopped() -> None:
    now = [100.0]
    time = AnswerTime(10.0, clock=lambda: now[0])
    now[0] += 4
    with time.stopped():
        now[0] += 1000
    assert time.left_s() == 6
    now[0] += 7
    assert time.left_s() == 0


def test_an_outage_does_not_count_and_what_was_done_before_it_does() -> None:
    now, failures = [100.0], list[StoreUnavailable]()
    time = AnswerTime(10.0, clock=lambda: now[0])

    async def call() -> str:
        if len(failures) == 0:
            # a model took four seconds, then the query waited for its five
            now[0] += 4
        if len(failures) < 10:
            now[0] += 5
            raise StoreUnavailable("away", outage="away")
        return "stored"

    through = time.through_outages(call, query_s=5.0, delayed=failures.append, away_s=0.0)
    assert asyncio.run(through) == "stored"
    assert time.left_s() == 6


def test_its_limit_ends_the_block_but_not_while_it_is_stopped() -> None:
    passed: list[str] = []

    async def scenario() -> None:
        time = AnswerTime(0.05)
        with pytest.raises(TimeoutError):
            async with time.limit():
                with time.stopped():
                    await wait_for_event(asyncio.Event(), 0.1)
                passed.append("stopped")
                await asyncio.Event().wait()
        assert time.left_s() == 0

    asyncio.run(scenario())
    assert passed == ["stopped"]


def test_an_answer_that_has_come_is_stored_after_the_outage_whatever_time_was_left() -> None:
    calls: list[object] = []

    class Away:
        """A store whose database is away for two calls."""

        async def call(self, *given: object) -> bool:
            calls.append(given)
            if len(calls) < 3:
                raise StoreUnavailable("away")
            return True

    run = AnswerRun(
        company_id="acme", name="turn-1", turn_id=1, settings=CompanySettings.read({}), fence=lambda _: None
    )
    caps = Caps(iterations=5, tokens=1000, micros=1_000_000, wall_s=60)

    async def scenario() -> None:
        time = AnswerTime(0.05)
        spending = RunSpending(
            cast(Store, Away()), run, caps, prices=PRICES, metrics=ModelMetrics(Metrics()), time=time
        )
        answer = ModelAnswer(model="sandbox-model", text="It is open.", tokens_in=1, tokens_out=1)
        async with time.limit():
            await spending.settle(7, answer, None, 1.0)
            assert spending.answered == 7

    asyncio.run(scenario())
    assert len(calls) == 3
