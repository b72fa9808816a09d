"""Typed functions for `queries/index.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from index.chunks import Chunk
from index.reasons import IndexingFailed
from shared.store.pool import Row, Transaction, json, records
from shared.store.texts import storable

TRIES: Final = 3
"""Tries of the same bytes; an operator who asks for a new index gives as many again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeasedDocument:
    """A document in hand.

    Attributes:
        generation: of the index that is searched; the next one is being made. attempts: with this one.
    """

    id: int
    company_id: str
    sha256: str
    title: str
    mimetype: str
    generation: int
    attempts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedIndex:
    """What is written when an index is complete; `state`: `indexed` or `no_text`."""

    state: str
    chunks: int
    pages: int | None
    model: str | None
    dimensions: int | None
    code: str = ""
    reason: str = ""


def fail_spent(transaction: Transaction) -> int:
    """Give up documents whose tries were all ended by a death. Returns how many."""
    failure = IndexingFailed("interrupted")
    return len(transaction.rows("fail_spent_documents", tries=TRIES, code=failure.code, reason=failure.text))


def lease(
    transaction: Transaction, *, incarnation: str, in_hand: Sequence[int], most: int, lease_s: float
) -> list[LeasedDocument]:
    """Make an incarnation the one that indexes documents which are due."""
    rows = transaction.rows(
        "lease_documents", incarnation=incarnation, in_hand=list(in_hand), most=most, lease_s=lease_s, tries=TRIES
    )
    return [LeasedDocument(**row) for row in rows]


def renew(transaction: Transaction, *, incarnation: str, ids: Sequence[int], lease_s: float) -> set[int]:
    """Keep documents in hand. Returns those that still are."""
    rows = transaction.rows("renew_documents", incarnation=incarnation, ids=list(ids), lease_s=lease_s)
    return {row["id"] for row in rows}


def release(transaction: Transaction, *, incarnation: str) -> None:
    """Give back what an incarnation has in hand; the try counts."""
    transaction.rows("release_documents", incarnation=incarnation)
    transaction.rows("release_questions", incarnation=incarnation)


def give_back(
    transaction: Transaction, document_id: int, failure: IndexingFailed, *, incarnation: str, after_s: float
) -> None:
    """Give a document back whose indexing was cut short for no fault of its own."""
    transaction.execute(
        "return_document",
        id=document_id,
        incarnation=incarnation,
        after_s=after_s,
        code=failure.code,
        reason=storable(failure.text),
    )


def embedded_companies(transaction: Transaction, *, after: str, most: int) -> list[Row]:
    """Return (company_id, settings) of companies with indexed documents, by id, those behind `after`."""
    return transaction.rows("embedded_companies", after=after, most=most)


def reindex_others(
    transaction: Transaction, models: Mapping[str, tuple[str, int]], *, since: datetime, most: int
) -> int:
    """Let documents be indexed anew that another model has embedded than their company's now.

    Args:
        models: name and dimensions by company. since: what was indexed later is left alone: by a process that is set
            to another model, whose documents would go to and fro.
    """
    return len(
        transaction.rows(
            "reindex_others",
            companies=[*models],
            models=[name for name, _ in models.values()],
            dimensions=[dimensions for _, dimensions in models.values()],
            since=since,
            most=most,
        )
    )


def clear(transaction: Transaction, document_id: int, *, generation: int, most: int) -> int:
    """Remove a batch of what an earlier life wrote of an index. Returns how many passages."""
    return transaction.execute("clear_generation", document_id=document_id, generation=generation, most=most)


def write_chunks(
    transaction: Transaction,
    document: LeasedDocument,
    chunks: Sequence[Chunk],
    *,
    incarnation: str,
    first: int,
    locale: str,
) -> list[int] | None:
    """Write passages of the next index. Returns their ids in order; None: the document is not this incarnation's."""
    if transaction.row("lock_document", id=document.id, incarnation=incarnation) is None:
        return None
    rows = transaction.rows(
        "add_chunks",
        company_id=document.company_id,
        document_id=document.id,
        generation=document.generation + 1,
        locale=locale,
        chunks=records(
            [
                {
                    "position": first + number,
                    "page": chunk.page,
                    "section": chunk.section,
                    "body": chunk.text,
                    "tokens": chunk.tokens,
                }
                for number, chunk in enumerate(chunks)
            ]
        ),
    )
    return [row["id"] for row in sorted(rows, key=lambda row: int(row["position"]))]


def finish(transaction: Transaction, document: LeasedDocument, done: FinishedIndex, *, incarnation: str) -> bool:
    """Let the next index be the one that is searched. Returns False when the document is not this incarnation's."""
    row = transaction.row(
        "finish_document",
        id=document.id,
        incarnation=incarnation,
        generation=document.generation + 1,
        state=done.state,
        code=done.code,
        reason=storable(done.reason),
        chunks=done.chunks,
        pages=done.pages,
        model=done.model,
        dimensions=done.dimensions,
    )
    return row is not None


def fail(
    transaction: Transaction, document: LeasedDocument, failure: IndexingFailed, *, incarnation: str, after_s: float
) -> str | None:
    """End a try that failed. Returns the document's state; None when it is not this incarnation's."""
    row = transaction.row(
        "fail_document",
        id=document.id,
        incarnation=incarnation,
        is_final=failure.reason.is_final or document.attempts >= TRIES,
        code=failure.code,
        reason=storable(failure.text),
        after_s=after_s,
    )
    return None if row is None else str(row["state"])


def untidy(transaction: Transaction, *, most: int) -> list[Row]:
    """Return documents of which something has to be removed: (id, company_id, sha256, state, generation,
    updated_at).
    """
    return transaction.rows("untidy_documents", most=most)


def remove_chunks(transaction: Transaction, document_id: int, *, most: int) -> int:
    """Remove a batch of passages that are searched no more. Returns how many there were."""
    return transaction.execute("remove_chunks", id=document_id, most=most)


def note_tidy(transaction: Transaction, document_id: int) -> None:
    """Note that nothing of a former index is left."""
    transaction.execute("note_tidy", id=document_id)


def is_file_shared(transaction: Transaction, company_id: str, sha256: str) -> bool:
    """Return whether a file is also a message's, or another document's."""
    return bool(transaction.one("is_file_shared", company_id=company_id, sha256=sha256)["is_shared"])


def forget(transaction: Transaction, document_id: int) -> None:
    """Remove a document of which nothing else is left."""
    transaction.execute("forget_document", id=document_id)


def lease_questions(transaction: Transaction, *, incarnation: str, most: int, lease_s: float) -> list[Row]:
    """Take questions that wait: (id, company_id, question, most)."""
    return transaction.rows("lease_questions", incarnation=incarnation, most=most, lease_s=lease_s)


def answer_question(transaction: Transaction, question_id: int, answer: Mapping[str, Any], *, incarnation: str) -> None:
    """Write what was found for a question."""
    transaction.execute("answer_question", id=question_id, incarnation=incarnation, answer=json(dict(answer)))


def forget_questions(transaction: Transaction, *, older_s: float) -> None:
    """Remove questions whose clients are gone."""
    transaction.execute("forget_questions", older_s=older_s)


def backlog(transaction: Transaction) -> Row:
    """Return (waiting, oldest_s) of documents that are not indexed yet."""
    return transaction.one("documents_backlog")
