"""What an embedder is: it makes vectors of texts, such that texts of like meaning have like directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final, Protocol

from shared.errors import BulkheadError

DIMENSIONS_MOST: Final = 4000
"""Longest vector that pgvector indexes (as half precision)."""
_LENGTH_ERROR: Final = 1e-6


class EmbeddingFailed(BulkheadError):
    """Raised when texts cannot be embedded now: the model cannot be reached, or refuses."""


class DimensionsDiffer(BulkheadError):
    """Raised when a vector has another length than its model's: padded or cut it would be near to anything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilarityScale:
    """What a model's cosine means: below `none` texts have nothing in common, from `same` on they are about the same.

    Models differ: of one 0.4 is a paraphrase, of another one two texts of one language. Measured by `bench/retrieval`.
    """

    none: float = 0.0
    same: float = 1.0

    def similarity(self, cosine: float) -> float:
        """Return the similarity from 0 to 1."""
        return min(1.0, max(0.0, (cosine - self.none) / (self.same - self.none)))


class Embedder(Protocol):
    """Makes vectors of texts.

    Attributes:
        model: its name, which vectors are kept under: those of different models are never compared. dimensions: length
            of its vectors. scale: what its cosine means.
    """

    model: str
    dimensions: int
    scale: SimilarityScale

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector of length 1 for each text. Raises `EmbeddingFailed`, `DimensionsDiffer`."""


def normalised(vector: Sequence[float], dimensions: int) -> list[float]:
    """Return a vector with length 1; one without direction stays zero. Raises `DimensionsDiffer`."""
    if len(vector) != dimensions:
        raise DimensionsDiffer(f"the model returned a vector of {len(vector)} numbers; it is known for {dimensions}")
    length = sqrt(sum(number * number for number in vector))
    if length < _LENGTH_ERROR:
        return [0.0] * dimensions
    return [number / length for number in vector]
