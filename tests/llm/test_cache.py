"""Which answers are given again, and to whom: with a clock and a model of the test's own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from shared.llm.asking import ModelMetrics, ask
from shared.llm.cache import CachingAsker
from shared.llm.questions import ModelAnswer, ModelTarget, Question, ToolCall
from shared.process.metrics import Metrics

TARGET = ModelTarget(model="a", base_url="http://model.test/v1", key="key", is_ours=True)
QUESTION = Question(
    company_id="acme", messages=[{"role": "user", "content": "What is your policy?"}], most_tokens=100, cache_s=60.0
)


class Free:
    """Spends nothing."""

    async def reserve(self, *_: object) -> int:
        return 1

    async def settle(self, *_: object) -> None:
        return

    async def note_kept(self, *_: object) -> None:
        return


class Model:
    """Says something else each time."""

    def __init__(self, text: str = "answer", calls: tuple[ToolCall, ...] = (), **bounds: int) -> None:
        self.text, self.calls, self.asked, self.now = text, calls, 0, 100.0
        self.cache = CachingAsker(self, clock=lambda: self.now, **bounds)
        self.metrics = ModelMetrics(Metrics())

    async def ask(self, target: ModelTarget, question: Question, timeout_s: float) -> ModelAnswer:
        self.asked += 1
        text = f"{self.text} {self.asked}"
        return ModelAnswer(model=target.model, text=text, calls=self.calls, tokens_in=7, tokens_out=3)

    def answer(self, question: Question = QUESTION, target: ModelTarget = TARGET) -> ModelAnswer:
        return asyncio.run(
            ask(self.cache, [target], question, Free(), left_s=lambda: 10.0, call_s=5.0, metrics=self.metrics)
        )

    def knows(self, question: Question) -> bool:
        return self.cache.kept(TARGET, question) is not None


def test_the_very_same_question_is_answered_once_and_then_costs_nothing() -> None:
    model = Model()
    first, second = model.answer(), model.answer(replace(QUESTION, request_id="turn-2"))
    assert (first.text, second.text, model.asked) == ("answer 1", "answer 1", 1)
    assert (first.tokens_in, second.tokens_in, second.tokens_out) == (7, 0, 0)
    # what was said before is no call of a model
    assert [model.metrics.calls.labels("a", outcome).value for outcome in ("answered", "cached")] == [1, 1]
    model.now += 61
    assert model.answer().text == "answer 2"


@pytest.mark.parametrize(
    "change",
    [
        {"company_id": "globex"},
        {"messages": [{"role": "user", "content": "What is your policy"}]},
        {"messages": [{"role": "system", "content": "Be brief."}, *QUESTION.messages]},
        {"tools": [{"type": "function", "function": {"name": "find_slots"}}]},
        {"most_tokens": 101},
        {"temperature": 0.3},
        {"cache_s": 0.0},
    ],
)
def test_whatever_decides_an_answer_is_part_of_the_question(change: dict[str, Any]) -> None:
    model = Model()
    model.answer()
    assert model.answer(replace(QUESTION, **change)).text == "answer 2"


@pytest.mark.parametrize("change", [{"model": "b"}, {"base_url": "http://other.test/v1"}, {"key": "another"}])
def test_another_model_answers_for_itself(change: dict[str, Any]) -> None:
    model = Model()
    model.answer()
    assert model.answer(target=replace(TARGET, **change)).text == "answer 2"


def test_nothing_that_calls_tools_or_has_read_their_results_is_given_again() -> None:
    model = Model(calls=(ToolCall("1", "book_slot", "{}"),))
    assert (model.answer().text, model.answer().text) == ("answer 1", "answer 2")
    model = Model()
    results = replace(QUESTION, messages=[*QUESTION.messages, {"role": "tool", "tool_call_id": "1", "content": "{}"}])
    assert (model.answer(results).text, model.answer(results).text) == ("answer 1", "answer 2")


def test_companies_have_bounds_and_so_have_all_together() -> None:
    def asked(number: int, company: str = "acme") -> Question:
        return replace(QUESTION, company_id=company, messages=[{"role": "user", "content": str(number)}])

    # an answer counts as 209 characters: four fit
    model = Model(most=840, most_of_all=1300)
    for number in range(5):
        model.answer(asked(number))
    assert all(model.knows(asked(number)) for number in (4, 3, 2, 1))
    assert not model.knows(asked(0))
    model.answer(asked(0))
    # of the company whose answers were used longest ago, those go first
    for number in range(4):
        model.answer(asked(number, "globex"))
    assert all(model.knows(asked(number, "globex")) for number in range(4))
    assert not model.knows(asked(3))
    assert Model(most=100).answer().text == "answer 1", "one that is too long is not kept, and given"
