"""The embedder that needs no network: token vectors that the wheel `wordllama` carries, averaged.

Read here and not by that package, which requests its tokenizer from a hub. The only door to numpy, safetensors and
tokenizers.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from shared.rag.embedding import EmbeddingFailed, SimilarityScale

_PACKAGE: Final = "wordllama"
_TEXT_MOST: Final = 20_000
"""Characters of one text that are embedded: more than the largest passage has."""


class LocalEmbedder:
    """See `shared.rag.embedding.Embedder`. Its files are read with the first text."""

    model = "wordllama-256"
    dimensions = 256
    # python -m bench.retrieval: questions and their passages 0.33 to 0.64 (10th to 90th percentile), unrelated 0.22
    scale = SimilarityScale(none=0.05, same=0.35)

    def __init__(self, weights: Path, tokenizer: Path) -> None:
        self._weights, self._tokenizer_file = weights, tokenizer
        self._loaded: tuple[Any, Tokenizer] | None = None
        self._lock = asyncio.Lock()

    @classmethod
    def open(cls) -> LocalEmbedder:
        """Return it. Raises `ModuleNotFoundError` when the package that carries the weights is not installed."""
        found = importlib.util.find_spec(_PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise ModuleNotFoundError(f"no package {_PACKAGE}", name=_PACKAGE)
        folder = Path(found.submodule_search_locations[0])
        return cls(
            folder / "weights" / "l2_supercat_256.safetensors",
            folder / "tokenizers" / "l2_supercat_tokenizer_config.json",
        )

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See `Embedder`; in a thread, which lets the event loop go on."""
        async with self._lock:
            return await asyncio.to_thread(self._embed, list(texts))

    def _embed(self, texts: list[str]) -> list[list[float]]:
        if self._loaded is None:
            self._loaded = self._load()
        vectors, tokenizer = self._loaded
        made = []
        for encoding in tokenizer.encode_batch([text[:_TEXT_MOST] for text in texts], add_special_tokens=False):
            if not encoding.ids:
                made.append([0.0] * self.dimensions)
                continue
            mean = vectors[encoding.ids].astype(np.float32).mean(axis=0)
            length = float(np.linalg.norm(mean))
            made.append((mean / length if length else mean).tolist())
        return made

    def _load(self) -> tuple[Any, Tokenizer]:
        try:
            (weights,) = load_file(self._weights).values()
            tokenizer = Tokenizer.from_file(str(self._tokenizer_file))
        except (OSError, ValueError) as error:
            raise EmbeddingFailed(f"the weights of {_PACKAGE} cannot be read: {error}") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return weights, tokenizer
