"""The embedder that needs no network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shared.rag.embedding import LOCAL_MODEL, EmbeddingFailed
from shared.word_vectors import WeightsUnreadable, WordVectors


class LocalEmbedder:
    """See `shared.rag.embedding.Embedder`."""

    model, dimensions, scale = LOCAL_MODEL.name, LOCAL_MODEL.dimensions, LOCAL_MODEL.scale

    def __init__(self, words: WordVectors) -> None:
        self._words = words
        self._lock = asyncio.Lock()

    @classmethod
    def open(cls) -> LocalEmbedder:
        """Return it. Raises `ModuleNotFoundError` when the package that carries the weights is not installed."""
        return cls(WordVectors.open())

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See `Embedder`; in a thread, which lets the event loop go on."""
        async with self._lock:
            try:
                return await asyncio.to_thread(self._words.vectors, list(texts))
            except WeightsUnreadable as error:
                raise EmbeddingFailed(str(error)) from error
