"""Documents and their passages: typed functions for `queries/documents.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.store.pool import Row, Transaction, records
from shared.store.texts import storable

DOCUMENTS_MOST: Final = 1000
"""Documents of one company."""
WAITING_MOST: Final = 20
"""Questions of one company that wait at once: one company never takes all of kind `index`."""
TITLE_MOST: Final = 240
"""Characters of a document's title: its file's name."""
_NEWEST: Final = (1 << 63) - 1


def add(
    transaction: Transaction, company_id: str, *, sha256: str, title: str, mimetype: str, size: int
) -> tuple[int, bool] | None:
    """Note a document whose original is in storage. Returns its id, and whether it is new: the same bytes are one
    document. None: the company has `DOCUMENTS_MOST`, or is being deleted.
    """
    row = transaction.row(
        "add_document",
        company_id=company_id,
        sha256=sha256,
        title=storable(title)[:TITLE_MOST],
        mimetype=mimetype,
        size=size,
        most=DOCUMENTS_MOST,
    )
    return None if row is None else (row["id"], row["is_new"])


def listed(transaction: Transaction, company_id: str, *, before: int = _NEWEST, most: int) -> list[Row]:
    """Return documents of a company, newest first, with ids below `before`."""
    return transaction.rows("documents_of", company_id=company_id, before=before, only=None, most=most)


def find(transaction: Transaction, company_id: str, document_id: int) -> Row | None:
    """Return one document, None when the company has none with this id."""
    return transaction.row("documents_of", company_id=company_id, before=_NEWEST, only=document_id, most=1)


def remove(transaction: Transaction, company_id: str, document_id: int) -> bool:
    """Let a document go. Returns whether it was there."""
    return transaction.row("remove_document", company_id=company_id, id=document_id) is not None


def reindex(transaction: Transaction, company_id: str, document_id: int) -> bool:
    """Let a document be indexed anew. Returns False when it is being indexed, or not there."""
    return transaction.row("reindex_document", company_id=company_id, id=document_id) is not None


def has_passages(transaction: Transaction, company_id: str) -> bool:
    """Return whether a search can find anything."""
    return transaction.row("has_passages", company_id=company_id) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class WordHits:
    """What a search by words found.

    Attributes:
        scores: share of the question's words, by passage. weights: of the question's words, by word.
    """

    scores: Mapping[int, float]
    weights: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundChunk:
    """A passage as it is kept; `share`: of the question's words, from 0 to 1."""

    id: int
    document_id: int
    title: str
    page: int | None
    section: str
    body: str
    share: float


def find_by_words(transaction: Transaction, *, question: str, locale: str, most: int, common: int) -> WordHits:
    """Return passages of the transaction's company with any of a question's words, at most `most`.

    Args:
        locale: BCP 47, decides how words are read. common: passages with a word beyond which it finds none by itself.
    """
    rows = transaction.rows("find_chunks", question=storable(question), locale=locale, most=most, common=common)
    lexemes, weights = rows[0]["lexemes"] or [], rows[0]["weights"] or []
    return WordHits(
        scores={row["chunk_id"]: row["score"] or 0.0 for row in rows if row["chunk_id"] is not None},
        weights=dict(zip(lexemes, weights, strict=True)),
    )


def chunks_by_ids(transaction: Transaction, company_id: str, ids: Sequence[int], hits: WordHits) -> list[FoundChunk]:
    """Return passages that are searched now, of these ids. `hits`: with the question's words."""
    if not ids:
        return []
    total = sum(hits.weights.values())
    rows = transaction.rows(
        "chunks_by_ids",
        company_id=company_id,
        ids=list(ids),
        lexemes=[*hits.weights],
        weights=[*hits.weights.values()],
    )
    return [
        FoundChunk(
            id=row["id"],
            document_id=row["document_id"],
            title=row["title"],
            page=row["page"],
            section=row["section"],
            body=row["body"],
            share=row["matched"] / total if total else 0.0,
        )
        for row in rows
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorCount:
    """How many passages of a company have a vector of one model, and whether pgvector is there."""

    chunks: int
    has_pgvector: bool


def count_vectors(transaction: Transaction, company_id: str, model: str) -> VectorCount:
    """Return what decides how vectors are compared."""
    return VectorCount(**transaction.one("count_vectors", company_id=company_id, model=model))


def near(
    transaction: Transaction,
    *,
    company_id: str,
    model: str,
    vector: Sequence[float],
    most: int,
    beside: Sequence[int],
    exactly: bool,
) -> dict[int, float]:
    """Return the cosine of the nearest passages, and of those `beside`, by pgvector."""
    rows = transaction.rows(
        "near_chunks",
        company_id=company_id,
        model=model,
        question=list(vector),
        most=most,
        beside=list(beside),
        exactly=exactly,
    )
    return {row["chunk_id"]: row["similarity"] for row in rows}


def near_by_signs(
    transaction: Transaction,
    *,
    company_id: str,
    model: str,
    vector: Sequence[float],
    most: int,
    beside: Sequence[int],
    likely: int,
) -> dict[int, float]:
    """As `near`, exactly among the `likely` passages whose vectors' signs are most like the question's."""
    rows = transaction.rows(
        "near_chunks_by_signs",
        company_id=company_id,
        model=model,
        question=list(vector),
        most=most,
        beside=list(beside),
        likely=likely,
    )
    return {row["chunk_id"]: row["similarity"] for row in rows}


def near_plainly(
    transaction: Transaction,
    *,
    company_id: str,
    model: str,
    vector: Sequence[float],
    most: int,
    beside: Sequence[int],
) -> dict[int, float]:
    """As `near`, exactly, without pgvector."""
    rows = transaction.rows(
        "near_chunks_plainly",
        company_id=company_id,
        model=model,
        question=list(vector),
        most=most,
        beside=list(beside),
    )
    return {row["chunk_id"]: row["similarity"] for row in rows}


def prepare_vectors(transaction: Transaction, dimensions: int) -> bool:
    """Make the index for vectors of one length. Returns False where pgvector is not there."""
    return bool(transaction.one("prepare_vectors", length=dimensions)["has_index"])


def add_vectors(
    transaction: Transaction,
    *,
    company_id: str,
    document_id: int,
    generation: int,
    model: str,
    dimensions: int,
    vectors: Mapping[int, Sequence[float]],
) -> None:
    """Keep vectors of passages; a repetition changes nothing."""
    rows = [{"chunk_id": one, "embedding": list(vector)} for one, vector in vectors.items()]
    transaction.execute(
        "add_vectors",
        company_id=company_id,
        document_id=document_id,
        generation=generation,
        model=model,
        dimensions=dimensions,
        vectors=records(rows),
    )


def ask(transaction: Transaction, company_id: str, question: str, *, most: int) -> int | None:
    """Leave a question for kind `index`. Returns its id; None: as many of the company wait as may."""
    row = transaction.row(
        "ask_question",
        company_id=company_id,
        question=storable(question),
        most=most,
        waiting_most=WAITING_MOST,
    )
    return None if row is None else int(row["id"])


def answer(transaction: Transaction, company_id: str, question_id: int) -> Mapping[str, Any] | None:
    """Return what kind `index` found, None while it has not answered."""
    row = transaction.row("answer_of_question", company_id=company_id, id=question_id)
    return None if row is None else row["answer"]


def forget_question(transaction: Transaction, company_id: str, question_id: int) -> None:
    """Remove a question."""
    transaction.execute("forget_question", company_id=company_id, id=question_id)
