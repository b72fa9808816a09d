"""Asks models in order: own retries, whose number is known, a wait that the provider asks for, and money that is
reserved before each call and settled after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from shared.backoff import BackoffPolicy
from shared.clock import Monotonic, monotonic
from shared.llm.failures import CALL_FAILURES, ModelFailed, Next
from shared.llm.questions import ModelAnswer, ModelTarget, Question
from shared.logs import logger
from shared.process.metrics import Metrics

log = logger(__name__)

TRIES: Final = 3
"""Calls of one model for one question: more than a few failures in a row are an outage, and the next model answers."""
LONGEST_WAIT_S: Final = 10.0
"""Longest wait before a retry. A provider that asks for more is left for the next model: a customer waits."""
_WAITS: Final = BackoffPolicy(base_s=0.5, cap_s=4.0)


class ModelCaller(Protocol):
    """What makes one call: `shared.llm.provider.ModelProvider`."""

    async def ask(self, target: ModelTarget, question: Question, timeout_s: float) -> ModelAnswer:
        """Ask once. Raises `ModelFailed`."""


class Asker(ModelCaller, Protocol):
    """What makes calls and may know some answers: `shared.llm.cache.CachingAsker`."""

    def kept(self, target: ModelTarget, question: Question) -> ModelAnswer | None:
        """Return what the model answered to this very question lately, as an answer that costs nothing."""


class Spending(Protocol):
    """Keeps the money of one answer."""

    async def note_kept(self, answer: ModelAnswer) -> None:
        """Write what was said without a call; no limit of money or tokens refuses it."""

    async def reserve(self, target: ModelTarget, question: Question) -> int:
        """Reserve what a call may cost and return its number. Raises `ModelFailed` (`budget`) when there is not so
        much."""

    async def settle(self, number: int, answer: ModelAnswer | None, failure: ModelFailed | None, took_s: float) -> None:
        """Write what a call cost, and what it said."""


@dataclass(frozen=True, slots=True)
class TryNext:
    """What follows a failure: a wait before the same model, or (None) the next one. `is_last`: no model is asked."""

    wait_s: float | None
    is_last: bool = False


def next_try(failure: ModelFailed, tries: int, jitter: Callable[[int], float] = _WAITS.jittered_s) -> TryNext:
    """Return what follows the failure of a model's try number `tries` (from 1)."""
    row = CALL_FAILURES.get(failure.code)
    if row is None or row.next is Next.NOTHING:
        return TryNext(None, is_last=True)
    if row.next is Next.OTHER or tries >= TRIES or (failure.wait_s or 0.0) > LONGEST_WAIT_S:
        return TryNext(None)
    # the provider's own wait replaces ours, also if it is shorter: it knows its limit
    return TryNext(jitter(tries) if failure.wait_s is None else failure.wait_s)


class ModelMetrics:
    """What is counted of models, once for a process."""

    def __init__(self, metrics: Metrics) -> None:
        self.seconds = metrics.histogram(
            "model_call_seconds",
            "Time of one call of a language model, answered or not.",
            ("model",),
            buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60),
        )
        self.calls = metrics.counter(
            "model_calls", "Calls of language models, by how they ended; cached: none was made.", ("model", "outcome")
        )
        self.tokens = metrics.counter(
            "model_tokens", "Tokens of language models, as they are charged.", ("model", "way")
        )
        self.micros = metrics.counter(
            "model_cost_micros", "Millionths of a dollar spent on language models.", ("model",)
        )
        self.invalid_usage = metrics.counter(
            "model_usage_invalid", "Answers whose token counts cannot be; an estimate was charged.", ("model",)
        )


async def ask(
    asker: Asker,
    targets: Sequence[ModelTarget],
    question: Question,
    spending: Spending,
    *,
    left_s: Callable[[], float],
    call_s: float,
    metrics: ModelMetrics,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Monotonic = monotonic,
) -> ModelAnswer:
    """Return the answer of the first model that gives one, or one that was kept: it costs neither money nor time.

    Args:
        targets: in the order in which they are tried. left_s: returns the seconds that are left; at 0 nothing is
            begun. call_s: time for one call.
    Raises:
        ModelFailed: none answered; the code of the last failure, `budget`, `deadline`, or `no_model`.
    """
    for target in targets:
        if (kept := asker.kept(target, question)) is not None:
            await spending.note_kept(kept)
            metrics.calls.labels(target.model, "cached").inc()
            return kept
    last = ModelFailed("no_model")
    for target in targets:
        for tries in range(1, TRIES + 1):
            if not left_s():
                raise ModelFailed("deadline", last.code)
            number = await spending.reserve(target, question)
            began = clock()
            answer: ModelAnswer | None = None
            failure: ModelFailed | None = None
            try:
                answer = await asker.ask(target, question, min(call_s, left_s()))
            except ModelFailed as error:
                failure = last = error
            took_s = clock() - began
            await spending.settle(number, answer, failure, took_s)
            metrics.seconds.labels(target.model).observe(took_s)
            metrics.calls.labels(target.model, failure.code if failure else "answered").inc()
            if answer is not None:
                if not answer.has_usage:
                    metrics.invalid_usage.labels(target.model).inc()
                return answer
            if failure is None:
                raise AssertionError("neither an answer nor a failure")
            following = next_try(failure, tries)
            log.warning("model_call_failed", model=target.model, code=failure.code, attempt=tries)
            if following.is_last:
                raise failure
            if following.wait_s is None or following.wait_s >= left_s():
                break
            await sleep(following.wait_s)
    raise last
