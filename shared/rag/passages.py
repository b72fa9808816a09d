"""The passages of a company's documents that answer a question: by words, by meaning, joined, with their sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from shared.logs import logger
from shared.rag.embedding import DimensionsDiffer, Embedder, EmbeddingFailed, SimilarityScale, normalised
from shared.rag.fusion import FusionKind, LegScores, fused
from shared.rag.vectors import PostgresVectors, VectorQuery, VectorStore
from shared.store import documents
from shared.store.documents import FoundChunk, WordHits
from shared.store.store import Store
from shared.tenancy.company_settings import CompanySettings

log = logger(__name__)

SearchLeg = Literal["keyword", "vector"]
QUESTION_MOST: Final = 1000
"""Characters of a question that are searched for."""
_OF_EACH: Final = 10
"""Passages that each search finds before they are joined; as many as are wanted, if those are more."""
_WORDS_SCALE: Final = SimilarityScale(none=0.0, same=0.45)
"""Of the share of a question's words: questions have words that no answer repeats. By `bench retrieval` a threshold of
0.7 on the plain share left three of four questions without an answer where only words are searched.
"""
_COMMON: Final = 2000
"""Passages with a word beyond which it finds none by itself: each costs a look at a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """One passage of a document.

    Attributes:
        title: of the document. source: where it stands, for people: `terms.pdf, page 3`. score: from 0 to 1.
    """

    document_id: int
    title: str
    source: str
    text: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrieved:
    """What was found for a question, the best first.

    Attributes:
        legs: the searches that were made; without `vector` only words were looked for. why: why one was not made;
            empty: all were.
    """

    passages: tuple[Passage, ...]
    legs: tuple[SearchLeg, ...]
    why: str = ""

    def as_json(self) -> Mapping[str, Any]:
        """Return it as the API shows it."""
        return {
            "results": [
                {
                    "documentId": str(one.document_id),
                    "title": one.title,
                    "source": one.source,
                    "text": one.text,
                    "score": one.score,
                }
                for one in self.passages
            ],
            "legs": list(self.legs),
            "why": self.why or None,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RagConfig:
    """How a company's documents are searched: `ragConfig` of its settings, and its first language.

    Attributes:
        locale: BCP 47. top_k: passages at most. least: threshold of the joint score.
    """

    locale: str
    top_k: int
    least: float
    keyword_weight: float
    vector_weight: float
    fusion: FusionKind

    @classmethod
    def of(cls, settings: CompanySettings, *, top_k: int | None = None) -> RagConfig:
        """Return a company's. `top_k`: in place of the company's own."""
        rag: Mapping[str, Any] = settings.rag
        return cls(
            locale=settings.locales[0],
            top_k=rag["topK"] if top_k is None else top_k,
            least=rag["minSimilarity"],
            keyword_weight=rag["weights"]["keyword"],
            vector_weight=rag["weights"]["vector"],
            fusion=rag["fusion"],
        )


async def retrieve(
    store: Store,
    company_id: str,
    question: str,
    *,
    rag: RagConfig,
    embedder: Embedder | None,
    without: str = "",
    vectors: VectorStore | None = None,
) -> Retrieved:
    """Return the passages of a company that answer a question.

    Args:
        embedder: None: words alone are searched, and `legs` says so; so it is while the embedder fails. without: why
            there is none.
        vectors: where they are kept; None: in PostgreSQL.
    Raises:
        StoreUnavailable: PostgreSQL is away.
    """
    asked = question.strip()[:QUESTION_MOST]
    each = max(_OF_EACH, rag.top_k)
    why, vector = "", None
    if rag.vector_weight and asked:
        vector, why = await _embedded(embedder, asked, without)
    own = store.as_company(company_id)
    hits = await own.call(documents.find_by_words, question=asked, locale=rag.locale, most=each, common=_COMMON)
    near: Mapping[int, float] = {}
    if vector is not None and embedder is not None:
        near = await (vectors or PostgresVectors(store)).nearest(
            VectorQuery(company_id=company_id, model=embedder.model, vector=vector, most=each, beside=[*hits.scores])
        )
    chunks = await own.call(documents.chunks_by_ids, company_id, sorted({*near, *hits.scores}), hits)
    legs, made = _legs(rag, hits, chunks, near, embedder if vector is not None else None)
    kept = fused(made, rag.fusion, least=rag.least, most=rag.top_k)
    by_id = {chunk.id: chunk for chunk in chunks}
    return Retrieved(passages=tuple(_passage(by_id[one], score) for one, score in kept), legs=legs, why=why)


async def _embedded(embedder: Embedder | None, question: str, without: str) -> tuple[Sequence[float] | None, str]:
    """Return the question's vector, or why there is none."""
    if embedder is None:
        return None, without or "no embedder is installed; only words were searched"
    try:
        (vector,) = await embedder.embed([question])
        return normalised(vector, embedder.dimensions), ""
    # said in the answer: words are searched nevertheless
    except (EmbeddingFailed, DimensionsDiffer) as error:
        log.warning("question_not_embedded", model=embedder.model, reason=str(error))
        return None, "the question could not be embedded; only words were searched"


def _legs(
    rag: RagConfig,
    hits: WordHits,
    chunks: Sequence[FoundChunk],
    near: Mapping[int, float],
    embedder: Embedder | None,
) -> tuple[tuple[SearchLeg, ...], list[LegScores]]:
    """Return the searches that were made with their scores of every passage that any of them found."""
    names: list[SearchLeg] = []
    made: list[LegScores] = []
    if rag.keyword_weight or embedder is None:
        names.append("keyword")
        # without the other one its weight, which may be 0, says nothing
        made.append(
            LegScores(
                weight=rag.keyword_weight or 1.0,
                scores={chunk.id: _WORDS_SCALE.similarity(chunk.share) for chunk in chunks},
            )
        )
    if embedder is not None:
        names.append("vector")
        scale = embedder.scale
        made.append(
            LegScores(
                weight=rag.vector_weight,
                scores={chunk.id: scale.similarity(near[chunk.id]) for chunk in chunks if chunk.id in near},
            )
        )
    return tuple(names), made


def _passage(chunk: FoundChunk, score: float) -> Passage:
    places = [chunk.title]
    if chunk.page is not None:
        places.append(f"page {chunk.page}")
    if chunk.section:
        places.append(chunk.section)
    return Passage(
        document_id=chunk.document_id,
        title=chunk.title,
        source=", ".join(places),
        text=chunk.body,
        score=round(score, 4),
    )
