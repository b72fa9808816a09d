"""What one answer may use: a run, its caps, and the money that it spends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ai import rows
from ai.answer_time import AnswerTime
from ai.rows import TurnLost
from shared.fail_points import hit
from shared.llm.asking import ModelMetrics
from shared.llm.failures import CALL_FAILURES, ModelFailed
from shared.llm.prices import FREE, Price, cost_micros, price_of
from shared.llm.questions import ModelAnswer, ModelTarget, Question, question_tokens
from shared.logs import logger
from shared.process.periodic import until_available
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.tenancy.company_settings import CompanySettings

log = logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """What one run may use at most.

    Attributes:
        iterations: answers of models with calls of tools in between. tokens: in and out, of all calls. micros: of a
            dollar, of all calls. wall_s: seconds from its claim.
    """

    iterations: int
    tokens: int
    micros: int
    wall_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRun:
    """One answer that is being made: a turn, or a question of the API.

    Attributes:
        name: `turn-<id>` or `task-<id>`; keys are made of it. turn_id: None for a question of the API. fence: raises
            `TurnLost` when it is not ours any more; called in each transaction that writes for it.
    """

    company_id: str
    name: str
    turn_id: int | None
    settings: CompanySettings
    fence: Callable[[Transaction], object]


class RunSpending:
    """Keeps the money of one run (`shared.llm.asking.Spending`), and its models' answers.

    Attributes:
        answered: number of the last call that was answered.
    """

    def __init__(
        self,
        store: Store,
        run: AnswerRun,
        caps: Caps,
        *,
        prices: Mapping[str, Price],
        metrics: ModelMetrics,
        time: AnswerTime,
    ) -> None:
        self._store, self._run, self._caps, self._prices, self._metrics = store, run, caps, prices, metrics
        self._time = time
        self.answered = 0

    async def reserve(self, target: ModelTarget, question: Question) -> int:
        """See `Spending`. Raises `TurnLost` too."""
        price = price_of(self._prices, target.model)
        budget = self._run.settings.assistant.budget_micros
        if price is None and budget is not None:
            # a budget that counts nothing would be none
            raise ModelFailed("price_unknown", "the model has no price, and the company a budget: set LLM_PRICES")
        most = cost_micros(price or FREE, question_tokens(question), question.most_tokens)
        number = await self._store.call(self._reserve, target.model, most, budget)
        hit("turn.asking")
        return number

    def _reserve(self, transaction: Transaction, model: str, micros: int, budget: int | None) -> int:
        run = self._run
        run.fence(transaction)
        used = rows.cost(transaction, run.company_id, run.name)
        if used["tokens"] >= self._caps.tokens:
            raise ModelFailed("tokens", "the answer has used all its tokens")
        if used["micros"] + micros > self._caps.micros:
            raise ModelFailed("turn_cost", "the answer would cost more than one may")
        number = rows.reserve(
            transaction, company_id=run.company_id, run=run.name, model=model, micros=micros, budget_micros=budget
        )
        if number is None:
            raise ModelFailed("budget", "the company's budget of this month is spent")
        return number

    async def note_kept(self, answer: ModelAnswer) -> None:
        """See `Spending`. Raises `TurnLost` too."""
        self.answered = await self._store.call(self._note_kept, answer)

    def _note_kept(self, transaction: Transaction, answer: ModelAnswer) -> int:
        run = self._run
        run.fence(transaction)
        return rows.add_kept(
            transaction,
            company_id=run.company_id,
            run=run.name,
            turn_id=run.turn_id,
            model=answer.model,
            answer=answer.as_message(),
        )

    async def settle(self, number: int, answer: ModelAnswer | None, failure: ModelFailed | None, took_s: float) -> None:
        """See `Spending`. Raises `TurnLost` when another process has given the call up."""
        hit("turn.asked")
        # what was paid for is written, however long the database is away
        with self._time.stopped():
            is_ours = await until_available(
                "model_call_end", lambda: self._store.call(self._settle, number, answer, failure, round(took_s * 1000))
            )
        hit("turn.answer_kept")
        if not is_ours:
            raise TurnLost("the call was given up")
        if answer is not None:
            self.answered = number

    def _settle(
        self,
        transaction: Transaction,
        number: int,
        answer: ModelAnswer | None,
        failure: ModelFailed | None,
        took_ms: int,
    ) -> bool:
        if answer is None:
            code = failure.code if failure else "lost"
            may_cost = CALL_FAILURES[code].may_cost if code in CALL_FAILURES else True
            return rows.end_call(
                transaction,
                number,
                turn_id=self._run.turn_id,
                state="failed",
                reason=code,
                cost_micros=None if may_cost else 0,
                took_ms=took_ms,
            )
        cost = cost_micros(price_of(self._prices, answer.model) or FREE, answer.tokens_in, answer.tokens_out)
        done = rows.end_call(
            transaction,
            number,
            turn_id=self._run.turn_id,
            state="answered",
            cost_micros=cost,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            took_ms=took_ms,
            answer=answer.as_message(),
        )
        if done:
            self._metrics.tokens.labels(answer.model, "in").inc(answer.tokens_in)
            self._metrics.tokens.labels(answer.model, "out").inc(answer.tokens_out)
            self._metrics.micros.labels(answer.model).inc(cost)
        return done


CAP_FAILURES: Final = frozenset({"price_unknown", "tokens", "turn_cost", "budget", "iterations", "loop", "deadline"})
"""Codes of an answer that was ended by a limit of ours."""
