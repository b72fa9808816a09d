"""Embeddings of a model behind OpenAI's API, against the sandbox's: batches, retries, money, and what leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from shared.llm.prices import FREE, Price
from shared.llm.questions import ModelTarget
from shared.media.reach import Reach
from shared.process.metrics import Metrics
from shared.rag.embedders import model_named
from shared.rag.embedding import DimensionsDiffer, EmbeddingFailed, EmbeddingModel, EmbeddingUse, SimilarityScale
from shared.rag.remote import RemoteEmbeddings
from shared.tenancy.company_settings import CompanySettings
from tests.sandbox.env import Receiver, SandboxEnv
from tests.store.env import StoreEnv
from tests.support.database import query

NAME = "sandbox-embedding"


class Reports:
    """What a process would report by its heartbeat."""

    def __init__(self) -> None:
        self.troubles: dict[str, Mapping[str, Any]] = {}

    def report(self, code: str, **values: Any) -> None:
        self.troubles[code] = values

    def clear(self, code: str) -> None:
        self.troubles.pop(code, None)


class Remote:
    """Embeds for company acme."""

    def __init__(self, store: StoreEnv, model: SandboxEnv) -> None:
        self.store, self.model, self.reports = store, model, Reports()
        self.waits: list[float] = []
        self.seq = int(model.control("POST", "reset", {"seed": 1})["seq"])
        query(store.url, "INSERT INTO companies (id) VALUES ('acme') ON CONFLICT DO NOTHING; DELETE FROM model_spend")

    def embed(
        self,
        texts: Sequence[str],
        use: EmbeddingUse = "documents",
        *,
        price: Price = FREE,
        dimensions: int = 256,
        is_own: bool = False,
        model: EmbeddingModel | None = None,
        **config: Any,
    ) -> list[list[float]]:
        """Return the vectors; `config`: of `assistantConfig`."""

        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        async def embed() -> list[list[float]]:
            child: Any = SimpleNamespace(store=self.store.store, metrics=Metrics(), heartbeat=self.reports)
            remote = RemoteEmbeddings(child, {NAME: price}, Reach.PUBLIC, sleep=sleep)
            known = model or EmbeddingModel(name=NAME, dimensions=dimensions, scale=SimilarityScale())
            target = ModelTarget(model=known.name, base_url=f"{self.model.base}/openai/v1", key="k", is_ours=True)
            settings = CompanySettings.read({"assistantConfig": config})
            try:
                return await remote.of("acme", settings, known, target, use, is_own=is_own).embed(texts)
            finally:
                await remote.close()

        return asyncio.run(embed())

    def behave(self, behaviour: str, **details: Any) -> None:
        self.model.control("POST", "model", {"behaviour": behaviour, **details})

    def asked(self) -> list[int]:
        """Return how many texts each call had."""
        return [one["texts"] for one in self.model.ledger(since=self.seq) if one["event"] == "embedded"]

    def spent(self) -> dict[str, int]:
        rows = query(self.store.url, "SELECT spent_micros, reserved_micros, calls, tokens_in FROM model_spend")
        return {name: int(value) for row in rows for name, value in row.items()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxEnv]:
    receiver = Receiver()
    with SandboxEnv(tmp_path_factory.mktemp("model"), receiver) as started:
        yield started
    receiver.close()


@pytest.fixture
def remote(env: StoreEnv, model: SandboxEnv) -> Remote:
    return Remote(env, model)


def test_many_texts_are_some_calls_and_their_money_is_counted(remote: Remote) -> None:
    texts = [f"sentence number {number} about something" for number in range(130)]
    vectors = remote.embed(texts, price=Price(2.0, 0.0))
    assert remote.asked() == [64, 64, 2]
    assert vectors[129] == remote.embed([texts[129]])[0], "in their order"
    spent = remote.spent()
    assert spent["spent_micros"] == 2 * (spent["tokens_in"] - len(texts[129]) // 4 - 1) > 0
    assert (spent["reserved_micros"], spent["calls"]) == (0, 4)


@pytest.mark.parametrize(("dimensions", "length"), [(0, 1536), (1536, 1536), (64, 64)])
def test_a_shorter_vector_is_asked_for(remote: Remote, dimensions: int, length: int) -> None:
    model = model_named("text-embedding-3-small", dimensions)
    assert model is not None
    assert len(remote.embed(["a word"], model=model)[0]) == length


def test_a_failure_that_passes_is_asked_again(remote: Remote) -> None:
    remote.behave("error", count=1)
    remote.behave("rate_limit", count=1, retry_after_s=2)
    assert len(remote.embed(["a word"])[0]) == 256
    assert len(remote.waits) == 2 and remote.waits[1] == 2.0
    assert remote.reports.troubles == {}


def test_one_that_lasts_is_reported_until_it_is_over(remote: Remote) -> None:
    remote.behave("error", count=None)
    with pytest.raises(EmbeddingFailed, match="an error of its own"):
        remote.embed(["a word"], price=Price(1e6, 0.0))
    assert len(remote.waits) == 2, "three calls"
    assert remote.spent()["spent_micros"] == 0, "what was not done costs nothing"
    assert remote.reports.troubles == {"embedder_failing": {"model": NAME, "reason": "server_error"}}
    remote.model.control("DELETE", "model", {})
    remote.embed(["a word"])
    assert remote.reports.troubles == {}
    remote.behave("error", count=None)
    with pytest.raises(EmbeddingFailed):
        remote.embed(["a word"], is_own=True)
    assert remote.reports.troubles == {}, "a company's own model is its own affair"


def test_a_question_is_asked_once(remote: Remote) -> None:
    remote.behave("error", count=None)
    with pytest.raises(EmbeddingFailed):
        remote.embed(["a word"], "questions")
    assert remote.waits == []


def test_a_budget_is_checked_before_the_call(remote: Remote) -> None:
    dear = Price(1e5, 0.0)
    with pytest.raises(EmbeddingFailed, match="budget of this month is spent"):
        remote.embed(["far too dear"], price=dear, monthlyBudget=0.1)
    assert remote.asked() == []
    assert remote.reports.troubles == {}
    remote.embed(["affordable"], price=dear, monthlyBudget=10)
    assert remote.asked() == [1]


def test_vectors_of_another_length_are_refused(remote: Remote) -> None:
    with pytest.raises(DimensionsDiffer, match="256 numbers, and is set to 300"):
        remote.embed(["a word"], dimensions=300)


def test_numbers_and_addresses_of_customers_do_not_leave(remote: Remote) -> None:
    asked, marked = "call me at +1 555 010 0200 please", "call me at [phone 1] please"
    hidden = remote.embed([asked], "questions")
    assert hidden == remote.embed([marked])
    assert hidden != remote.embed([asked], "questions", redact=False) == remote.embed([asked]), "documents as they are"
