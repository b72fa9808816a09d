"""Qdrant's local mode behind the interface of vector stores: its own code for filters and cosine, in this process.

Not part of the program: it shows that the interface asks nothing that only PostgreSQL has.
"""

from __future__ import annotations

from collections.abc import Mapping

from qdrant_client import QdrantClient, models

from shared.rag.embedding import DimensionsDiffer
from shared.rag.vectors import DocumentVectors, VectorQuery

_LONGEST = 65_536


class QdrantVectors:
    """See `shared.rag.vectors.VectorStore`; one collection for each length."""

    def __init__(self) -> None:
        self._client = QdrantClient(":memory:")

    async def prepare(self, dimensions: int) -> None:
        """See `VectorStore`."""
        if not 1 <= dimensions <= _LONGEST:
            raise DimensionsDiffer(f"vectors of {dimensions} numbers cannot be kept")
        if not self._client.collection_exists(str(dimensions)):
            self._client.create_collection(
                str(dimensions), models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
            )

    async def add(self, vectors: DocumentVectors) -> None:
        """See `VectorStore`."""
        vectors.require_length()
        about = {
            "company": vectors.company_id,
            "document": vectors.document_id,
            "generation": vectors.generation,
            "model": vectors.model,
        }
        self._client.upsert(
            str(vectors.dimensions),
            [models.PointStruct(id=one, vector=list(vector), payload=about) for one, vector in vectors.vectors.items()],
        )

    async def nearest(self, query: VectorQuery) -> Mapping[int, float]:
        """See `VectorStore`."""
        name, found = str(len(query.vector)), {}
        if not self._client.collection_exists(name):
            return {}
        own: list[models.Condition] = [_is("company", query.company_id), _is("model", query.model)]
        for conditions, most in (
            (own, query.most),
            ([*own, models.HasIdCondition(has_id=list(query.beside))], len(query.beside)),
        ):
            if most:
                points = self._client.query_points(
                    name, list(query.vector), query_filter=models.Filter(must=conditions), limit=most
                ).points
                found.update({int(point.id): point.score for point in points})
        return found

    async def forget(self, company_id: str, document_id: int, *, but: int | None) -> None:
        """See `VectorStore`."""
        former: list[models.Condition] = [] if but is None else [_is("generation", but)]
        chosen = models.Filter(must=[_is("company", company_id), _is("document", document_id)], must_not=former)
        for collection in self._client.get_collections().collections:
            self._client.delete(collection.name, models.FilterSelector(filter=chosen))

    def close(self) -> None:
        """Release everything."""
        self._client.close()


def _is(name: str, value: str | int) -> models.FieldCondition:
    return models.FieldCondition(key=name, match=models.MatchValue(value=value))
