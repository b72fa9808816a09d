"""Documents with passages and vectors in a real database, put there without kind `index`."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from shared.rag.embedding import Embedder, EmbeddingFailed, EmbeddingUse, FoundEmbedder, SimilarityScale
from shared.rag.passages import RagConfig, Retrieved, retrieve
from shared.rag.vectors import DocumentVectors, PostgresVectors, VectorStore
from shared.tenancy.company_settings import CompanySettings
from tests.store.env import StoreEnv
from tests.support.database import query

RAG: Final = RagConfig(locale="en", top_k=5, least=0.0, keyword_weight=0.3, vector_weight=0.7, fusion="weighted")


class WordEmbedder:
    """An embedder for tests: each word adds to one of its dimensions, so that texts with the same words are near.

    Attributes:
        fails: raises instead.
    """

    scale = SimilarityScale()

    def __init__(self, model: str = "words", dimensions: int = 256) -> None:
        self.model, self.dimensions, self.fails = model, dimensions, False
        self.asked: list[str] = []

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See `Embedder`."""
        if self.fails:
            raise EmbeddingFailed("the model is away")
        self.asked += texts
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> list[float]:
        """Return the vector of a text."""
        numbers = [0.0] * self.dimensions
        for word in re.findall(r"\w+", text.lower()):
            place = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % self.dimensions
            numbers[place] += 1.0
        length = math.sqrt(sum(number * number for number in numbers)) or 1.0
        return [number / length for number in numbers]


class OneEmbedder:
    """The same embedder for every company and use (`shared.rag.embedding.EmbedderSource`)."""

    def __init__(self, embedder: Embedder | None) -> None:
        self.embedder = embedder

    async def of(self, company_id: str, settings: CompanySettings, use: EmbeddingUse) -> FoundEmbedder:
        """See `EmbedderSource`."""
        return FoundEmbedder(self.embedder)


class RagEnv:
    """A database with documents of companies."""

    def __init__(self, store: StoreEnv, vectors: VectorStore | None = None) -> None:
        self.store, self.embedder = store, WordEmbedder()
        self.vectors = vectors or PostgresVectors(store.store)

    def add(
        self, company: str, texts: Sequence[str], *, title: str = "terms.pdf", embedder: WordEmbedder | None = None
    ) -> list[int]:
        """Add an indexed document, one passage on each page. Returns the passages' ids."""
        embedder = embedder or self.embedder
        query(self.store.url, "INSERT INTO companies (id) VALUES (%(id)s) ON CONFLICT DO NOTHING", id=company)
        (document,) = query(
            self.store.url,
            """INSERT INTO documents (company_id, sha256, title, mimetype, size, state, generation, chunks, model,
                                      dimensions)
               VALUES (%(company)s, %(sha256)s, %(title)s, 'application/pdf', 1, 'indexed', 1, %(chunks)s, %(model)s,
                       %(dimensions)s) RETURNING id""",
            company=company,
            sha256=hashlib.sha256(repr((company, title, texts)).encode()).hexdigest(),
            title=title,
            chunks=len(texts),
            model=embedder.model,
            dimensions=embedder.dimensions,
        )
        rows = query(
            self.store.url,
            """INSERT INTO document_chunks (company_id, document_id, generation, position, page, body, tokens, words)
               SELECT %(company)s, %(document)s, 1, position - 1, position, body, 1,
                      chunk_words(%(company)s, 'en', body)
               FROM unnest(%(texts)s::text[]) WITH ORDINALITY AS t(body, position) RETURNING id""",
            company=company,
            document=document["id"],
            texts=list(texts),
        )
        ids = [row["id"] for row in rows]
        vectors = {one: embedder.vector(text) for one, text in zip(ids, texts, strict=True)}
        asyncio.run(self.put(company, document["id"], vectors, embedder))
        return ids

    async def put(
        self, company: str, document_id: int, vectors: Mapping[int, Sequence[float]], embedder: WordEmbedder
    ) -> None:
        """Keep vectors."""
        await self.vectors.prepare(embedder.dimensions)
        await self.vectors.add(
            DocumentVectors(
                company_id=company,
                document_id=document_id,
                generation=1,
                model=embedder.model,
                dimensions=embedder.dimensions,
                vectors=vectors,
            )
        )

    def ask(self, company: str, question: str, *, embedder: Any = "own", **rag: Any) -> Retrieved:
        """Return what is found."""
        return asyncio.run(
            retrieve(
                self.store.store,
                company,
                question,
                rag=replace(RAG, **rag),
                embedder=self.embedder if embedder == "own" else embedder,
                vectors=self.vectors,
            )
        )
