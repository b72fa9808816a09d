"""Where vectors of passages are kept and compared: the interface, and PostgreSQL with and without pgvector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from shared.rag.embedding import DimensionsDiffer
from shared.store import documents
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.tenancy.company_settings import DIMENSIONS_MOST

EXACT_MOST: Final = 20_000
"""Vectors of a company up to which all of them are compared: 0.1 s on a busy machine, and nothing is missed."""
SIGNS_MOST: Final = 1_000_000
"""Vectors of a company up to which the signs of all of them are compared, and then the likeliest exactly
(docs/adr/0185-large-companies-are-searched-by-signs.md); above, the index is followed, which misses passages that are
unlike all others.
"""
_LIKELY_LEAST: Final = 1000
_LIKELY_SHARE: Final = 100
"""How many are compared exactly after their signs: one in so many, and at least `_LIKELY_LEAST`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorQuery:
    """A question as a vector.

    Attributes:
        model: whose vectors are compared. vector: of length 1. most: passages that are found.
        beside: passages whose similarity is wanted whether they are near or not.
    """

    company_id: str
    model: str
    vector: Sequence[float]
    most: int
    beside: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentVectors:
    """Vectors of some passages of one index (`generation`) of a document, by passage."""

    company_id: str
    document_id: int
    generation: int
    model: str
    dimensions: int
    vectors: Mapping[int, Sequence[float]]

    def require_length(self) -> None:
        """Raise `DimensionsDiffer` when a vector has another length than the model's."""
        if wrong := {len(vector) for vector in self.vectors.values()} - {self.dimensions}:
            raise DimensionsDiffer(f"{self.model} has {self.dimensions} dimensions, and a vector has {min(wrong)}")


class VectorStore(Protocol):
    """Keeps vectors of passages. One company never meets another's, and vectors of one model never another's.

    Which index of a document counts, and whether the document is there at all, is known by PostgreSQL alone: a store
    may return passages of a former one, which the reader of passages leaves out.
    """

    async def prepare(self, dimensions: int) -> None:
        """Get ready for vectors of this length. Raises `DimensionsDiffer` when the store cannot hold them."""

    async def add(self, vectors: DocumentVectors) -> None:
        """Keep vectors; a repetition changes nothing. Raises `DimensionsDiffer`, `StoreUnavailable`."""

    async def nearest(self, query: VectorQuery) -> Mapping[int, float]:
        """Return the cosine of the nearest passages, and of those `beside` that there are. Raises
        `StoreUnavailable`.
        """

    async def forget(self, company_id: str, document_id: int, *, but: int | None) -> None:
        """Remove the vectors of a document, except those of the index `but`. Raises `StoreUnavailable`."""


class PostgresVectors:
    """Vectors in `chunk_vectors`: exactly for small companies, by their signs for large ones, by pgvector's index for
    the largest, and plainly without pgvector.

    Args:
        exact_most: see `EXACT_MOST`. signs_most: see `SIGNS_MOST`. uses_pgvector: False compares plainly although it is
            there.
    """

    def __init__(
        self,
        store: Store,
        *,
        exact_most: int = EXACT_MOST,
        signs_most: int = SIGNS_MOST,
        uses_pgvector: bool = True,
    ) -> None:
        self._store, self._uses_pgvector = store, uses_pgvector
        self._exact_most, self._signs_most = exact_most, signs_most

    async def prepare(self, dimensions: int) -> None:
        """See `VectorStore`."""
        if not 1 <= dimensions <= DIMENSIONS_MOST:
            raise DimensionsDiffer(f"vectors of {dimensions} numbers cannot be indexed; 1 to {DIMENSIONS_MOST} can")
        await self._store.call(documents.prepare_vectors, dimensions)

    async def add(self, vectors: DocumentVectors) -> None:
        """See `VectorStore`."""
        vectors.require_length()
        await self._store.call(
            documents.add_vectors,
            company_id=vectors.company_id,
            document_id=vectors.document_id,
            generation=vectors.generation,
            model=vectors.model,
            dimensions=vectors.dimensions,
            vectors=vectors.vectors,
        )

    async def nearest(self, query: VectorQuery) -> Mapping[int, float]:
        """See `VectorStore`."""
        return await self._store.as_company(query.company_id).call(self._nearest, query)

    async def forget(self, company_id: str, document_id: int, *, but: int | None) -> None:
        """Nothing: they go with their passages."""

    def _nearest(self, transaction: Transaction, query: VectorQuery) -> Mapping[int, float]:
        there = documents.count_vectors(transaction, query.company_id, query.model)
        most = min(query.most, there.chunks)
        if not most:
            return {}
        asked: dict[str, Any] = {
            "company_id": query.company_id,
            "model": query.model,
            "vector": query.vector,
            "most": query.most,
            "beside": query.beside,
        }
        if not (there.has_pgvector and self._uses_pgvector):
            return documents.near_plainly(transaction, **asked)
        if there.chunks <= self._exact_most:
            return documents.near(transaction, exactly=True, **asked)
        if there.chunks <= self._signs_most:
            likely = max(_LIKELY_LEAST, there.chunks // _LIKELY_SHARE)
            found = documents.near_by_signs(transaction, likely=likely, **asked)
        else:
            found = documents.near(transaction, exactly=False, **asked)
        if len(found.keys() - set(query.beside)) < most - len(query.beside):
            # the index was followed as far as allowed and too few were this company's, or likely ones are of an index
            # of a document that is being replaced
            found = documents.near(transaction, exactly=True, **asked)
        return found
