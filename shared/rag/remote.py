"""Embedders behind APIs of OpenAI's form: batches, retries of our own, money that is charged before a call and
corrected after it, and no phone number of a customer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.clock import monotonic
from shared.llm.asking import TRIES, next_try
from shared.llm.failures import CALL_FAILURES, ModelFailed
from shared.llm.prices import FREE, Price, cost_micros, price_of
from shared.llm.provider import ModelProvider
from shared.llm.questions import ModelTarget, tokens_of
from shared.llm.redaction import Redactor
from shared.logs import logger
from shared.media.reach import Reach
from shared.process.service import Child
from shared.rag.embedding import DimensionsDiffer, EmbeddingFailed, EmbeddingModel, EmbeddingUse
from shared.store import spend
from shared.tenancy.company_settings import CompanySettings

log = logger(__name__)

FAILING: Final = "embedder_failing"
_BATCH: Final = 64
"""Texts of one call: some ten thousand tokens, far below what providers allow."""
_TEXT_MOST: Final = 20_000
"""Characters of one text that leave: more than the largest passage has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallPlan:
    """How calls of one use are made. `call_s`: time for one. `tries`: calls for one batch."""

    call_s: float
    tries: int


PLANS: Final[Mapping[EmbeddingUse, CallPlan]] = {
    "documents": CallPlan(call_s=60.0, tries=TRIES),
    # a customer waits, and words find something too
    "questions": CallPlan(call_s=4.0, tries=1),
}


class RemoteEmbeddings:
    """What the embedders of a process share: connections, figures, and what they report."""

    def __init__(
        self,
        child: Child,
        prices: Mapping[str, Price],
        reach: Reach,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._child, self._prices, self._sleep = child, prices, sleep
        self._provider, metrics = ModelProvider(reach), child.metrics
        self._calls = metrics.counter(
            "embedding_calls", "Calls of embedding models, by how they ended.", ("model", "outcome")
        )
        self._seconds = metrics.histogram("embedding_call_seconds", "Time of one such call.", ("model",))
        self._tokens = metrics.counter("embedding_tokens", "Tokens of embedding models, as charged.", ("model",))
        self._micros = metrics.counter(
            "embedding_cost_micros", "Millionths of a dollar spent on embedding models.", ("model",)
        )
        self._redacted = metrics.counter(
            "embedding_redactions", "Values that were replaced by marks before an embedding model saw them.", ("what",)
        )

    def of(
        self,
        company_id: str,
        settings: CompanySettings,
        model: EmbeddingModel,
        target: ModelTarget,
        use: EmbeddingUse,
        *,
        is_own: bool,
    ) -> RemoteEmbedder:
        """Return a company's. `is_own`: its address or key is its own, so that its failures are no trouble of ours."""
        return RemoteEmbedder(
            self, company_id=company_id, settings=settings, model=model, target=target, use=use, is_own=is_own
        )

    async def close(self) -> None:
        """Close connections."""
        await self._provider.close()

    async def ask(self, embedder: RemoteEmbedder, texts: Sequence[str]) -> list[list[float]]:
        """Return the vectors of one batch. Raises `EmbeddingFailed`, `StoreUnavailable`."""
        plan = PLANS[embedder.use]
        for tries in range(1, plan.tries + 1):
            try:
                vectors = await self._once(embedder, texts, plan.call_s)
            except ModelFailed as failure:
                log.warning("embedding_failed", model=embedder.model, code=failure.code, attempt=tries)
                following = next_try(failure, tries)
                if following.is_last or following.wait_s is None or tries == plan.tries:
                    self._failed(embedder, failure)
                    raise EmbeddingFailed(said(failure)) from failure
                await self._sleep(following.wait_s)
            else:
                self._child.heartbeat.clear(FAILING)
                return vectors
        raise AssertionError("a plan has at least one try")

    async def _once(self, embedder: RemoteEmbedder, texts: Sequence[str], call_s: float) -> list[list[float]]:
        price = price_of(self._prices, embedder.model)
        budget = embedder.settings.assistant.budget_micros
        if price is None and budget is not None:
            # a budget that counts nothing would be none
            raise ModelFailed("price_unknown")
        price = price or FREE
        # as dear as it may be, until it is known: a process that dies in between has charged too much, never too little
        most = cost_micros(price, tokens_of(*texts), 0)
        month = await self._child.store.call(spend.charge, embedder.company_id, micros=most, budget_micros=budget)
        if month is None:
            raise ModelFailed("budget")
        began = monotonic()
        used, cost, outcome = 0, most, "answered"
        try:
            vectors, used = await self._provider.embed(
                embedder.target, embedder.company_id, texts, call_s, dimensions=embedder.asked_dimensions
            )
            # counts that cannot be are not believed
            used = used if 0 < used <= 4 * tokens_of(*texts) + 1000 else tokens_of(*texts)
            cost = cost_micros(price, used, 0)
        except ModelFailed as failure:
            outcome = failure.code
            cost = most if CALL_FAILURES[failure.code].may_cost else 0
            raise
        finally:
            await self._child.store.call(spend.correct, embedder.company_id, month, micros=cost - most, tokens_in=used)
            self._seconds.labels(embedder.model).observe(monotonic() - began)
            self._calls.labels(embedder.model, outcome).inc()
            self._tokens.labels(embedder.model).inc(used)
            self._micros.labels(embedder.model).inc(cost)
        return vectors

    def _failed(self, embedder: RemoteEmbedder, failure: ModelFailed) -> None:
        # a company's own key, or its budget, is its own affair: its documents say so
        if not embedder.is_own and failure.code not in ("budget", "price_unknown"):
            self._child.heartbeat.report(FAILING, model=embedder.model, reason=failure.code)

    def hidden(self, texts: Sequence[str]) -> list[str]:
        """Return texts with marks in place of numbers and mail addresses, and count those."""
        redactor = Redactor()
        found: list[str] = redactor.hide(list(texts))
        for kind, values in redactor.hidden.items():
            if values:
                self._redacted.labels(kind).inc(values)
        return found


class RemoteEmbedder:
    """See `shared.rag.embedding.Embedder`; of one company, for one use."""

    def __init__(
        self,
        remote: RemoteEmbeddings,
        *,
        company_id: str,
        settings: CompanySettings,
        model: EmbeddingModel,
        target: ModelTarget,
        use: EmbeddingUse,
        is_own: bool,
    ) -> None:
        self.model, self.dimensions, self.scale = model.name, model.dimensions, model.scale
        self.asked_dimensions = model.dimensions if model.is_cut else None
        self.company_id, self.settings, self.target, self.use, self.is_own = company_id, settings, target, use, is_own
        self._remote = remote

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See `Embedder`. Raises `StoreUnavailable` too."""
        sent = [text[:_TEXT_MOST] for text in texts]
        if self.use == "questions" and self.settings.assistant.redacts:
            # a company's documents are sent as they are: its own numbers are meant for customers
            sent = self._remote.hidden(sent)
        made: list[list[float]] = []
        for first in range(0, len(sent), _BATCH):
            made += await self._remote.ask(self, sent[first : first + _BATCH])
        if wrong := {len(vector) for vector in made} - {self.dimensions}:
            raise DimensionsDiffer(
                f"{self.model} returned vectors of {min(wrong)} numbers, and is set to {self.dimensions}"
            )
        return made


_OURS: Final[Mapping[str, str]] = {
    "budget": "the company's budget of this month is spent",
    "price_unknown": "the model has no price, and the company a budget: set LLM_PRICES",
}


def said(failure: ModelFailed) -> str:
    """Return a failure as a sentence without its end."""
    row = CALL_FAILURES.get(failure.code)
    return row.meaning if row else _OURS.get(failure.code, failure.code)
