"""Answers the questions that the API leaves in a table: the API loads no embedder."""

from __future__ import annotations

from typing import Final

from index import rows
from shared.clock import monotonic
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.process.metrics import Metrics
from shared.rag.embedding import EmbedderSource
from shared.rag.passages import RagConfig, retrieve
from shared.rag.retrieval_metrics import RetrievalMetrics
from shared.rag.vectors import VectorStore
from shared.store.pool import Row
from shared.store.store import Store
from shared.tenancy.company_settings import read_company

log = logger(__name__)

LEASE_S: Final = 5.0
"""Seconds after which another process may answer: longer than a search, shorter than a client waits."""


class Answering:
    """Answers questions."""

    def __init__(
        self, store: Store, vectors: VectorStore, embedders: EmbedderSource, metrics: Metrics, *, incarnation: str
    ) -> None:
        self._store, self._vectors, self._embedders, self._incarnation = store, vectors, embedders, incarnation
        self._metrics = RetrievalMetrics(metrics)

    async def take(self, most: int) -> list[Row]:
        """Take up to so many questions. Raises `StoreUnavailable`."""
        if not most:
            return []
        return await self._store.call(rows.lease_questions, incarnation=self._incarnation, most=most, lease_s=LEASE_S)

    async def answer(self, row: Row) -> None:
        """Answer one question. While PostgreSQL is away it stays as it is: its client waits a few seconds only."""
        try:
            await self._answer(row)
        except StoreUnavailable as error:
            log.warning("question_not_answered", question_id=row["id"], reason=str(error))

    async def _answer(self, row: Row) -> None:
        company = await self._store.call(read_company, row["company_id"])
        if company is None:
            return
        began = monotonic()
        embedder, without = await self._embedders.of(row["company_id"], company.settings, "questions")
        found = await retrieve(
            self._store,
            row["company_id"],
            row["question"],
            rag=RagConfig.of(company.settings, top_k=row["most"]),
            embedder=embedder,
            without=without,
            vectors=self._vectors,
        )
        self._metrics.note(found, monotonic() - began)
        await self._store.call(rows.answer_question, row["id"], found.as_json(), incarnation=self._incarnation)
