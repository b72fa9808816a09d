"""Which model is asked when, and how often: pure, with a fake clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from shared.clock import left
from shared.errors import SettingsInvalid
from shared.llm.asking import LONGEST_WAIT_S, TRIES, ModelMetrics, ask, next_try
from shared.llm.failures import CALL_FAILURES, ModelFailed, Next
from shared.llm.prices import Price, cost_micros, price_of, read_prices
from shared.llm.questions import ModelAnswer, ModelTarget, Question, ToolCall, usage_of
from shared.process.metrics import Metrics

_FIRST, _SECOND = (
    ModelTarget(model=name, base_url="http://model.test/v1", key="secret-key", is_ours=True) for name in "ab"
)
_QUESTION = Question(company_id="acme", messages=[{"role": "user", "content": "hello"}], most_tokens=100)


class _Scripted:
    """Answers as a script says, and notes who was asked."""

    def __init__(self, *script: str) -> None:
        self.script, self.asked = list(script), list[str]()
        self.now, self.waits = 100.0, list[float]()
        self.settled: list[tuple[str, str]] = []
        self.keeps, self.spent = "", False

    async def ask(self, target: ModelTarget, question: Question, timeout_s: float) -> ModelAnswer:
        self.asked.append(target.model)
        self.now += 1.0
        code, _, wait = self.script.pop(0).partition(" ")
        if code != "ok":
            raise ModelFailed(code, wait_s=float(wait) if wait else None)
        return ModelAnswer(model=target.model, text="hi", tokens_in=3, tokens_out=1)

    def kept(self, target: ModelTarget, question: Question) -> ModelAnswer | None:
        if target.model not in self.keeps:
            return None
        return ModelAnswer(model=target.model, text="as before", tokens_in=0, tokens_out=0)

    async def note_kept(self, answer: ModelAnswer) -> None:
        self.settled.append((answer.model, "kept"))

    async def reserve(self, target: ModelTarget, question: Question) -> int:
        if self.spent:
            raise ModelFailed("budget")
        return len(self.asked)

    async def settle(self, number: int, answer: Any, failure: ModelFailed | None, took_s: float) -> None:
        self.settled.append((self.asked[number], failure.code if failure else "ok"))

    async def sleep(self, for_s: float) -> None:
        self.waits.append(for_s)
        self.now += for_s

    def _left_s(self, by: float) -> float:
        return left(by, self.now)

    def run(self, targets: Sequence[ModelTarget] = (_FIRST, _SECOND), for_s: float = 60.0) -> ModelAnswer:
        return asyncio.run(
            ask(
                self,
                targets,
                _QUESTION,
                self,
                left_s=partial(self._left_s, self.now + for_s),
                call_s=20.0,
                metrics=ModelMetrics(Metrics()),
                sleep=self.sleep,
                clock=lambda: self.now,
            )
        )


@pytest.mark.parametrize("code", CALL_FAILURES)
def test_what_follows_each_failure(code: str) -> None:
    following = CALL_FAILURES[code].next
    script = _Scripted(code, *(["ok"] if following is not Next.NOTHING else []))
    if following is Next.NOTHING:
        with pytest.raises(ModelFailed, match=code):
            script.run()
        assert script.asked == ["a"]
        return
    assert script.run().text == "hi"
    assert script.asked == (["a", "a"] if following is Next.AGAIN else ["a", "b"])
    # each call is paid for by itself
    assert script.settled == [("a", code), (script.asked[1], "ok")]


def test_tries_end_and_the_next_model_answers() -> None:
    script = _Scripted(*["server_error"] * TRIES, "ok")
    assert script.run().model == "b"
    assert script.asked == ["a"] * TRIES + ["b"] and len(script.waits) == TRIES - 1


def test_the_providers_wait_counts_unless_it_is_too_long() -> None:
    script = _Scripted("rate_limited 3", "ok")
    script.run()
    assert script.waits == [3.0]
    script = _Scripted(f"rate_limited {LONGEST_WAIT_S + 1}", "ok")
    assert script.run().model == "b" and not script.waits


def test_nothing_is_begun_after_the_deadline_or_without_a_model() -> None:
    script = _Scripted(*["cut"] * 20)
    with pytest.raises(ModelFailed, match=r"deadline|cut"):
        script.run(for_s=2.5)
    assert len(script.asked) <= 3
    with pytest.raises(ModelFailed, match="no_model"):
        _Scripted().run(())


def test_a_failure_that_is_no_call_ends_it() -> None:
    assert next_try(ModelFailed("budget"), 1).is_last


@pytest.mark.parametrize("keeps", ["a", "b"])
def test_what_is_known_is_given_with_a_spent_budget_and_without_time(keeps: str) -> None:
    script = _Scripted()
    script.keeps, script.spent = keeps, True
    assert script.run(for_s=0.0).text == "as before"
    assert script.settled == [(keeps, "kept")] and not script.asked


def test_no_secret_in_what_is_shown_of_a_target() -> None:
    assert "secret-key" not in repr(_FIRST) and "hello" not in repr(_QUESTION)


class _Usage:
    def __init__(self, tokens_in: Any, tokens_out: Any) -> None:
        self.prompt_tokens, self.completion_tokens = tokens_in, tokens_out


@pytest.mark.parametrize(
    "usage",
    [
        None,
        _Usage(-5, 2),
        _Usage(0, 0),
        _Usage(10, 0),
        _Usage(None, 3),
        _Usage("9", 9),
        _Usage(10**9, 3),
        _Usage(9, 10**9),
    ],
)
def test_counts_that_cannot_be_are_replaced(usage: Any) -> None:
    tokens_in, tokens_out, has_usage = usage_of(_QUESTION, "hi there", [ToolCall("1", "find", "{}")], usage)
    assert not has_usage and 0 < tokens_in < 100 and 0 < tokens_out < 100


def test_counts_that_can_be_are_the_providers() -> None:
    assert usage_of(_QUESTION, "hi there", (), _Usage(12, 3)) == (12, 3, True)


def test_prices() -> None:
    prices = read_prices('{"own": [1, 2.5], "gpt-4o-mini": [9, 9]}')
    assert price_of(prices, "gpt-4o-mini-2024-07-18") == Price(9, 9) and price_of(prices, "gpt-4o") == Price(2.5, 10)
    # the longest beginning: a mini model is not as dear as the large one
    assert price_of(prices, "own") == Price(1, 2.5) and price_of(prices, "owner") is None
    assert cost_micros(Price(0.15, 0.6), 1, 1) == 1 and cost_micros(Price(1, 2.5), 10, 2) == 15


@pytest.mark.parametrize("text", ["x", "[]", '{"a": 1}', '{"a": [1]}', '{"a": [-1, 1]}', '{"a": [true, 1]}'])
def test_prices_that_are_none(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="LLM_PRICES"):
        read_prices(text)
