"""What a company's documents say about a question, and how long it takes to find it."""

from __future__ import annotations

from collections.abc import Sequence

from ai.runs import AnswerRun
from shared.clock import monotonic
from shared.process.metrics import Metrics
from shared.rag.embedding import EmbedderSource
from shared.rag.passages import Passage, RagConfig, retrieve
from shared.rag.retrieval_metrics import RetrievalMetrics
from shared.store.store import Store


class DocumentLibrarian:
    """Finds passages (`ai.steps.Librarian`)."""

    def __init__(self, store: Store, embedders: EmbedderSource, metrics: Metrics) -> None:
        self._store, self._embedders = store, embedders
        self._metrics = RetrievalMetrics(metrics)

    async def find(self, run: AnswerRun, question: str) -> Sequence[Passage]:
        """Return the passages that answer a question. Raises `StoreUnavailable`."""
        began = monotonic()
        embedder, without = await self._embedders.of(run.company_id, run.settings, "questions")
        found = await retrieve(
            self._store,
            run.company_id,
            question,
            rag=RagConfig.of(run.settings),
            embedder=embedder,
            without=without,
        )
        self._metrics.note(found, monotonic() - began)
        return found.passages
